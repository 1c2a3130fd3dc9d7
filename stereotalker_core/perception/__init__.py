"""The people in a photograph, found by MediaPipe's networks in plain torch."""
