"""The checkpoints of one run in a folder: written whole or not at all, beside training, and kept as asked.

    checkpoints/epoch-00003-step-00000412/state.pt
                                          digest.json     sha256 and metrics

They do not pass through Ray: whoever goes on with a run (a restarted worker, another driver, another machine that sees
the folder) takes the newest one that is whole.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mvlab.durable import PARTIAL, atomic_folder
from mvlab.training.keep import Keep
from mvlab.training.state import FILE, CheckpointError, State, checkpoint_name, read_state, write_state

DIGEST = "digest.json"


class Checkpoints:
    """Reads and writes those of one run. One process writes; any may read."""

    def __init__(self, folder: Path, keep: Keep) -> None:
        self.folder, self.keep = folder, keep
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> tuple[State | None, list[str]]:
        """The newest that is whole, and why newer ones were refused."""
        refused: list[str] = []
        for path in reversed(self._all()):
            try:
                return read_checkpoint(path), refused
            except CheckpointError as error:
                refused.append(str(error))
        return None, refused

    def path_of(self, epoch: int, step: int) -> Path:
        """Where the checkpoint of this position is, if there is one."""
        return self.folder / checkpoint_name(epoch, step)

    def is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def write(self, state: State) -> None:
        """Begins to write, once the one before is written; an error of that one is raised here.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, state)

    def wait(self) -> None:
        """Until everything is on the disk; raises what went wrong."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, state: State) -> None:
        """Write a checkpoint, in place of a broken one or of the same one from before a restart."""
        path = self.folder / state.name
        metrics = state.history[-1] if state.step == 0 and state.history else {}
        with atomic_folder(path) as partial:
            write_state(state, partial / FILE)
            digest = {"sha256": _sha256(partial / FILE), "bytes": (partial / FILE).stat().st_size, "metrics": metrics}
            (partial / DIGEST).write_text(json.dumps(digest))
        self._prune(path)

    def _prune(self, newest: Path) -> None:
        """Removes what need not be kept, what a killed writer left half-written, and what lies beyond `newest`.

        A run that has just come to `newest` went back behind that, since it could not be read: it is done anew.
        """
        paths = self._all()
        before = paths[: paths.index(newest) + 1]
        kept = {*before[-self.keep.last :], *best(before, self.keep)}
        leftovers = self.folder.glob(f"*{PARTIAL}*")
        for path in (*leftovers, *(path for path in paths if path not in kept)):
            shutil.rmtree(path, ignore_errors=True)  # another process may be at it

    def _all(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("epoch-*") if PARTIAL not in path.name)


def best(paths: list[Path], keep: Keep) -> list[Path]:
    """Of these checkpoints the `keep.best` with the highest metric; the later one where two are equal."""
    scored: list[tuple[float, Path]] = []
    for path in paths:
        metric = _described(path).get("metrics", {}).get(keep.metric)
        if metric is not None:
            scored.append((metric, path))
    return [path for _, path in sorted(scored, reverse=True)[: keep.best]]


def read_checkpoint(path: Path) -> State:
    """The state in the folder `path`.

    Raises:
        CheckpointError: its bytes are not the ones that were written, or it is no checkpoint.
    """
    described = _described(path)
    if not (path / FILE).exists() or "sha256" not in described:
        raise CheckpointError(f"{path} is no whole checkpoint: {FILE} or {DIGEST} is missing or unreadable")
    if (size := (path / FILE).stat().st_size) != described.get("bytes"):
        raise CheckpointError(f"{path / FILE} is truncated: it has {size} bytes of {described.get('bytes')}")
    if _sha256(path / FILE) != described["sha256"]:
        raise CheckpointError(f"{path / FILE} is not what was written: its sha256 has changed")
    return read_state(path / FILE)


def _described(path: Path) -> Mapping[str, Any]:
    try:
        described = json.loads((path / DIGEST).read_text())
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
