"""The checkpoints of one run in a folder: written whole or not at all, beside training, and kept as asked.

    checkpoints/epoch-00003-step-00000412/state.pt
                                          digest.json     sha256 and metrics

They do not pass through Ray: a run is resumed (by a restarted worker, another driver, another machine that sees the
folder) from the newest one that is whole. One that is missing a file, truncated or changed is refused, and kept under
another name. An error that says nothing of what was written, e.g. of a file server, is raised.
"""

import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mvlab.data.store.patience import patiently
from mvlab.data.store.storage import store_errors
from mvlab.durable import PARTIAL, atomic_folder
from mvlab.metrics import ema_metric
from mvlab.tasks.base import Task
from mvlab.training.checkpoint_files import DIGEST, FILE, DamagedCheckpointError, described, verified
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.files import checkpoint_name, whole_checkpoints
from mvlab.training.state import State, parse_state, write_state

REFUSED = "refused-"
"""Prefix of a refused checkpoint's name. It is kept under this name, and no process uses or deletes it."""


class Checkpoints:
    """Reader and writer of one run's checkpoints. One process writes; any may read."""

    def __init__(self, folder: Path, keep: CheckpointPolicy, task: Task) -> None:
        """Take the metric of the best checkpoints from `task`."""
        self.folder, self.keep, self.task = folder, keep, task
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> tuple[State | None, list[str]]:
        """Return the newest complete checkpoint, and why newer ones were refused.

        Raises:
            CheckpointError: it is complete, but not of this version of mvlab.
            StoreError, MemoryError: it cannot be read just now; an older one must not take its place.
        """
        return patiently(self._newest)

    def _newest(self) -> tuple[State | None, list[str]]:
        refused: list[str] = []
        with store_errors(str(self.folder)):
            paths = whole_checkpoints(self.folder)
        for path in reversed(paths):
            try:
                return read_checkpoint(path), refused
            except DamagedCheckpointError as error:
                refused.append(str(error))
        return None, refused

    def read(self, epoch: int, step: int) -> State:
        """Return the checkpoint of this position. Raises what `read_checkpoint` does."""
        return patiently(partial(read_checkpoint, self.path_of(epoch, step)))

    def set_aside(self, newest: State | None) -> None:
        """Rename the refused checkpoints after `newest`: the run will write its own there, and deletes no others."""
        for path in whole_checkpoints(self.folder):
            if newest is None or path.name > newest.name:
                path.rename(path.with_name(f"{REFUSED}{path.name}-{uuid.uuid4().hex[:8]}"))

    def path_of(self, epoch: int, step: int) -> Path:
        """Return the path of the checkpoint of this position, which may not exist."""
        return self.folder / checkpoint_name(epoch, step)

    def is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def write(self, state: State, *, then: Callable[[], object] = lambda: None) -> None:
        """Begin to write, once the previous write has ended. An error of that one is raised here.

        Args:
            then: called beside training as soon as this checkpoint is complete and on the disk.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, state, then)

    def wait(self) -> None:
        """Wait until everything is on the disk, and raise errors of the writing."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def close(self) -> None:
        """Do the same as `wait`, and end the writer's thread."""
        self._writer.shutdown()
        self.wait()

    def _write(self, state: State, then: Callable[[], object]) -> None:
        """Write a checkpoint, in place of the same one from before a restart if it is there."""
        path = self.folder / state.name
        metrics = state.history[-1] if state.step == 0 and state.history else {}
        with atomic_folder(path) as new:
            content = write_state(state, new / FILE)
            digest = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "metrics": metrics}
            (new / DIGEST).write_text(json.dumps(digest))
        then()
        self._prune(path)

    def _prune(self, newest: Path) -> None:
        """Remove checkpoints up to `newest` that need not be kept, and partial files of a killed writer."""
        paths = [path for path in whole_checkpoints(self.folder) if path.name <= newest.name]
        kept = {*paths[-self.keep.last :], *best(paths, self.keep, self.task)}
        leftovers = self.folder.glob(f"*{PARTIAL}*")
        for path in (*leftovers, *(path for path in paths if path not in kept)):
            shutil.rmtree(path, ignore_errors=True)  # another process may be removing it


def best(paths: list[Path], keep: CheckpointPolicy, task: Task) -> list[Path]:
    """Return the `keep.best` best checkpoints by the task's primary metric; of equal ones, the later one.

    One without this metric, or whose metric is NaN, is none of them.
    """
    scored: list[tuple[float, Path]] = []
    for path in paths:
        metric = described(path).get("metrics", {}).get(ema_metric(task))
        if metric is not None and not math.isnan(metric):
            scored.append((metric if task.primary.higher_is_better else -metric, path))
    return [path for _, path in sorted(scored, reverse=True)[: keep.best]]


def read_checkpoint(path: Path) -> State:
    """Return the state in the folder `path`.

    Raises:
        DamagedCheckpointError: its bytes are not the ones that were written.
        CheckpointError: they are, but not of this version of mvlab.
        StoreError, MemoryError: it could not be read just now, which says nothing of it.
    """
    return parse_state(verified(path), path / FILE)
