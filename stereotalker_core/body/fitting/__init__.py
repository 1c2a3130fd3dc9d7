"""A portrait -> shape, pose, expression, camera, shell."""
