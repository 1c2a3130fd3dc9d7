"""The trainers of all networks, and the training loops that they share."""
