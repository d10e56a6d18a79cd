"""Tags by which a run in MLflow tells which of which journal it is, so that none is ever made twice."""

RUN_TAG = "mvlab.run"
"""The journal's name of the run."""
JOURNAL_TAG = "mvlab.journal"
"""No other journal has the same, wherever it is moved."""
JOURNAL_FILE_TAG = "mvlab.journal_file"
"""Where the journal was for the process that wrote the run last."""
