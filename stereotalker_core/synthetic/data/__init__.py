"""Rendered people on disk, written and read."""
