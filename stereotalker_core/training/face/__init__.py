"""Trainers of the emotional face."""
