"""Limits on texts in MLflow. A longer text is cut, and kept whole as an artifact of the run."""

from collections.abc import Mapping

from mlflow.utils.validation import MAX_DATASET_NAME_SIZE, MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

MAX_PARAM, MAX_TAG, MAX_DATASET_NAME = MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH, MAX_DATASET_NAME_SIZE
MAX_NAME = 250
"""Characters of a run's name in MLflow's databases. sqlite accepts more, a server's databases refuse them."""
WHOLE = "whole"
"""Folder of a run's artifacts for the texts that are cut elsewhere."""


def cut(text: str, limit: int, *, note: str) -> str:
    """Cut a text to `limit` characters, of which the last are `note`."""
    return text if len(text) <= limit else text[: limit - len(note)] + note


def fitted(values: Mapping[str, str], limit: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values cut to `limit` characters each, and the whole texts of those that were cut, by artifact."""
    files = {name: f"{WHOLE}/{name.replace('/', '-')}.txt" for name, value in values.items() if len(value) > limit}
    short = {
        name: cut(value, limit, note=f"... (cut here; whole in the artifact {files.get(name)})")
        for name, value in values.items()
    }
    return short, {file: values[name] for name, file in files.items()}
