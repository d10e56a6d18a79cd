"""One process at a time works on a study: it holds the file OWNER in the study's folder, on whatever machine it is.

The file is made in one step that fails where it is there already, which holds on shared storage too. One that a dead
process left is taken over. Where a process may be alive, its file stays.

To look who works on a study and to act on it, be it for a moment only, a process holds the lock file ENTRY: nobody
begins to work in between.
"""

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.lock_file import held
from mvlab.record.process import Process

OWNER = "owner"
ENTRY = f"{OWNER}.partial"
PATIENCE_S = 10.0
"""How long who begins to work waits for others that look: they take fractions of a second."""


class InUseError(ValueError):
    """Another process works on the study, or may do so; the message says what to do."""


@contextmanager
def locked(folder: Path, gone: Container[str] = ()) -> Iterator[None]:
    """While inside, this process alone works on the study in `folder`. No process of the hosts `gone` lives.

    Raises:
        InUseError: another one does.
    """
    with _entry(folder, PATIENCE_S):
        if _stale_owner(folder, gone):
            (folder / OWNER).unlink()
        mine = _make(folder / OWNER)
    try:
        yield
    finally:
        if (folder / OWNER).exists() and (folder / OWNER).read_text() == mine:
            (folder / OWNER).unlink()


@contextmanager
def undisturbed(folder: Path, gone: Container[str] = ()) -> Iterator[None]:
    """While inside, which has to be short, no process works on the study in `folder`, nor does one begin to.

    Raises:
        InUseError: one does.
    """
    with _entry(folder, 0):
        _stale_owner(folder, gone)
        yield


def require_free(folder: Path) -> None:
    """
    Raises:
        InUseError: a process works on the study in `folder`, or may do so.
    """
    _stale_owner(folder)


def owner_of(folder: Path) -> Process | None:
    """The process that works on the study, or was ended while it did.

    Raises:
        ValueError: it was ended before it had written who it is.
    """
    try:
        return Process.parse((folder / OWNER).read_text())
    except FileNotFoundError:
        return None


def _stale_owner(folder: Path, gone: Container[str] = ()) -> bool:
    """True where a dead process left the file; raises as `require_free` does."""
    try:
        owner = owner_of(folder)
    except ValueError:
        raise InUseError(
            f"{folder / OWNER} names no process: somebody begins to work on the study at this moment, or was killed "
            "doing so; if nobody works on it, remove that file"
        ) from None
    if owner is None or owner.is_dead(gone):
        return owner is not None
    if owner.is_foreign:
        raise InUseError(
            f"process {owner.pid} of {owner.where} works on {folder}, or did: nothing is known of that here. Stop it "
            f"there; if it is gone for good, `mvlab doctor --mend --host {owner.host}` frees the study"
        )
    raise InUseError(f"process {owner.pid} still works on {folder}; stop it first")


@contextmanager
def _entry(folder: Path, timeout_s: float) -> Iterator[None]:
    try:
        with held(folder / ENTRY, timeout_s=timeout_s):
            yield
    except TimeoutError:
        raise InUseError(f"somebody else begins to work on {folder} at this moment; try again") from None


def _make(path: Path) -> str:
    """Makes the file, which then names this process; returns its text."""
    mine = str(Process.current())
    try:
        with path.open("x") as file:
            try:
                file.write(mine)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # a full disk: nobody works on the study
                path.unlink()
                raise
    except FileExistsError:
        raise InUseError(f"somebody else begins to work on {path.parent} at this moment; try again") from None
    return mine
