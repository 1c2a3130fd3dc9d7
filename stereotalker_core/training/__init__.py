"""The loops that every trainer shares."""
