"""Recordings and what the networks hear in them."""
