"""The posed body as pictures."""
