"""Append-only file of a sweep's events, one JSON object a line. An event is on the disk before anyone acts on it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from mvlab.durable import append_line
from mvlab.record.tags import WEIGHTS_TAG

SWEEP = "sweep"
"""Key of the parent run. A trial's key is its name."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataUse:
    """Split of a data set, and its use in a run."""

    name: str
    digest: str
    """Digest of the split's content."""
    uri: str
    """URI without credentials."""
    num_samples: int
    context: Literal["training", "validation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Event of `run` (a trial's name, or SWEEP)."""

    run: str
    kind: Literal["begin", "resume", "metrics", "artifact", "end", "forget"]
    """Kind of event. After "forget", earlier events of the run are void: its epochs were lost, and it begins anew."""
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    step: int = 0
    """Epoch of metrics, from 1; 0 for metrics of no epoch."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DataUse] = ()
    """Data that the run will use; only of "begin"."""
    path: str = ""
    """Local file or folder of an artifact."""
    status: Status | None = None


@dataclass(slots=True)
class Standing:
    """State of one run, from all valid events so far."""

    is_begun: bool = False
    status: Status | None = None
    """Last end; None if the run has begun or was resumed since."""
    attempts: int = 0
    """Number of times it has begun or was resumed, also before it was forgotten."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Newest value of each tag."""
    epochs: dict[int, str] = field(default_factory=dict)
    """Digest of the weights after each epoch, from 1."""
    forgotten: int = 0
    """Offset in the journal up to which the run's events are void."""

    def take(self, event: Event) -> None:
        """Apply the next event."""
        if event.kind in ("begin", "resume", "end"):
            self.is_begun, self.status = True, event.status
            self.attempts += event.kind != "end"
        if event.kind == "metrics" and event.step:
            self.epochs[event.step] = event.tags.get(WEIGHTS_TAG, "")
        self.params.update(event.params)
        self.tags.update(event.tags)


class Journal:
    """Appends events. Safe in a signal handler: a line is one write, unless the disk is nearly full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[dict[str, Standing], int] = {}, 0
        """State of all runs, and the offset up to which it is known."""
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, event: Event) -> None:
        """Append an event. It is on the disk when this returns.

        Raises:
            OSError: it is not on the disk. Readers see no part of it.
        """
        append_line(self.path, json.dumps(asdict(event), separators=(",", ":")))

    def events(self) -> Iterator[Event]:
        """Yield all valid events, in order. Events of a run from before it was forgotten are left out."""
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
        """Return the state of every run, in order of their beginnings. For one thread.

        Only lines added since the last call are read, since a driver asks several times a second.
        """
        runs, offset = self._seen
        self._seen = {}, 0  # an interrupt in here makes the next call read everything, and count no event twice
        for event, after in self.since(offset):
            offset, run = after, runs.setdefault(event.run, Standing())
            if event.kind == "forget":
                runs[event.run] = Standing(attempts=run.attempts, forgotten=offset)
            else:
                run.take(event)
        self._seen = runs, offset
        return runs

    def begun(self) -> list[str]:
        """Return the runs that have begun, in order."""
        return [name for name, run in self.runs().items() if run.is_begun]

    def statuses(self) -> dict[str, Status | None]:
        """Return the last end of each run that has begun; None if it has begun or was resumed since."""
        return {name: run.status for name, run in self.runs().items() if run.is_begun}

    def open_runs(self) -> list[str]:
        """Return the runs that have begun and not ended, the sweep itself last."""
        return sorted((run for run, status in self.statuses().items() if status is None), key=lambda run: run == SWEEP)


def _parsed(line: bytes) -> Event | None:
    """Parse the event in a line; None if a crash cut it short."""
    try:
        values = json.loads(line)
        datasets = tuple(DataUse(**each) for each in values.pop("datasets", ()))  # absent in old journals
        return Event(**values, datasets=datasets)
    except (ValueError, TypeError, AttributeError):
        return None
