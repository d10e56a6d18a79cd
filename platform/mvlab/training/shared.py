"""A check that all machines of a run see the same folder: the driver makes a file in it, for which every rank looks."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.errors import UserError


class NotSharedError(UserError, RuntimeError):
    """A machine on which the storage folder is another one than the driver's."""


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """Mark `folder` while inside, by a file that says whose folder it is; its name is new each time.

    No machine can have that name, or its absence, in a cache.
    """
    mark = folder / f"written-by-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def require_shared(mark: Path) -> None:
    """
    Raises:
        NotSharedError: `mark` is not there on this machine.
        OSError: it could not be looked for just now.
    """
    try:
        mark.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotSharedError(
            f"{mark.parent} on {socket.gethostname()} is not the folder that the driver sees: {mark.name} is not in "
            "it. --storage has to be one folder that all machines of the cluster share: mount it on this one too, at "
            "the same path"
        ) from error
