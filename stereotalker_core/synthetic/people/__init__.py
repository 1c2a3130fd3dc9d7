"""Avatars, their clothes and hair, and their pictures."""
