"""The teacher's motion: gestures, head, visemes, faces."""
