"""Many `talk` command lines at once: lists, shards, clusters."""
