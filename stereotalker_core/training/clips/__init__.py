"""Training on folders of clips, on one or many devices: importers, checks, presets and tasks."""
