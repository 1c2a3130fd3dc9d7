"""Trainers of stage 1."""
