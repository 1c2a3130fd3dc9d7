"""Loops over pixels, triangles and points that numba compiles; every caller has a twin in tensor operations."""
