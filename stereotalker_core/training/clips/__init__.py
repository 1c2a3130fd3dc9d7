"""Clips: folders of videos with annotations, their checks, importers, and what the trainers read of them."""
