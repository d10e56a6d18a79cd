"""Journal -> MLflow: one writer, in a thread of its own, that training never waits for."""

import hashlib
import json
import sys
import threading
import time
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.tracking import first_line

SECONDS_BETWEEN_DRAINS = 0.5
CARRIED = "mlflow.json"
"""Beside the journal: how far it is carried, and the ids of its runs. A later process goes on from there."""
RUN_TAG, JOURNAL_TAG = "mvlab.run", "mvlab.journal"
"""On every run: which of which journal it is, so that none is ever made twice."""
ATTEMPTS = 3
"""At an event that a server which answers will not take."""


class MlflowSink:
    """Carries a journal's events to MLflow in order, each once, and knows the run ids that came of it.

    While the server is away events wait in the journal; one that it refuses is told of and left there. How far it came
    is kept beside the journal. An event that is carried twice, after a crash between the two, changes nothing: metrics
    keep their time, and a run is looked for before it is made. Another store than before gets all of the journal.
    """

    def __init__(self, journal: Journal, client: MlflowClient, experiment_id: str) -> None:
        self.journal, self.client, self.experiment_id = journal, client, experiment_id
        self.run_ids: dict[str, str] = {}
        self._offset = 0
        self._load()
        self._attempts = 0
        self._refused = 0
        self._told: set[str] = set()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="mlflow-sink", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Carries over what is left, trying for `timeout_s`; false if anything stays behind in the journal."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s + 60)
        return next(self.journal.since(self._offset), None) is None and not self._refused

    def _work(self) -> None:
        while not self._closing.wait(SECONDS_BETWEEN_DRAINS):
            self._drain()
        while not self._drain() and time.monotonic() < self._deadline:
            time.sleep(SECONDS_BETWEEN_DRAINS)

    def _drain(self) -> bool:
        """Carries over what is pending; false if it has to be tried again."""
        for event, offset in self.journal.since(self._offset):
            try:
                self._apply(event)
            except Exception as error:  # noqa: BLE001 - MLflow, its stores and their clients each have their own
                self._tell(event, error)
                self._attempts = self._attempts + 1 if self._answers() else 0  # it may have failed for being away
                if self._attempts < ATTEMPTS:
                    return False
                self._refused += 1
            self._attempts = 0
            self._offset = offset
            self._save()
        return True

    def _answers(self) -> bool:
        try:
            self.client.get_experiment(self.experiment_id)
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer
            return False
        return True

    def _tell(self, event: Event, error: Exception) -> None:
        if event.kind not in self._told:
            self._told.add(event.kind)
            print(
                f"MLflow does not take the {event.kind} of {event.run} ({first_line(error)}). "
                f"The study goes on; everything is in {self.journal.path}",
                file=sys.stderr,
            )

    def _apply(self, event: Event) -> None:
        match event.kind:
            case "begin":
                self._begin(event)
            case "resume":
                owned = {**event.tags, OWNER_TAG: str(Process.current())}
                self.client.update_run(self.run_ids[event.run], status="RUNNING")
                self.client.log_batch(self.run_ids[event.run], tags=[RunTag(*tag) for tag in owned.items()])
            case "metrics":
                metrics = [Metric(key, value, event.time_ms, event.step) for key, value in event.metrics.items()]
                tags = [RunTag(key, value) for key, value in event.tags.items()]
                self.client.log_batch(self.run_ids[event.run], metrics=metrics, tags=tags)
            case "artifact":
                path, run_id = Path(event.path), self.run_ids[event.run]
                if path.is_dir():
                    self.client.log_artifacts(run_id, str(path), path.name)
                else:
                    self.client.log_artifact(run_id, str(path))
            case "end":
                self.client.set_terminated(self.run_ids[event.run], event.status, event.time_ms)

    def _begin(self, event: Event) -> None:
        if event.run not in self.run_ids:  # tried again: the run is there, its parameters are not
            self.run_ids[event.run] = self._find(event.run) or self._create(event)
        params = [Param(key, value) for key, value in event.params.items()]
        self.client.log_batch(self.run_ids[event.run], params=params)

    def _create(self, event: Event) -> str:
        tags = {**event.tags, OWNER_TAG: str(Process.current()), JOURNAL_TAG: self._journal_id, RUN_TAG: event.run}
        if event.run != SWEEP:
            tags[MLFLOW_PARENT_RUN_ID] = self.run_ids[SWEEP]
        name = tags.pop("name", event.run)
        run = self.client.create_run(self.experiment_id, start_time=event.time_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _find(self, name: str) -> str | None:
        """The id of a run that was made, but whose making was not written down."""
        query = f"tags.`{JOURNAL_TAG}` = '{self._journal_id}'"
        runs = self.client.search_runs([self.experiment_id], query, max_results=1000)
        return next((run.info.run_id for run in runs if run.data.tags.get(RUN_TAG) == name), None)

    @property
    def _journal_id(self) -> str:
        """The journal's folder and the time of its first event: no other journal has both."""
        first = next(self.journal.events())
        return f"{self.journal.path.parent.name}/{first.time_ms}"

    @property
    def _store(self) -> str:
        """Names the store and experiment without telling its credentials."""
        return hashlib.sha256(f"{self.client.tracking_uri} {self.experiment_id}".encode()).hexdigest()[:16]

    def _load(self) -> None:
        path = self.journal.path.with_name(CARRIED)
        carried = json.loads(path.read_text()) if path.exists() else {}
        if carried.get("store") == self._store:
            self.run_ids, self._offset = carried["run_ids"], carried["offset"]

    def _save(self) -> None:
        path = self.journal.path.with_name(CARRIED)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"store": self._store, "run_ids": self.run_ids, "offset": self._offset}))
        partial.replace(path)
