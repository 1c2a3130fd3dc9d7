"""The `talk` command and what a line of it is made of."""
