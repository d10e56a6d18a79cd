"""Turns trained trials into packages on the cluster."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray

from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.patience import patiently
from mvlab.record.model import NAME as MODEL
from mvlab.record.model import save_model
from mvlab.sweep.trial import Trial
from mvlab.training import state

PACKAGE = "model.mlpackage"
SECONDS_BETWEEN_LOOKS = 0.5
"""Seconds between checks for a request to stop."""


class Exports:
    """Exports of trained trials on the cluster. Each begins when a CPU is free that no run has reserved.

    So they run beside training where there is room, and after it where there is none. They take nothing from a run.
    """

    def __init__(self, data: str, storage: Path) -> None:
        self.data, self.storage = data, storage
        self._under_way: dict[Any, Trial] = {}

    def start(self, trial: Trial) -> None:
        """Export the trial as soon as there is room."""
        export = ray.remote(num_cpus=1, max_retries=1)(_export)
        self._under_way[export.remote(self.data, trial.folder(self.storage).results)] = trial

    def done(self, *, wait_s: float = 0.0) -> Iterator[tuple[Trial, Exception | None]]:
        """Yield the trials whose export has ended since the last call, each with its error or None.

        Args:
            wait_s: longest time to wait for one.
        """
        ended, _ = ray.wait(list(self._under_way), timeout=wait_s) if self._under_way else ([], [])
        for ref in ended:
            yield self._under_way.pop(ref), _failure(ref)

    def rest(self, *, is_stopped: Callable[[], bool]) -> Iterator[tuple[Trial, Exception | None]]:
        """Yield all others, as they end. Ends early if `is_stopped`; an export that did not end may run again."""
        while self._under_way and not is_stopped():
            yield from self.done(wait_s=SECONDS_BETWEEN_LOOKS)


def _failure(ref: Any) -> Exception | None:
    try:
        ray.get(ref)
    except ray.exceptions.RayError as error:
        return error
    return None


def _export(data: str, results: Path) -> None:
    """Save the EMA weights as MLflow model and as package. The package is executed and compared with the network."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # the converter's progress bars
    from mvlab.export.checkpoint import origin  # seconds to import
    from mvlab.export.run_package import package_run
    from mvlab.models.weights.saved import read_saved

    classes = tuple(patiently(partial(read_manifest, data, "train")).classes)
    checkpoint = results / state.FILE
    saved = read_saved(checkpoint)
    save_model(
        saved.build(),
        results / MODEL,
        resolution=saved.preprocessing.crop,
        classes=classes,
        metadata=origin(checkpoint, saved),
    )
    package_run(checkpoint, saved, results / PACKAGE, classes=classes)
