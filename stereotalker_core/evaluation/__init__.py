"""Held-out metrics."""
