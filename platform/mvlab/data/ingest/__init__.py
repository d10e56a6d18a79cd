"""A listing of samples -> shards, on a cluster."""
