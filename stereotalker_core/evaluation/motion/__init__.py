"""Metrics of stage 1."""
