"""Lock file held by one process at a time. The system frees it when that process ends, in whatever way."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.02
HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""Errors of file systems without locks, e.g. Lustre mounted without them."""


@contextmanager
def held(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock file inside the block, then remove it. On a file system without locks, hold nothing.

    Raises:
        TimeoutError: another process still holds it after `timeout_s`.
        OSError: the file cannot be made.
    """
    file = _taken(path, time.monotonic() + timeout_s)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: a waiting process finds it gone, and makes another
        os.close(file)


def _taken(path: Path, deadline: float) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if _locked(file) and _is_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another process holds it", str(path))
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in HAS_NO_LOCKS:
            raise
    return True


def _is_at(path: Path, file: int) -> bool:
    """Tell whether the open `file` is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
