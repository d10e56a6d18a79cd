"""A disk that takes no more: said by name, with the room that is left on it, instead of as an error number."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space, no quota, mounted read-only: nothing that passes by itself."""


class DiskError(OSError):
    """A disk that cannot be written to until somebody does something about it."""


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """Raise the errors of a full disk, while inside, as ones that name the disk of `folder`.

    Raises:
        DiskError: instead of an error with one of the numbers in FULL.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskError(
            f"{folder} on {socket.gethostname()} cannot be written to: {os.strerror(error.errno)} ({_room(folder)}). "
            "Make room; --resume then goes on from the newest checkpoint"
        ) from error


def _room(folder: Path) -> str:
    try:
        usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    except OSError as error:
        return f"its free space is not known: {error}"
    return f"{usage.free:,} of {usage.total:,} bytes are free"
