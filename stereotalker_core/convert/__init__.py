"""Public weights converted to our classes, with a report of every key."""
