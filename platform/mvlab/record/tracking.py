"""How a tracking server is named, and refused. Needs no MLflow, so that bad options are told of at once."""

from mvlab.masking import redacted

PREFIX = "mobilevit/"
"""Of the names of all our experiments in MLflow."""


class TrackingError(ConnectionError):
    """The MLflow server cannot be used; the message says what to do."""


def first_line(error: Exception, uri: str) -> str:
    """First line of an error that the store at `uri` caused, as it may be shown."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return redacted(lines[0], uri)[:300] if lines else type(error).__name__


def mlflow_experiment(name: str, task: str) -> str:
    """MLflow experiment of the studies of our experiment `name`, whose runs have a task of the kind `task`."""
    return f"{PREFIX}{task}/{name}"
