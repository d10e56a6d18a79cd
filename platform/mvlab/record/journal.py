"""An append-only file of what happened in a sweep, one JSON object a line, on disk before anyone acts on it."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

SWEEP = "sweep"
"""The key of the parent; a trial's key is its name."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened to `run` (a trial's name, or SWEEP)."""

    run: str
    kind: Literal["begin", "metrics", "artifact", "end"]
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    step: int = 0
    """Of metrics: the epoch, from 1; 0 for those that belong to none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """Of an artifact: the local file or folder."""
    status: Status | None = None


class Journal:
    """Appends events; safe to call from a signal handler, since a line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, event: Event) -> None:
        line = json.dumps(asdict(event), separators=(",", ":")) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)

    def events(self) -> Iterator[Event]:
        """All events so far, in order; a line cut short by a crash is left out."""
        if self.path.exists():
            with self.path.open(encoding="utf-8") as file:
                yield from (Event(**json.loads(line)) for line in file if line.endswith("\n"))

    def begun(self) -> list[str]:
        """Runs that began, in order."""
        return [event.run for event in self.events() if event.kind == "begin"]

    def open_runs(self) -> list[str]:
        """Runs that began and have not ended, the sweep itself last."""
        ended = {event.run for event in self.events() if event.kind == "end"}
        return sorted((run for run in self.begun() if run not in ended), key=lambda run: run == SWEEP)

    def epochs(self, run: str) -> list[dict[str, Any]]:
        """The metrics of each epoch of a trial, in order."""
        return [
            {"epoch": event.step, **event.metrics}
            for event in self.events()
            if event.run == run and event.kind == "metrics" and event.step
        ]
