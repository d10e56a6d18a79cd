"""The folder of a study on the disk: its name says of which scale it is, and when it was begun."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from mvlab.errors import UserError
from mvlab.paths import expanded

STUDY = "study.json"
JOURNAL = "journal.jsonl"
NAME = re.compile(r"[a-z]+-\d{8}-\d{6}-\d+")
"""What `new_folder` makes; anything else beside it, as somebody's copy of a study, is looked into only if named."""


class ResumeError(UserError, ValueError):
    """There is nothing to go on with, or it is not what was asked for."""


def new_folder(root: Path, scale: str) -> Path:
    """A folder of this study's own, named by scale and time (UTC)."""
    folder = root / f"{scale}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def find_folder(root: Path, scale: str, named: str) -> Path:
    """The folder to go on with: the one `named`, or the newest of this scale under `root`, the experiment's folder.

    Raises:
        ResumeError: there is none, it is damaged, or it is of another experiment or scale.
    """
    if not named:
        newest = _newest(root, scale, STUDY)
        if newest is None:
            raise ResumeError(f"`resume`: no study of scale {scale} was begun in {root}; leave `resume` out")
        _read(newest)
        return newest
    folder = Path(expanded(named)).absolute()
    if not (folder / STUDY).exists():
        raise ResumeError(f"`resume` {named}: no study was begun there ({STUDY} is missing)")
    before = _read(folder)
    if (before["experiment"], before["scale"]) != (root.name, scale):
        raise ResumeError(
            f"`resume` {named}: it is of {before['experiment']} at `scale` {before['scale']}, "
            f"not of {root.name} at `scale` {scale}"
        )
    return folder


def _read(folder: Path) -> Any:
    """Description of the study in `folder`.

    Raises:
        ResumeError: its file is damaged.
    """
    try:
        return json.loads((folder / STUDY).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResumeError(f"`resume`: {folder / STUDY} is damaged ({error}); begin a new study") from error


def newest_study(root: Path, scale: str | None = None) -> Path | None:
    """The study under `root`, an experiment's folder, that was begun last, at this scale or at any."""
    return _newest(root, scale or "*", JOURNAL)


def _newest(root: Path, scale: str, file: str) -> Path | None:
    """Of those that have `file` already."""
    begun = [path.parent for path in root.glob(f"{scale}-*/{file}") if NAME.fullmatch(path.parent.name)]
    return max(begun, key=started_at, default=None)


def scale_of(study: Path) -> str:
    return study.name.partition("-")[0]


def started_at(study: Path) -> str:
    """UTC, e.g. "2026-11-22 22:14:53"; its name says it."""
    _, day, clock, _ = study.name.split("-")
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:6]}"
