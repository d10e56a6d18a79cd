"""Tags of a run in MLflow: its journal and its name there, and tags that events carry."""

from collections.abc import Mapping

RUN_TAG = "mvlab.run"
"""Name of the run in the journal."""
JOURNAL_TAG = "mvlab.journal"
"""Identity of the journal, which it keeps if it is moved."""
JOURNAL_FILE_TAG = "mvlab.journal_file"
"""File of the journal, as seen by the process that last wrote the run."""

ROW_TAG, CONFIG_TAG, WEIGHTS_TAG = "mvlab.row", "mvlab.config_digest", "mvlab.weights_sha256"
TASK_TAG, PRIMARY_TAG = "mvlab.task", "mvlab.primary_metric"
"""Tags of a study: kind of its task, and plain name of the primary metric. Studies from before tasks have neither."""
PRUNED_TAG = "mvlab.pruned_at_epoch"
"""Epoch at which successive halving ended the run on purpose."""
NOW = "mvlab.now."
"""Prefix of a parameter's name: its current value in a resumed run. MLflow keeps parameters as they were."""


def current(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the current parameters of a run."""
    changed = {name.removeprefix(NOW): value for name, value in tags.items() if name.startswith(NOW)}
    return {**params, **changed}
