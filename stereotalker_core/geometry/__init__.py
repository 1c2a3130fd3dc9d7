"""Joints, rotations, projection: vocabulary without a body."""
