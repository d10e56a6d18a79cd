"""The folder of a study on the disk: what it was, who works on it, and whether it can be gone on with."""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvlab.config import config_differences
from mvlab.data.locate import DataSet
from mvlab.record.process import Process
from mvlab.sweep.trial import Trial

STUDY = "study.json"
OWNER = "owner"
JOURNAL = "journal.jsonl"


class ResumeError(ValueError):
    """There is nothing to go on with, or it is not what was asked for."""


def new_folder(root: Path, scale: str) -> Path:
    """A folder of this study's own, named by scale and time (UTC)."""
    folder = root / f"{scale}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def find_folder(root: Path, scale: str, named: str) -> Path:
    """The folder to go on with: the one `named`, or the newest of this scale under `root`, the experiment's folder.

    Raises:
        ResumeError: there is none, or somebody works on it, or it is of another experiment or scale.
    """
    if named:
        folder = Path(named).expanduser().absolute()
        if not (folder / STUDY).exists():
            raise ResumeError(f"--resume {named}: no study was begun there ({STUDY} is missing)")
        before = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        if (before["experiment"], before["scale"]) != (root.name, scale):
            raise ResumeError(
                f"--resume {named}: it is of {before['experiment']} at --scale {before['scale']}, "
                f"not of {root.name} at --scale {scale}"
            )
    else:
        begun = sorted(path.parent for path in root.glob(f"{scale}-*/{STUDY}"))
        if not begun:
            raise ResumeError(f"--resume: no study of scale {scale} was begun in {root}; leave --resume out")
        folder = begun[-1]
    if (owner := owner_of(folder)) and owner.host == socket.gethostname() and not owner.is_dead():
        raise ResumeError(f"--resume: process {owner.pid} still works on {folder}; stop it first")
    return folder


def require_same_study(folder: Path, trials: Sequence[Trial], data: DataSet) -> None:
    """
    Raises:
        ResumeError: a trial or the data is not what it was when the study began; the message shows the difference.
    """
    before = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    differences = [
        f"{trial.name}: {difference}"
        for trial in trials
        if trial.name in before["trials"]
        for difference in config_differences(json.dumps(before["trials"][trial.name]), trial.run)
    ]
    then, now = before["data"], {"name": data.name, "digest": data.digest}
    if then["digest"] != data.digest if data.digest else then["name"] != data.name:  # the digits, not written yet
        differences.insert(0, f"data: {_data_line(then)} then, {_data_line(now)} now")
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise ResumeError(
            f"--resume: {folder} is of another study: {shown}. Give the options that it was begun with, begin a new "
            "one, or say --accept-changes to go on regardless"
        )


def begin_work(folder: Path, trials: Sequence[Trial], data: DataSet, *, experiment: str, scale: str) -> None:
    """Writes down what the study is, trials of earlier times included, and that this process works on it."""
    path = folder / STUDY
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["trials"] if path.exists() else {}
    study = {
        "experiment": experiment,
        "scale": scale,
        "data": {"name": data.name, "digest": data.digest},
        "trials": before | {trial.name: trial.run.as_dict() for trial in trials},
    }
    _replace(path, json.dumps(study, indent=1))
    _replace(folder / OWNER, str(Process.current()))
    for trial in trials:
        trial.folder(folder).stop.unlink(missing_ok=True)


def _data_line(data: Mapping[str, str]) -> str:
    return f"{data['name']} {data['digest'][:16]}".strip()


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def owner_of(folder: Path) -> Process | None:
    """The process that works on the study, or did last."""
    path = folder / OWNER
    return Process.parse(path.read_text()) if path.exists() else None


def newest_study(root: Path, scale: str | None = None) -> Path | None:
    """The study under `root`, an experiment's folder, that was begun last, at this scale or at any."""
    begun = [path.parent for path in root.glob(f"{scale or '*'}-*/{JOURNAL}")]
    return max(begun, key=started_at, default=None)


def scale_of(study: Path) -> str:
    return study.name.partition("-")[0]


def started_at(study: Path) -> str:
    """UTC, e.g. "2026-11-22 22:14:53"; its name says it."""
    _, day, clock, *_ = study.name.split("-")
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:6]}"
