"""Folder of a study on disk. Its name shows the scale, and when the study began."""

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
"""Names that `new_folder` makes. A folder of another name, e.g. a copy of a study, is used only if it is named."""


class ResumeError(UserError, ValueError):
    """There is no study to resume, or it is not the one that was asked for."""


def new_folder(root: Path, scale: str) -> Path:
    """Make a folder for a new study, named by scale, time (UTC) and process."""
    folder = root / f"{scale}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def find_folder(root: Path, scale: str, named: str) -> Path:
    """Find the study to resume: the one `named`, or the newest of this scale in the experiment's folder `root`.

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
    """Read the description of the study in `folder`.

    Raises:
        ResumeError: its file is damaged.
    """
    try:
        return json.loads((folder / STUDY).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResumeError(f"`resume`: {folder / STUDY} is damaged ({error}); begin a new study") from error


def newest_study(root: Path, scale: str | None = None) -> Path | None:
    """Return the newest study in the experiment's folder `root`, at this scale or at any."""
    return _newest(root, scale or "*", JOURNAL)


def _newest(root: Path, scale: str, file: str) -> Path | None:
    """Return the newest of the studies that have `file` already."""
    begun = [path.parent for path in root.glob(f"{scale}-*/{file}") if NAME.fullmatch(path.parent.name)]
    return max(begun, key=started_at, default=None)


def scale_of(study: Path) -> str:
    return study.name.partition("-")[0]


def started_at(study: Path) -> str:
    """Read the study's start from its name: UTC, e.g. "2026-11-22 22:14:53"."""
    _, day, clock, _ = study.name.split("-")
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:6]}"
