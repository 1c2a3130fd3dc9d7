"""Trainers of stage 2."""
