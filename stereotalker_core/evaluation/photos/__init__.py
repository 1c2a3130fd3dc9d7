"""Metrics on photographs."""
