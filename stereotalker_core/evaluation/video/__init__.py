"""Metrics of stage 2 on synthetic people."""
