"""Networks. A config of `mvlab.config` and the number of classes is all that they need."""
