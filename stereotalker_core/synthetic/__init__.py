"""Procedural talking avatars: training and test data."""
