"""Trainers of the speech encoder."""
