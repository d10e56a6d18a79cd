"""Tags that tell of a run in MLflow which one of which journal it is, and those that events carry."""

RUN_TAG = "mvlab.run"
"""The journal's name of the run."""
JOURNAL_TAG = "mvlab.journal"
"""No other journal has the same, wherever it is moved."""
JOURNAL_FILE_TAG = "mvlab.journal_file"
"""Where the journal was for the process that wrote the run last."""

ROW_TAG, CONFIG_TAG, WEIGHTS_TAG = "mvlab.row", "mvlab.config_digest", "mvlab.weights_sha256"
PRUNED_TAG = "mvlab.pruned_at_epoch"
"""Of a run that was ended early on purpose: successive halving gave its time to others."""
