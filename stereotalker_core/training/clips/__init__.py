"""Training on clips at scale: import, check, presets."""
