"""Training tasks: targets, loss and metrics of a network."""
