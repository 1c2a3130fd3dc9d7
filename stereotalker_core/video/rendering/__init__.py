"""Frames from guides and networks, window by window."""
