"""Journal -> MLflow: one writer, in a thread of its own, that training never waits for."""

import logging
import os
import sys
import threading
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.process import Process
from mvlab.record.tracking import TrackingError, without_password

SECONDS_BETWEEN_DRAINS = 0.5
OWNER_TAG = "mvlab.process"
"""On every run: the process that writes it, so that a later one can tell whether it died."""


def connect(uri: str, experiment: str, artifacts: Path) -> tuple[MlflowClient, str]:
    """A client, and the id of the experiment (made where it is new); a local store is created or upgraded.

    Args:
        uri: of the tracking server or store.
        experiment: its name.
        artifacts: where a local store keeps files; a server has its own place.

    Raises:
        TrackingError: nothing answers at `uri`.
    """
    # A server that is gone should cost seconds here, not minutes; what the user set stands.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        location = artifacts.absolute().as_uri() if uri.startswith("sqlite:") else None
        return client, client.create_experiment(experiment, artifact_location=location)
    except Exception as error:  # MLflow, requests and SQLAlchemy each have their own
        raise TrackingError(
            f"MLflow at {without_password(uri)} cannot be used: {_first_line(error)}. "
            "Start a server there, or leave out --tracking-uri to record into ./mlflow.db"
        ) from error


def close_stale_runs(client: MlflowClient, experiment_id: str) -> int:
    """Ends as KILLED the runs that a dead process of this machine left RUNNING; says how many."""
    running = client.search_runs([experiment_id], f"attributes.status = 'RUNNING' and tags.`{OWNER_TAG}` != ''")
    stale = [run for run in running if Process.parse(run.data.tags[OWNER_TAG]).is_dead()]
    for run in stale:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(stale)


class MlflowSink:
    """Carries a journal's events to MLflow in order, each once, and knows the run ids that came of it.

    While the server is away events wait in the journal; `close` says whether all arrived.
    """

    def __init__(self, journal: Journal, client: MlflowClient, experiment_id: str) -> None:
        self.journal, self.client, self.experiment_id = journal, client, experiment_id
        self.run_ids: dict[str, str] = {}
        self._applied = 0
        self._warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sink", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 120.0) -> bool:
        """Carries over what is left, then stops; false if events remain in the journal."""
        self._closing.set()
        self._thread.join(timeout_s)
        return self._applied == sum(1 for _ in self.journal.events())

    def _work(self) -> None:
        while not self._closing.wait(SECONDS_BETWEEN_DRAINS):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        try:
            for event in list(self.journal.events())[self._applied :]:
                self._apply(event)
                self._applied += 1
        except (MlflowException, OSError) as error:
            if not self._warned:
                self._warned = True
                print(
                    f"MLflow does not take the record ({_first_line(error)}). The run goes on; "
                    f"everything is in {self.journal.path}, and is sent again",
                    file=sys.stderr,
                )

    def _apply(self, event: Event) -> None:
        match event.kind:
            case "begin":
                self._begin(event)
            case "metrics":
                metrics = [Metric(key, value, event.time_ms, event.step) for key, value in event.metrics.items()]
                tags = [RunTag(key, value) for key, value in event.tags.items()]
                self.client.log_batch(self.run_ids[event.run], metrics=metrics, tags=tags)
            case "artifact":
                path, run_id = Path(event.path), self.run_ids[event.run]
                if path.is_dir():
                    self.client.log_artifacts(run_id, str(path), f"{event.folder}/{path.name}".strip("/"))
                else:
                    self.client.log_artifact(run_id, str(path), event.folder or None)
            case "end":
                self.client.set_terminated(self.run_ids[event.run], event.status, event.time_ms)

    def _begin(self, event: Event) -> None:
        tags = {**event.tags, OWNER_TAG: str(Process.current())}
        if event.run != SWEEP:
            tags[MLFLOW_PARENT_RUN_ID] = self.run_ids[SWEEP]
        name = tags.pop("name", event.run)
        run = self.client.create_run(self.experiment_id, start_time=event.time_ms, tags=tags, run_name=name)
        self.run_ids[event.run] = run.info.run_id
        params = [Param(key, value) for key, value in event.params.items()]
        self.client.log_batch(run.info.run_id, params=params, tags=[RunTag("mvlab.journal", str(self.journal.path))])


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line]
    return lines[0][:300] if lines else type(error).__name__
