"""Stage 2: motion + identity + cameras -> frames."""
