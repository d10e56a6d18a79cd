"""An append-only file of what happened in a sweep, one JSON object a line, on disk before anyone acts on it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mvlab.durable import append_line

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
    kind: Literal["begin", "resume", "metrics", "artifact", "end"]
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


class Journal:
    """Appends events; safe to call from a signal handler, since a line is one write where the disk has room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, event: Event) -> None:
        """Add an event; it is on the disk when this returns.

        Raises:
            OSError: it is not; no reader will see a part of it.
        """
        append_line(self.path, json.dumps(asdict(event), separators=(",", ":")))

    def events(self) -> Iterator[Event]:
        """All events so far, in order; a line cut short by a crash is left out."""
        return (event for event, _ in self.since(0))

    def since(self, offset: int) -> Iterator[tuple[Event, int]]:
        """The events after the first `offset` bytes, each with the offset after it."""
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

    def begun(self) -> list[str]:
        """Runs that began, in order."""
        return [event.run for event in self.events() if event.kind == "begin"]

    def statuses(self) -> dict[str, Status | None]:
        """How each run that began stands: its last end, or None if it has begun or gone on since."""
        standing: dict[str, Status | None] = {}
        for event in self.events():
            if event.kind in ("begin", "resume"):
                standing[event.run] = None
            elif event.kind == "end":
                standing[event.run] = event.status
        return standing

    def open_runs(self) -> list[str]:
        """Runs that began and have not ended, the sweep itself last."""
        return sorted((run for run, status in self.statuses().items() if status is None), key=lambda run: run == SWEEP)

    def epochs(self, run: str) -> list[dict[str, Any]]:
        """The metrics of each epoch of a trial, in order."""
        return [
            {"epoch": event.step, **event.metrics}
            for event in self.events()
            if event.run == run and event.kind == "metrics" and event.step
        ]


def _parsed(line: bytes) -> Event | None:
    """The event in a line; None for one that a crash cut short."""
    try:
        values = json.loads(line)
        datasets = tuple(DataUse(**each) for each in values.pop("datasets", ()))  # journals of earlier versions lack it
        return Event(**values, datasets=datasets)
    except (ValueError, TypeError, AttributeError):
        return None
