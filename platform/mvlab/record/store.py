"""An MLflow store, opened and put in order before a study begins."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LifecycleStage, Run
from mlflow.tracking import MlflowClient

from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.tracking import TrackingError, first_line, redacted

SQLITE = "sqlite:///"
KIND = "custom_model_development"
"""What the UI shows of the experiment: runs and metrics; by default it shows traces and prompts."""
PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningRun:
    """A run that MLflow calls RUNNING."""

    run_id: str
    name: str
    experiment: str
    owner: Process | None
    """Who writes it; None for a run that is not ours."""

    @property
    def is_stale(self) -> bool:
        """Whether its process has surely ended."""
        return self.owner is not None and self.owner.is_dead()


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client, and the id of the experiment (made where it is new); a local store is created or upgraded.

    A sqlite store keeps its files in `mlruns` beside it; a server has its own place.

    Raises:
        TrackingError: nothing answers at `uri`, or the experiment is in its bin.
    """
    _be_brief()
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return client, client.create_experiment(experiment, _artifacts(uri), tags={"mlflow.experimentKind": KIND})
    except Exception as error:  # MLflow, requests and SQLAlchemy each have their own
        raise _unusable(uri, error) from error
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the MLflow experiment {experiment} was deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or remove it with `mlflow gc`"
        )
    return client, found.experiment_id


def look_into(uri: str, prefix: str) -> tuple[MlflowClient | None, dict[str, str]]:
    """A client, and name -> id of the experiments whose names begin with `prefix`; no client if there is no store.

    A local store that was never made is not made here either.

    Raises:
        TrackingError: nothing answers at `uri`.
    """
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return None, {}
    _be_brief()
    try:
        client = MlflowClient(tracking_uri=uri)
        return client, {
            each.name: each.experiment_id
            for each in client.search_experiments(filter_string=f"name LIKE '{prefix}%'", max_results=PAGE)
        }
    except Exception as error:  # as above
        raise _unusable(uri, error) from error


def running_runs(client: MlflowClient, experiments: dict[str, str]) -> list[RunningRun]:
    """What MLflow calls RUNNING in these experiments (name -> id)."""
    names = {experiment_id: name for name, experiment_id in experiments.items()}
    return [
        RunningRun(
            run_id=run.info.run_id,
            name=run.info.run_name,
            experiment=names[run.info.experiment_id],
            owner=_owner(run),
        )
        for run in search_all(client, list(names), "attributes.status = 'RUNNING'")
    ]


def close_stale_runs(client: MlflowClient, experiment_id: str) -> int:
    """Ends as KILLED the runs that a dead process of this machine left RUNNING; says how many."""
    stale = [run for run in running_runs(client, {"": experiment_id}) if run.is_stale]
    for run in stale:
        client.set_terminated(run.run_id, status="KILLED")
    return len(stale)


def search_all(client: MlflowClient, experiment_ids: Sequence[str], query: str) -> list[Run]:
    """Every run that matches, whatever their number."""
    found: list[Run] = []
    token: str | None = None
    while experiment_ids:
        page = client.search_runs(list(experiment_ids), query, max_results=PAGE, page_token=token)
        found += page
        token = page.token or None
        if token is None:
            break
    return found


def _owner(run: Run) -> Process | None:
    text = run.data.tags.get(OWNER_TAG)
    return Process.parse(text) if text else None


def _be_brief() -> None:
    """A server that is gone should cost seconds here, not minutes, and no run two lines on standard output as it ends.

    What the user set stands.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes


def _unusable(uri: str, error: Exception) -> TrackingError:
    return TrackingError(
        f"MLflow at {redacted(uri)} cannot be used: {first_line(error)}. "
        "Start a server there, or leave out --tracking-uri to record into ./mlflow.db"
    )


def _artifacts(uri: str) -> str | None:
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlruns").as_uri()
