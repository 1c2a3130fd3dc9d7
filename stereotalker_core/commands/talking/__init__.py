"""The `talk` command and its options."""
