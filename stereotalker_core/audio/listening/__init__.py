"""Words found in the sound, with their times."""
