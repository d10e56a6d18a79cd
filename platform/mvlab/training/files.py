"""Folder for all files of a run, which every machine that works on the run sees."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvlab.durable import append_line, atomic_write, read_json_lines


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Folder of one run (a trial of a sweep)."""

    path: Path

    @property
    def results(self) -> Path:
        """Folder of the files recorded at the run's end: checkpoint, package, verification, lists."""
        return self.path / "results"

    @property
    def checkpoints(self) -> Path:
        """Folder with one folder for each checkpoint; see `whole_checkpoints`."""
        return self.path / "checkpoints"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def progress(self) -> Path:
        """Log of lines for people."""
        return self.path / "progress.log"

    @property
    def epochs(self) -> Path:
        """Metrics of every epoch whose checkpoint was complete, one JSON object per line."""
        return self.path / "epochs.jsonl"

    @property
    def profile_trace(self) -> Path:
        """Trace of the steps of a run that is profiled."""
        return self.results / "profile-trace.json.gz"

    @property
    def profile_summary(self) -> Path:
        return self.results / "profile.md"

    @property
    def evaluation(self) -> Path:
        """Folder of a task's own files about its evaluations."""
        return self.results / "evaluation"

    @property
    def corrupt_rows(self) -> Path:
        return self.results / "corrupt-rows.txt"

    @property
    def stop(self) -> Path:
        """File that tells all ranks, while it exists, to make a checkpoint and stop."""
        return self.path / "stop"

    @property
    def error(self) -> Path:
        """Reason why the run failed, if it did."""
        return self.results / "error.txt"

    def say(self, line: str) -> None:
        """Add a line for people."""
        with self.progress.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def checkpoint_name(epoch: int, step: int) -> str:
    """Return the name of a checkpoint's folder; names sort as the run goes."""
    return f"epoch-{epoch:05d}-step-{step:08d}"


def whole_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first; none if the folder is missing.

    Raises:
        OSError: the folder cannot be listed, which says nothing about its content.
    """
    try:
        names = sorted(os.listdir(folder))  # `glob` would take a folder that cannot be read for an empty one
    except FileNotFoundError:
        return []
    return [folder / name for name in names if re.fullmatch(r"epoch-\d{5,}-step-\d{8,}", name)]


def write_epochs(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Replace the content of the file with `history`, atomically."""
    atomic_write(path, "".join(json.dumps(each) + "\n" for each in history))


def append_epoch(path: Path, metrics: Mapping[str, Any]) -> None:
    """Add the metrics of an epoch. They are on the disk when this returns."""
    append_line(path, json.dumps(metrics))


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of all epochs that were written completely."""
    return list(read_json_lines(path))
