"""Emotional face motion."""
