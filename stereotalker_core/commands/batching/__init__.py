"""Many `talk` lines: lists, shards, clusters."""
