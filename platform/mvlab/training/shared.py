"""Check that all machines of a run see the same folder: the driver makes a file in it, and every rank looks for it."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.errors import UserError


class NotSharedError(UserError, RuntimeError):
    """Error: on this machine, the storage folder is not the driver's."""

    is_final = True


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """Mark `folder` inside the block, by a file that says whose folder it is. Its name is new each time.

    So no machine can have that name, or its absence, in a cache.
    """
    mark = folder / f"written-by-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def require_shared(mark: Path) -> None:
    """Require the driver's mark on this machine.

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
