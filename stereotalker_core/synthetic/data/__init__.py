"""Rendered people on disk: writer and reader."""
