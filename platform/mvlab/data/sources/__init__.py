"""Raw data sets, each a stream of `Sample`."""
