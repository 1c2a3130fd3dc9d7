"""Rendering: guides and networks -> frames, window by window."""
