"""Stage 1: what a motion is, edits and controls."""
