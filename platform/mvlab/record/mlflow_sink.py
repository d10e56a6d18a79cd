"""Journal -> MLflow: one writer in a thread of its own. Training never waits for it."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice, takewhile
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from mvlab.disk import FULL
from mvlab.record.datasets import dataset_inputs
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.limits import MAX_NAME, MAX_PARAM, MAX_TAG, fitted
from mvlab.record.model import is_model, log_model
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import search_all
from mvlab.record.sync_cursor import Carried, read_carried, store_id, write_carried
from mvlab.record.tags import JOURNAL_FILE_TAG, JOURNAL_TAG, RUN_TAG
from mvlab.record.tracking import first_line
from mvlab.record.waiting import Placed, to_carry_again

SECONDS_BETWEEN_DRAINS = 0.5
ATTEMPTS = 3
"""Attempts at an event that an answering server refuses, before the events after it go first."""
EVENTS_OF_A_BATCH = 2000
"""Largest number of events whose metrics are sent together."""

NOTHING: Mapping[str, str] = {}

Batch = tuple[Sequence[Event], int]
"""Events that are sent together, and the journal's offset after them."""


class MlflowSink:
    """Copies a journal's events to MLflow, in order and each once, and knows the resulting run ids.

    While the server is away, events wait in the journal. A refused event is reported, and does not hold up the others.
    It is tried again when the sink closes, and whenever the journal is opened again.

    The position is kept beside the journal. After a crash an event may be sent twice, which changes nothing: metrics
    keep their time, and a run is searched for before it is made. Another store than before gets the whole journal. A
    forgotten run is made anew, with another id.
    """

    def __init__(self, journal: Journal, client: MlflowClient, experiment_id: str) -> None:
        self.journal, self.client, self.experiment_id = journal, client, experiment_id
        self._store = store_id(client.tracking_uri, experiment_id)
        before = read_carried(journal.path)
        if before.store != self._store:
            before = Carried()
        self.run_ids = dict(before.run_ids)
        self._offset = before.offset
        self._refused = set(before.refused)
        """Offset after each event that the store refused."""
        self._written = self._carried()
        """Position that is known to be on the disk beside the journal, or that need not be."""
        self._made: dict[str, str] | None = None
        """Runs of this journal in the store. None if another may have been made without a note on the disk."""
        self._attempts = 0
        self._alone_until = 0
        """End of a refused batch. Up to this offset each event is sent alone."""
        self._told: set[str] = set()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._disk_is_full = False
        """The local disk is full. Waiting for it until the deadline would be useless."""
        self._thread = threading.Thread(target=self._work, name="mlflow-sink", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, for at most `timeout_s`. False if anything stays behind in the journal."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s + 60)
        return next(self.journal.since(self._offset), None) is None and not self._refused

    def _work(self) -> None:
        self._survive(self._retry)  # refused in an earlier process
        while not self._closing.wait(SECONDS_BETWEEN_DRAINS):
            self._survive(self._drain)
        while not (self._survive(self._drain) and self._survive(self._retry)):
            if self._disk_is_full or time.monotonic() >= self._deadline:
                return
            time.sleep(SECONDS_BETWEEN_DRAINS)

    def _survive(self, work: Callable[[], bool]) -> bool:
        """Return the result of `work`. False if the local disk is full or away, which must not end the thread."""
        self._disk_is_full = False
        try:
            return work()
        except OSError as error:
            self._disk_is_full = error.errno in FULL
            folder = self.journal.path.parent
            self._say("disk", f"{folder} cannot be read or written to ({self._said(error)}); MLflow waits for it")
            return False

    def _drain(self) -> bool:
        """Send what is pending. False if it has to be tried again."""
        for events, offset in batches(self.journal.since(self._offset), alone_until=self._alone_until):
            try:
                self._apply(events)
            except Exception as error:  # noqa: BLE001 - MLflow, its stores and their clients each have their own
                self._made = None
                self._attempts = self._attempts + 1 if self._answers() else 0  # the server may just be away
                if len(events) == 1 or not self._attempts:
                    self._tell(events[0], error)
                if self._attempts < ATTEMPTS:
                    return False
                self._attempts = 0
                if len(events) > 1:
                    self._alone_until = offset
                    return False
                self._refused.add(offset)
            self._attempts = 0
            self._offset = offset
            self._write_down()
        self._write_down()  # if that failed before
        return True

    def _retry(self) -> bool:
        """Send refused events again, which the store may accept by now. False if the store is away."""
        if not self._refused:
            return True
        if not self._answers():  # otherwise the whole journal would be read in vain
            return False
        refused: set[int] = set()
        forgotten = {event.run: offset for event, offset in self.journal.since(0) if event.kind == "forget"}
        passed = takewhile(lambda each: each[1] <= self._offset, self.journal.since(0))
        for event, offset in to_carry_again(passed, self._refused, forgotten):
            if time.monotonic() >= self._deadline:
                return False
            try:
                self._apply([event])
            except Exception as error:  # noqa: BLE001 - as above
                self._made = None
                self._tell(event, error)
                if not self._answers():
                    return False
                refused.add(offset)
        self._refused = refused  # only now: a process that is killed before starts again with the first of them
        self._write_down()
        return True

    def _write_down(self) -> None:
        """Write down the position, unless it is on the disk already."""
        carried = self._carried()
        if carried != self._written:
            write_carried(self.journal.path, carried)
            self._written = carried

    def _carried(self) -> Carried:
        refused = tuple(sorted(self._refused))
        return Carried(store=self._store, run_ids=dict(self.run_ids), offset=self._offset, refused=refused)

    def _answers(self) -> bool:
        try:
            self.client.get_experiment(self.experiment_id)
        except Exception:  # noqa: BLE001 - any error means no answer
            return False
        return True

    def _tell(self, event: Event, error: Exception) -> None:
        self._say(
            event.kind,
            f"MLflow refuses the {event.kind} of {event.run} ({self._said(error)}). "
            f"The study continues; everything is in {self.journal.path}",
        )

    def _said(self, error: Exception) -> str:
        return first_line(error, self.client.tracking_uri)

    def _say(self, topic: str, text: str) -> None:
        """Print a message, once for each topic."""
        if topic not in self._told:
            self._told.add(topic)
            with suppress(OSError):  # standard error may be on the full disk
                print(text, file=sys.stderr, flush=True)

    def _apply(self, events: Sequence[Event]) -> None:
        event = events[0]
        match event.kind:
            case "begin":
                self._begin(event)
            case "resume":
                # First the owner: a RUNNING run must never name a dead process.
                self._log(self.run_ids[event.run], tags={**event.tags, **self._writer_tags()})
                self.client.update_run(self.run_ids[event.run], status="RUNNING")
            case "metrics":
                for run in dict.fromkeys(each.run for each in events):
                    self._metrics(run, [each for each in events if each.run == run])
            case "artifact":
                self._artifact(self.run_ids[event.run], Path(event.path))
            case "end":
                self.client.set_terminated(self.run_ids[event.run], event.status, event.time_ms)
            case "forget":
                if event.run in self.run_ids:
                    # Into MLflow's bin: the run would keep its metrics for ever, and the new one must not have them.
                    self.client.delete_run(self.run_ids[event.run])
                    del self.run_ids[event.run]
                    self._made = None

    def _begin(self, event: Event) -> None:
        name, texts = fitted({MLFLOW_RUN_NAME: event.tags.get("name", event.run)}, MAX_NAME)
        if event.run not in self.run_ids:  # retried: the run exists, its parameters do not
            if self._made is None:
                self._made = self._find()
            self.run_ids[event.run] = self._made.get(event.run) or self._create(event, name[MLFLOW_RUN_NAME])
        run_id = self.run_ids[event.run]
        tags = {key: value for key, value in event.tags.items() if key != "name"}
        self._log(run_id, params=event.params, tags=tags, texts=texts)
        if event.datasets:
            self.client.log_inputs(run_id, dataset_inputs(event.datasets))

    def _metrics(self, run: str, events: Sequence[Event]) -> None:
        """Log the metrics of one run. The client splits them into calls within the server's limits."""
        metrics = [
            Metric(key, value, event.time_ms, event.step) for event in events for key, value in event.metrics.items()
        ]
        tags = {key: value for event in events for key, value in event.tags.items()}
        self._log(self.run_ids[run], metrics=metrics, tags=tags)

    def _log(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] = NOTHING,
        tags: Mapping[str, str] = NOTHING,
        texts: Mapping[str, str] = NOTHING,
    ) -> None:
        """Log values of any length. A text that is too long for MLflow is cut, and logged whole beside `texts`."""
        (params, whole_params), (tags, whole_tags) = fitted(params, MAX_PARAM), fitted(tags, MAX_TAG)
        self.client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(*each) for each in params.items()],
            tags=[RunTag(*each) for each in tags.items()],
        )
        for file, text in {**texts, **whole_params, **whole_tags}.items():
            self.client.log_text(run_id, text, file)

    def _artifact(self, run_id: str, path: Path) -> None:
        if is_model(path):
            log_model(self.client, run_id, path)
        elif path.is_dir():
            self.client.log_artifacts(run_id, str(path), path.name)
        else:
            self.client.log_artifact(run_id, str(path))

    def _create(self, event: Event, name: str) -> str:
        tags = {**self._writer_tags(), JOURNAL_TAG: self._journal_id, RUN_TAG: event.run}
        if event.run != SWEEP:
            tags[MLFLOW_PARENT_RUN_ID] = self.run_ids[SWEEP]
        run = self.client.create_run(self.experiment_id, start_time=event.time_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _writer_tags(self) -> dict[str, str]:
        """Return tags with the writer of the run, and the journal's file."""
        return {OWNER_TAG: str(Process.current()), JOURNAL_FILE_TAG: str(self.journal.path.absolute())}

    def _find(self) -> dict[str, str]:
        """Return the ids of the journal's runs in the store, including those that no note on the disk names."""
        query = f"tags.`{JOURNAL_TAG}` = '{self._journal_id}'"
        runs = search_all(self.client, [self.experiment_id], query)
        return {run.data.tags[RUN_TAG]: run.info.run_id for run in runs}

    @property
    def _journal_id(self) -> str:
        """Identity of the journal: its folder and the time of its first event. No other journal has both."""
        first = next(self.journal.events())
        return f"{self.journal.path.parent.name}/{first.time_ms}"


def batches(pending: Iterable[Placed], *, alone_until: int = 0) -> Iterator[Batch]:
    """Group consecutive metrics, of any runs. Every other event is alone, and so is every event up to `alone_until`.

    The order of metrics between two beginnings or ends does not matter: each has its run, step and time.
    """

    def is_together(each: Placed) -> bool:
        event, offset = each
        return event.kind == "metrics" and offset > alone_until

    for together, group in groupby(pending, is_together):
        while chunk := list(islice(group, EVENTS_OF_A_BATCH if together else 1)):
            yield [event for event, _ in chunk], chunk[-1][1]
