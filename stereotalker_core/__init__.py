"""One portrait and one recording in, a talking half-body video at any yaw out. Importing it loads nothing."""

__version__ = "0.1.0"
