"""Frames from guides and networks, by windows."""
