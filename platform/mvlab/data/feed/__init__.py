"""Plan and store -> batches in a training worker."""
