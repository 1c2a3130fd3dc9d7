"""The parametric half body."""
