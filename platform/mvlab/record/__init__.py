"""What happened, kept: a local journal that is the truth, and a sink that carries it to MLflow."""
