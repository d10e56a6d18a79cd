"""Lock of a study: one process at a time works on it, and holds the file OWNER in the study's folder.

The file is made in one step that fails if it is there already. This also holds on shared storage. A file left by a dead
process is taken over. If the process may be alive, its file stays.

A process that only checks who works on a study holds the lock file ENTRY for a moment. Nobody starts to work meanwhile.
"""

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.errors import UserError
from mvlab.lock_file import held
from mvlab.record.process import Process

OWNER = "owner"
ENTRY = f"{OWNER}.partial"
PATIENCE_S = 10.0
"""Seconds that a starting process waits for others that check. They take fractions of a second."""


class InUseError(UserError, ValueError):
    """Another process works on the study, or may do so. The message says what to do."""


@contextmanager
def locked(folder: Path, gone: Container[str] = ()) -> Iterator[None]:
    """Work on the study in `folder` alone, inside the block. No process of the hosts `gone` is alive.

    Raises:
        InUseError: another process works on it.
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
    """Keep others from working on the study in `folder`, or from starting to, inside the block. Keep it short.

    Raises:
        InUseError: a process works on it.
    """
    with _entry(folder, 0):
        _stale_owner(folder, gone)
        yield


def require_free(folder: Path) -> None:
    """Check that no process works on a study.

    Raises:
        InUseError: a process works on the study in `folder`, or may do so.
    """
    _stale_owner(folder)


def owner_of(folder: Path) -> Process | None:
    """Return the process that works on the study, or that ended while it did.

    Raises:
        ValueError: it ended before it had written its identity.
    """
    try:
        return Process.parse((folder / OWNER).read_text())
    except FileNotFoundError:
        return None


def _stale_owner(folder: Path, gone: Container[str] = ()) -> bool:
    """Tell whether a dead process left the file. Raises like `require_free`."""
    try:
        owner = owner_of(folder)
    except ValueError:
        raise InUseError(
            f"{folder / OWNER} names no process: a process is starting to work on the study, or was killed "
            "as it did; if nobody works on it, remove that file"
        ) from None
    if owner is None or owner.is_dead(gone):
        return owner is not None
    if owner.is_foreign:
        raise InUseError(
            f"process {owner.pid} of {owner.where} works on {folder}, or did: its state cannot be checked from here. "
            f"Stop it there; if it is gone for good, `mvlab doctor --mend --host {owner.host}` frees the study"
        )
    raise InUseError(f"process {owner.pid} still works on {folder}; stop it first")


@contextmanager
def _entry(folder: Path, timeout_s: float) -> Iterator[None]:
    try:
        with held(folder / ENTRY, timeout_s=timeout_s):
            yield
    except TimeoutError:
        raise InUseError(f"another process is starting to work on {folder}; try again") from None


def _make(path: Path) -> str:
    """Make the file with the identity of this process; return its text."""
    mine = str(Process.current())
    try:
        with path.open("x") as file:
            try:
                file.write(mine)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # full disk: nobody works on the study
                path.unlink()
                raise
    except FileExistsError:
        raise InUseError(f"another process is starting to work on {path.parent}; try again") from None
    return mine
