"""Turns trained trials into packages on the cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
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


def exported(
    trials: Sequence[Trial], *, data: str, storage: Path, is_stopped: Callable[[], bool]
) -> Iterator[tuple[Trial, Exception | None]]:
    """Export trained trials, as many at once as CPUs are free. Yields each at its end, with its error or None.

    Call it when nothing trains any more: an export beside training would disturb measured times. Ends early if
    `is_stopped`; an export that did not end may run again.
    """
    export = ray.remote(num_cpus=1, max_retries=1)(_export)
    under_way = {export.remote(data, trial.folder(storage).results): trial for trial in trials}
    while under_way and not is_stopped():
        done, _ = ray.wait(list(under_way), timeout=SECONDS_BETWEEN_LOOKS)
        for ref in done:
            yield under_way.pop(ref), _failure(ref)


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
