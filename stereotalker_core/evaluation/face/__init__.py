"""Metrics of emotional faces."""
