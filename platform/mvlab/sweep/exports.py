"""Turns finished trials into packages on the cluster, beside the trials that still train."""

import json
import os
from pathlib import Path
from typing import Any

import ray

from mvlab.data.manifest import read_manifest
from mvlab.record.model import NAME as MODEL
from mvlab.record.model import save_model
from mvlab.record.package import VERIFICATION
from mvlab.sweep.trial import Trial
from mvlab.training import state

PACKAGE = "model.mlpackage"


class Exports:
    """Exports under way: one process of the cluster does them, one after the other."""

    def __init__(self, *, data: str, storage: Path) -> None:
        self.data, self.storage = data, storage
        self._exporter: Any = None
        self._trials: dict[Any, Trial] = {}

    def start(self, trial: Trial) -> None:
        """Begins to export the trained `trial`."""
        self._exporter = (
            self._exporter or ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=1)(_Exporter).remote()
        )
        self._trials[self._exporter.export.remote(trial, self.data, trial.folder(self.storage).results)] = trial

    def ended(self, *, wait: bool) -> list[tuple[Trial, Exception | None]]:
        """The exports that ended since the last call, with what went wrong; all of them if told to wait."""
        refs = list(self._trials)
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=None if wait else 0) if refs else ([], [])
        return [(self._trials.pop(ref), _failure(ref)) for ref in done]


def _failure(ref: Any) -> Exception | None:
    try:
        ray.get(ref)
    except ray.exceptions.RayError as error:
        return error
    return None


class _Exporter:
    """An actor that counts no CPU: an export never waits for the trials that train, nor they for it."""

    def export(self, trial: Trial, data: str, results: Path) -> None:
        """EMA weights -> package, whose program is run and held against the network, and MLflow model."""
        os.environ.setdefault("TQDM_DISABLE", "1")  # the converter's progress bars
        from mvlab.export.checkpoint import target_of  # seconds to import
        from mvlab.export.coreml import describe, export_package
        from mvlab.export.pictures import synthetic
        from mvlab.export.verify import verify
        from mvlab.models.weights.saved import read_saved

        classes = tuple(read_manifest(data, "train").classes)
        checkpoint = results / state.FILE
        saved = read_saved(checkpoint)
        target = target_of(checkpoint, saved, classes=classes)
        package, network = results / PACKAGE, saved.build()
        export_package(network, package, target)
        verification = verify(package, network, synthetic()).as_dict()
        (results / VERIFICATION).write_text(json.dumps(verification | {"package": describe(package)}, indent=1))
        save_model(
            network,
            results / MODEL,
            resolution=target.resolutions[0],
            classes=classes,
            metadata=target.metadata,
        )
