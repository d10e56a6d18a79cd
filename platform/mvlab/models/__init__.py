"""Networks. A config of `mvlab.networks` and the number of classes is all that they need."""
