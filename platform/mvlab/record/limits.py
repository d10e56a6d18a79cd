"""How long a text may be in MLflow: a longer one is cut, and its whole is an artifact of the run."""

from collections.abc import Mapping

from mlflow.utils.validation import MAX_DATASET_NAME_SIZE, MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

MAX_PARAM, MAX_TAG, MAX_DATASET_NAME = MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH, MAX_DATASET_NAME_SIZE
MAX_NAME = 250
"""Letters of a run's name in MLflow's databases: sqlite would take more, a server's refuses them."""
WHOLE = "whole"
"""Folder of a run's artifacts, with the texts that are cut elsewhere."""


def cut(text: str, limit: int, *, note: str) -> str:
    """Return the text if it has at most `limit` letters, else its beginning and `note`, which together have so many."""
    return text if len(text) <= limit else text[: limit - len(note)] + note


def fitted(values: Mapping[str, str], limit: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values with at most `limit` letters each, and artifact -> text, the whole of those that were cut."""
    files = {name: f"{WHOLE}/{name.replace('/', '-')}.txt" for name, value in values.items() if len(value) > limit}
    short = {
        name: cut(value, limit, note=f"... (cut here; whole in the artifact {files.get(name)})")
        for name, value in values.items()
    }
    return short, {file: values[name] for name, file in files.items()}
