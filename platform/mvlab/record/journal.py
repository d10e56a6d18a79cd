"""An append-only file of what happened in a sweep, one JSON object a line, on disk before anyone acts on it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from mvlab.durable import append_line
from mvlab.record.tags import WEIGHTS_TAG

SWEEP = "sweep"
"""The key of the parent; a trial's key is its name."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataUse:
    """A split of a data set, and what a run used it for."""

    name: str
    digest: str
    """Of the split's content."""
    uri: str
    """Without credentials."""
    num_samples: int
    context: Literal["training", "validation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened to `run` (a trial's name, or SWEEP)."""

    run: str
    kind: Literal["begin", "resume", "metrics", "artifact", "end", "forget"]
    """A run is forgotten when epochs that were recorded are lost: nothing of it holds, and it begins once more."""
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    step: int = 0
    """Of metrics: the epoch, from 1; 0 for those that belong to none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DataUse] = ()
    """Of a beginning: what the run will use."""
    path: str = ""
    """Of an artifact: the local file or folder."""
    status: Status | None = None


@dataclass(slots=True)
class Standing:
    """State of one run, by all events so far that hold."""

    is_begun: bool = False
    status: Status | None = None
    """Its last end; None if it has begun or was resumed since."""
    attempts: int = 0
    """How often it has begun or was resumed, also before it was forgotten."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """With their newest values."""
    epochs: dict[int, str] = field(default_factory=dict)
    """Epoch, from 1 -> digest of the weights after it."""
    forgotten: int = 0
    """The journal's offset up to which no event of the run holds."""

    def take(self, event: Event) -> None:
        """Add what the next event tells."""
        if event.kind in ("begin", "resume", "end"):
            self.is_begun, self.status = True, event.status
            self.attempts += event.kind != "end"
        if event.kind == "metrics" and event.step:
            self.epochs[event.step] = event.tags.get(WEIGHTS_TAG, "")
        self.params.update(event.params)
        self.tags.update(event.tags)


class Journal:
    """Appends events; safe to call from a signal handler, since a line is one write where the disk has room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[dict[str, Standing], int] = {}, 0
        """State of all runs, and the offset up to which it has read."""
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, event: Event) -> None:
        """Add an event; it is on the disk when this returns.

        Raises:
            OSError: it is not; no reader will see a part of it.
        """
        append_line(self.path, json.dumps(asdict(event), separators=(",", ":")))

    def events(self) -> Iterator[Event]:
        """Yield all events that hold, in order: none of a run before it was forgotten."""
        forgotten = {name: run.forgotten for name, run in self.runs().items()}
        return (event for event, offset in self.since(0) if offset > forgotten.get(event.run, 0))

    def since(self, offset: int) -> Iterator[tuple[Event, int]]:
        """Yield the events after the first `offset` bytes, each with the offset after it.

        A line cut short by a crash is left out.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                if event := _parsed(line):
                    yield event, offset

    def runs(self) -> Mapping[str, Standing]:
        """Return the state of every run, in the order in which they began; for one thread.

        It reads only what was added since the last call: a driver asks several times a second.
        """
        runs, offset = self._seen
        self._seen = {}, 0  # an interrupt in here leaves no event counted twice: the next call reads from the beginning
        for event, after in self.since(offset):
            offset, run = after, runs.setdefault(event.run, Standing())
            if event.kind == "forget":
                runs[event.run] = Standing(attempts=run.attempts, forgotten=offset)
            else:
                run.take(event)
        self._seen = runs, offset
        return runs

    def begun(self) -> list[str]:
        """Return the runs that began, in order."""
        return [name for name, run in self.runs().items() if run.is_begun]

    def statuses(self) -> dict[str, Status | None]:
        """Return the last end of each run that began; None if it has begun or was resumed since."""
        return {name: run.status for name, run in self.runs().items() if run.is_begun}

    def open_runs(self) -> list[str]:
        """Return the runs that began and have not ended, the sweep itself last."""
        return sorted((run for run, status in self.statuses().items() if status is None), key=lambda run: run == SWEEP)


def _parsed(line: bytes) -> Event | None:
    """The event in a line; None for one that a crash cut short."""
    try:
        values = json.loads(line)
        datasets = tuple(DataUse(**each) for each in values.pop("datasets", ()))  # journals of earlier versions lack it
        return Event(**values, datasets=datasets)
    except (ValueError, TypeError, AttributeError):
        return None
