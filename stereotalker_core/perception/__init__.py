"""People of a photograph: MediaPipe's networks in plain torch."""
