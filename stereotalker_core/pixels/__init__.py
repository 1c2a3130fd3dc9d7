"""Dilation and inpainting: operations on pictures that do not know about people."""
