"""How a tracking server is named, and refused. Needs no MLflow, so that bad options are told of at once."""

import re

PREFIX = "mobilevit/"
"""Of the names of all our experiments in MLflow."""


class TrackingError(ConnectionError):
    """The MLflow server cannot be used; the message says what to do."""


def redacted(text: str) -> str:
    """`text` with the credentials of every URI in it masked: user:password@, and token-like query values."""
    text = re.sub(r"(\w://)[^/\s@]+@", r"\1***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^&\s]+", r"\1***", text)


def first_line(error: Exception) -> str:
    """What an error says, in a line that may be shown."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return redacted(lines[0][:300]) if lines else type(error).__name__


def mlflow_experiment(name: str, *, task: str = "classification") -> str:
    """The MLflow experiment that the studies of our experiment `name` are in."""
    return f"{PREFIX}{task}/{name}"
