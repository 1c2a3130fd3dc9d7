"""Dilation and inpainting: what pictures need before there is a person."""
