"""Full disks: reported by name and free space, not by an error number."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No space, no quota, read-only: errors that do not pass by themselves."""


class DiskError(UserError, OSError):
    """Disk that cannot be written to until somebody makes room."""

    is_final = True


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """Turn errors of a full disk, raised inside, into ones that name the disk of `folder`.

    Raises:
        DiskError: instead of an error with a number in FULL.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskError(
            f"{folder} on {socket.gethostname()} cannot be written to: {os.strerror(error.errno)} ({_room(folder)}). "
            "Make room, then resume: training continues from the newest checkpoint"
        ) from error


def _room(folder: Path) -> str:
    try:
        usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    except OSError as error:
        return f"its free space is unknown: {error}"
    return f"{usage.free:,} of {usage.total:,} bytes are free"
