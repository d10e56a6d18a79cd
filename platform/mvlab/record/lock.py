"""One process at a time works on a study: it holds the file OWNER in the study's folder, on whatever machine it is.

The file is made in one step that fails where it is there already, which holds on shared storage too. One that a dead
process of this machine left is taken over; of another machine's processes nothing is known, so theirs stays.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.record.process import Process
from mvlab.study.folder import OWNER, ResumeError

HEIR = f"{OWNER}.partial"
"""Made beside it, in the same way, by who removes what a dead process left: of two at once, the second would remove
what the first has put in its place."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While inside, this process alone works on the study in `folder`.

    Raises:
        ResumeError: another one does.
    """
    if _stale_owner(folder):
        _remove_stale(folder)
    if not _made(folder / OWNER):
        raise ResumeError(f"--resume: somebody else begins to work on {folder} at this moment; try again")
    try:
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)


def require_free(folder: Path) -> None:
    """
    Raises:
        ResumeError: a process works on the study in `folder`, or may do so.
    """
    _stale_owner(folder)


def _stale_owner(folder: Path) -> bool:
    """Whether a dead process left the file; raises as `require_free` does."""
    try:
        text = (folder / OWNER).read_text()
    except FileNotFoundError:
        return False
    try:
        owner = Process.parse(text)
    except ValueError:
        raise ResumeError(
            f"--resume: {folder / OWNER} names no process: somebody begins to work on the study at this moment, or "
            "was killed doing so; if nobody works on it, remove that file"
        ) from None
    if owner.is_foreign:
        raise ResumeError(
            f"--resume: process {owner.pid} of {owner.host} works on {folder}, and nothing is known of that machine "
            f"here. Stop it there; if it is gone for good, `mvlab doctor --mend --host {owner.host}` frees it"
        )
    if not owner.is_dead():
        raise ResumeError(f"--resume: process {owner.pid} still works on {folder}; stop it first")
    return True


def _remove_stale(folder: Path) -> None:
    if not _made(folder / HEIR):
        raise ResumeError(
            f"--resume: somebody else begins to work on {folder} at this moment, or was killed doing so; if nobody "
            f"works on it, remove {folder / HEIR}"
        )
    try:
        if _stale_owner(folder):
            (folder / OWNER).unlink()
    finally:
        (folder / HEIR).unlink()


def _made(path: Path) -> bool:
    """Whether the file is ours now; false if somebody else has it."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, str(Process.current()).encode())
        os.fsync(file)
    finally:
        os.close(file)
    return True
