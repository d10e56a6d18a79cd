"""Turns finished trials into packages on the cluster, beside the trials that still train."""

import json
import os
from pathlib import Path
from typing import Any

import ray

from mvlab.data.manifest import read_manifest
from mvlab.models.build import build_network, network_name
from mvlab.record.model import NAME as MODEL
from mvlab.record.model import save_model
from mvlab.sweep.trial import Trial
from mvlab.training import state

PACKAGE = "model.mlpackage"
VERIFICATION = "verification.json"


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
        """EMA weights -> package, loaded back and described, and MLflow model."""
        os.environ.setdefault("TQDM_DISABLE", "1")  # the converter's progress bars
        from mvlab.export.coreml import check_structure, export_classifier  # seconds to import

        classes = read_manifest(data, "train").classes
        checkpoint = state.read_state(results / state.FILE)
        model = build_network(trial.run.model, len(classes))
        model.load_state_dict(checkpoint.ema)
        resolution = trial.run.evaluation.crop
        metadata = {
            "config_digest": checkpoint.config_digest,
            "dataset_digest": checkpoint.dataset_digest,
            "weights_sha256": state.weights_sha256(checkpoint.ema),
        }
        export_classifier(
            model,
            results / PACKAGE,
            name=network_name(trial.run.model),
            resolution=resolution,
            classes=classes,
            metadata=metadata,
        )
        structure = check_structure(results / PACKAGE, resolution=resolution, num_classes=len(classes))
        (results / VERIFICATION).write_text(json.dumps({"checked": "structure", **structure}, indent=1))
        save_model(model, results / MODEL, resolution=resolution, classes=classes, metadata=metadata)
