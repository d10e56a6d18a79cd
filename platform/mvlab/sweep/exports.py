"""Turns trained trials into packages on the cluster."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray

from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.patience import patiently
from mvlab.data.store.shards import open_split
from mvlab.ray_internals.cluster import available_resources_per_node
from mvlab.record.model import NAME as MODEL
from mvlab.record.model import save_model
from mvlab.sweep.trial import Trial
from mvlab.training.checkpoint_files import FILE as CHECKPOINT

PACKAGE = "model.mlpackage"
IMAGES = "images of the validation split, spread over it"
"""Name of the images that a detector's package is verified on."""
SECONDS_BETWEEN_LOOKS = 0.5
"""Seconds between checks for a request to stop."""
SECONDS_FREE = 10.0
"""Time for which a CPU must have been free. A group of workers that is started again frees its own for a moment."""


class Exports:
    """Exports of trained trials on the cluster, each on a CPU of its own.

    While others train, one begins only where a CPU is free that no run has reserved. Those that begin are never ahead
    of a run in Ray's queue.
    """

    def __init__(self, data: str, storage: Path, *, beside_training: bool = True) -> None:
        """`beside_training`: False to begin none while others train, as where runs may want each CPU back."""
        self.data, self.storage, self.beside_training = data, storage, beside_training
        self._waiting: deque[Trial] = deque()
        self._under_way: dict[Any, Trial] = {}
        self._busy_at = time.monotonic()
        """Last time at which no CPU was free."""

    def add(self, trial: Trial) -> None:
        """Take a trained trial."""
        self._waiting.append(trial)

    def look(self) -> Iterator[tuple[Trial, Exception | None]]:
        """Yield the trials whose export has ended since the last call, each with its error or None. Begin another."""
        if self.beside_training and self._waiting and self._is_a_cpu_free():
            self._start()
        yield from self._done()

    def rest(self, *, is_stopped: Callable[[], bool]) -> Iterator[tuple[Trial, Exception | None]]:
        """Yield all others, as they end; nothing trains any more. Ends early if `is_stopped`.

        An export that was not yielded may run again.
        """
        while (self._waiting or self._under_way) and not is_stopped():
            while self._waiting:
                self._start()
            yield from self._done(wait_s=SECONDS_BETWEEN_LOOKS)

    def _start(self) -> None:
        trial = self._waiting.popleft()
        export = ray.remote(num_cpus=1, max_retries=1)(_export)
        self._under_way[export.remote(self.data, trial.folder(self.storage).results)] = trial
        self._busy_at = time.monotonic()

    def _done(self, *, wait_s: float = 0.0) -> Iterator[tuple[Trial, Exception | None]]:
        ended, _ = ray.wait(list(self._under_way), timeout=wait_s) if self._under_way else ([], [])
        for ref in ended:
            yield self._under_way.pop(ref), _failure(ref)

    def _is_a_cpu_free(self) -> bool:
        """Return True if a machine has had one free for a while. Parts of CPUs on several machines are none."""
        if not any(free.get("CPU", 0.0) >= 1 for free in available_resources_per_node().values()):
            self._busy_at = time.monotonic()
        return time.monotonic() - self._busy_at >= SECONDS_FREE


def _failure(ref: Any) -> Exception | None:
    try:
        ray.get(ref)
    except ray.exceptions.RayError as error:
        return error
    return None


def _export(data: str, results: Path) -> None:
    """Save the EMA weights as MLflow model and as package. The package is executed and compared with the network.

    A detector's runs on a few images of the validation split, in which it detects something if it was trained.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # the converter's progress bars
    from mvlab.export.checkpoint import origin  # seconds to import
    from mvlab.export.detector import single_output
    from mvlab.export.pictures import from_split
    from mvlab.export.run_package import package_run
    from mvlab.models.weights.saved import read_saved

    classes = tuple(patiently(partial(read_manifest, data, "train")).classes)
    checkpoint = results / CHECKPOINT
    saved = read_saved(checkpoint)
    save_model(
        single_output(saved.build(), saved.preprocessing.crop),
        results / MODEL,
        resolution=saved.preprocessing.crop,
        classes=classes,
        metadata=origin(checkpoint, saved),
        task=saved.network.task,
    )
    make = partial(package_run, checkpoint, saved, results / PACKAGE, classes=classes)
    if saved.network.task == "detection":
        reader = open_split(patiently(partial(read_manifest, data, "val")).ref(data))
        make = partial(make, pictures=from_split(reader), images=IMAGES)
    make()
