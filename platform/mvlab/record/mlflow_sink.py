"""Journal -> MLflow: one writer, in a thread of its own, that training never waits for."""

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
ATTEMPTS = 3
"""At an event that a server which answers will not take."""


class MlflowSink:
    """Carries a journal's events to MLflow in order, each once, and knows the run ids that came of it.

    While the server is away events wait in the journal; one that it refuses is told of and left there.
    """

    def __init__(self, journal: Journal, client: MlflowClient, experiment_id: str) -> None:
        self.journal, self.client, self.experiment_id = journal, client, experiment_id
        self.run_ids: dict[str, str] = {}
        self._applied = 0
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
        return not self._pending() and not self._refused

    def _work(self) -> None:
        while not self._closing.wait(SECONDS_BETWEEN_DRAINS):
            self._drain()
        while not self._drain() and time.monotonic() < self._deadline:
            time.sleep(SECONDS_BETWEEN_DRAINS)

    def _pending(self) -> list[Event]:
        return list(self.journal.events())[self._applied :]

    def _drain(self) -> bool:
        """Carries over what is pending; false if it has to be tried again."""
        for event in self._pending():
            try:
                self._apply(event)
            except Exception as error:  # noqa: BLE001 - MLflow, its stores and their clients each have their own
                self._tell(event, error)
                self._attempts = self._attempts + 1 if self._answers() else 0  # it may have failed for being away
                if self._attempts < ATTEMPTS:
                    return False
                self._refused += 1
            self._attempts = 0
            self._applied += 1
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
            tags = {**event.tags, OWNER_TAG: str(Process.current()), "mvlab.journal": str(self.journal.path)}
            if event.run != SWEEP:
                tags[MLFLOW_PARENT_RUN_ID] = self.run_ids[SWEEP]
            name = tags.pop("name", event.run)
            run = self.client.create_run(self.experiment_id, start_time=event.time_ms, tags=tags, run_name=name)
            self.run_ids[event.run] = run.info.run_id
        params = [Param(key, value) for key, value in event.params.items()]
        self.client.log_batch(self.run_ids[event.run], params=params)
