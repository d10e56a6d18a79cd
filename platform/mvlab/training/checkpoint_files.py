"""Files of one checkpoint, and whether they are what was written. Needs no torch.

epoch-00003-step-00000412/state.pt
                          digest.json     sha256, number of bytes, and metrics
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvlab.data.store.storage import store_errors
from mvlab.errors import UserError

FILE = "state.pt"
DIGEST = "digest.json"
MISSING = (FileNotFoundError, NotADirectoryError)


class CheckpointError(UserError, ValueError):
    """Checkpoint that cannot be used here; the message says why."""

    is_final = True


class DamagedCheckpointError(CheckpointError):
    """Checkpoint of which a file is missing, truncated or changed. An earlier one may be complete."""

    is_final = False
    """The rank that refused it looks for another, or another rank has just read it."""


def verified(path: Path) -> bytes:
    """Return the content of FILE in the checkpoint's folder `path`.

    Raises:
        DamagedCheckpointError: its bytes are not the ones that were written.
        StoreError: it could not be read just now, which says nothing of it.
    """
    with store_errors(str(path)):
        digest, content = described(path), _content(path / FILE)
    if content is None or "sha256" not in digest:
        raise DamagedCheckpointError(f"{path} is no whole checkpoint: {FILE} or {DIGEST} is missing or unreadable")
    if len(content) != digest.get("bytes"):
        raise DamagedCheckpointError(
            f"{path / FILE} is truncated: it has {len(content)} bytes of {digest.get('bytes')}"
        )
    if hashlib.sha256(content).hexdigest() != digest["sha256"]:
        raise DamagedCheckpointError(f"{path / FILE} is not what was written: its sha256 has changed")
    return content


def described(path: Path) -> Mapping[str, Any]:
    """Return the content of the digest file; empty if it is missing or no JSON object.

    Raises:
        OSError: it could not be read just now.
    """
    try:
        digest = json.loads((path / DIGEST).read_bytes())
    except (*MISSING, ValueError):
        return {}
    return digest if isinstance(digest, dict) else {}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except MISSING:
        return None
