"""From raw sets to device batches: sources -> shards -> plan -> images -> feed."""
