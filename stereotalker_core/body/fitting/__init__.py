"""The fit of the body to a portrait: shape, pose, expression, camera, shell."""
