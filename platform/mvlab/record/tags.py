"""Tags that tell of a run in MLflow which one of which journal it is, and those that events carry."""

from collections.abc import Mapping

RUN_TAG = "mvlab.run"
"""The journal's name of the run."""
JOURNAL_TAG = "mvlab.journal"
"""No other journal has the same, wherever it is moved."""
JOURNAL_FILE_TAG = "mvlab.journal_file"
"""Where the journal was for the process that wrote the run last."""

ROW_TAG, CONFIG_TAG, WEIGHTS_TAG = "mvlab.row", "mvlab.config_digest", "mvlab.weights_sha256"
TASK_TAG, PRIMARY_TAG = "mvlab.task", "mvlab.primary_metric"
"""Of a study: kind of its task, and plain name of the primary metric; before there were tasks, it had neither."""
PRUNED_TAG = "mvlab.pruned_at_epoch"
"""Tag of a run that was ended early on purpose: successive halving gave its time to others."""
NOW = "mvlab.now."
"""Before the name of a parameter: the value that a resumed run has by now. MLflow keeps parameters as they were."""


def current(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a run as they are by now."""
    changed = {name.removeprefix(NOW): value for name, value in tags.items() if name.startswith(NOW)}
    return {**params, **changed}
