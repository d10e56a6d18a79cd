"""Names and refusals of a tracking server. Needs no MLflow, so that bad options are reported at once."""

import re

from mvlab.errors import UserError
from mvlab.masking import redacted

PREFIX = "mobilevit/"
"""Prefix of the names of all our experiments in MLflow."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""Id of a run in MLflow."""


class TrackingError(UserError, ConnectionError):
    """The MLflow server cannot be used. The message says what to do."""


def first_line(error: Exception, uri: str) -> str:
    """Return the first line of an error of the store at `uri`, without credentials."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return redacted(lines[0], uri)[:300] if lines else type(error).__name__


def mlflow_experiment(name: str, task: str) -> str:
    """Return the name of the MLflow experiment with the studies of our experiment `name`, of tasks of this kind."""
    return f"{PREFIX}{task}/{name}"
