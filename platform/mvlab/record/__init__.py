"""Record of a study: a local journal that is authoritative, and a sink that copies it to MLflow."""
