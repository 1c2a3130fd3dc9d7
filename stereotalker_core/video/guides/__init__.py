"""The posed body as maps."""
