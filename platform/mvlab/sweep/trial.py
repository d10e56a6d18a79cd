"""One trial: a run trained by Ray Train inside a Ray Tune actor."""

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.experiment import Experiment
from mvlab.scale import Scale, at_scale
from mvlab.training.placement import Placement
from mvlab.training.state import FILE as CHECKPOINT
from mvlab.training.trainer import build_trainer
from mvlab.training.worker import Assignment

PROGRESS = "progress.log"


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of the experiment with one seed."""

    row: str
    seed: int
    run: RunConfig

    @property
    def name(self) -> str:
        """For people and for MLflow, e.g. "8,4,2 seed 0"."""
        return f"{self.row} seed {self.seed}"

    @property
    def slug(self) -> str:
        """The name as a folder."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name)

    def folder(self, storage: Path) -> Path:
        return storage / self.slug

    def results(self, storage: Path) -> Path:
        """What is kept of it: checkpoint, package, verification."""
        return self.folder(storage) / "results"


def plan_trials(experiment: Experiment, names: list[str], scale: Scale, seeds: int) -> list[Trial]:
    """Every selected row with every seed; rows share seeds, so that their differences are paired.

    Raises:
        ValueError: a name is no row of the experiment, or `seeds` is not positive.
    """
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least one is needed")
    return [
        Trial(row, seed, replace(at_scale(run, scale), seed=seed))
        for seed in range(seeds)
        for row, run in experiment.select(names).items()
    ]


def run_trial(trial: Trial, *, data: str, placement: Placement, storage: Path) -> None:
    """Trains; the last checkpoint ends up in the trial's `results`."""
    from ray.tune.integration.ray_train import TuneReportCallback  # only exists inside a Tune trial

    # How long a report waits for the controller to look: two seconds otherwise. Train passes it on.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    results = trial.results(storage)
    results.mkdir(parents=True, exist_ok=True)
    log = trial.folder(storage) / PROGRESS
    assignment = Assignment(trial.slug, trial.run, data, placement.feed_cpus, placement.threads, log)
    trained = build_trainer(assignment, placement, storage, [TuneReportCallback()]).fit()
    if trained.checkpoint is None:
        raise RuntimeError(f"{trial.name} ended without a checkpoint: see {log} and Ray's logs")
    with trained.checkpoint.as_directory() as folder:
        shutil.copyfile(Path(folder) / CHECKPOINT, results / CHECKPOINT)
