"""An MLflow store, opened and put in order before a study begins."""

import logging
import os
from pathlib import Path

from mlflow.entities import LifecycleStage
from mlflow.tracking import MlflowClient

from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.tracking import TrackingError, first_line, redacted

SQLITE = "sqlite:///"
KIND = "custom_model_development"
"""What the UI shows of the experiment: runs and metrics; by default it shows traces and prompts."""


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client, and the id of the experiment (made where it is new); a local store is created or upgraded.

    A sqlite store keeps its files in `mlruns` beside it; a server has its own place.

    Raises:
        TrackingError: nothing answers at `uri`, or the experiment is in its bin.
    """
    # A server that is gone should cost seconds here, not minutes; what the user set stands.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return client, client.create_experiment(experiment, _artifacts(uri), tags={"mlflow.experimentKind": KIND})
    except Exception as error:  # MLflow, requests and SQLAlchemy each have their own
        raise TrackingError(
            f"MLflow at {redacted(uri)} cannot be used: {first_line(error)}. "
            "Start a server there, or leave out --tracking-uri to record into ./mlflow.db"
        ) from error
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the MLflow experiment {experiment} was deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or remove it with `mlflow gc`"
        )
    return client, found.experiment_id


def close_stale_runs(client: MlflowClient, experiment_id: str) -> int:
    """Ends as KILLED the runs that a dead process of this machine left RUNNING; says how many."""
    running = client.search_runs([experiment_id], f"attributes.status = 'RUNNING' and tags.`{OWNER_TAG}` != ''")
    stale = [run for run in running if Process.parse(run.data.tags[OWNER_TAG]).is_dead()]
    for run in stale:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(stale)


def _artifacts(uri: str) -> str | None:
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlruns").as_uri()
