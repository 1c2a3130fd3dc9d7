"""Words out of the sound, with their times."""
