"""Motions in files and previews."""
