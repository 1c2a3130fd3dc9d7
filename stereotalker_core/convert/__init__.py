"""Public weights -> our classes, with a report of every key."""
