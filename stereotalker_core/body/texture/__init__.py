"""The portrait's pixels on the body's texture: projection, light, filling of holes."""
