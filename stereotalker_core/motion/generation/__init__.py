"""Speech -> motion of any length."""
