"""The teacher: gestures, head, visemes, faces."""
