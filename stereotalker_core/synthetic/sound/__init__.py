"""Rooms, noise and distant voices."""
