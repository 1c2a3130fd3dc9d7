"""Stage 1: the motion of a person, its conditions, edits and controls."""
