"""Shards, manifest and index of a data set, on a disk or in a bucket."""
