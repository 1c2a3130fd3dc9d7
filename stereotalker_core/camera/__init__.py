"""Camera paths and framing."""
