"""One trial, run by Ray Train inside a Ray Tune actor."""

import os
import shutil
from pathlib import Path

from mvlab.data.render import OnCorrupt
from mvlab.sweep.trial import Trial
from mvlab.training.placement import Placement
from mvlab.training.state import FILE as CHECKPOINT
from mvlab.training.trainer import build_trainer
from mvlab.training.worker import Assignment

PROGRESS = "progress.log"
CORRUPT_ROWS = "corrupt-rows.txt"


def run_trial(trial: Trial, *, data: str, on_corrupt: OnCorrupt, placement: Placement, storage: Path) -> None:
    """Trains; the last checkpoint ends up in the trial's `results`."""
    from ray.tune.integration.ray_train import TuneReportCallback  # only exists inside a Tune trial

    # How long a report waits for the controller to look: two seconds otherwise. Train passes it on.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    results = trial.results(storage)
    results.mkdir(parents=True, exist_ok=True)
    log = trial.folder(storage) / PROGRESS
    assignment = Assignment(
        name=trial.slug,
        run=trial.run,
        data=data,
        feed_cpus=placement.feed_cpus,
        threads=placement.threads,
        log=log,
        on_corrupt=on_corrupt,
        corrupt_log=results / CORRUPT_ROWS,
    )
    trained = build_trainer(assignment, placement, storage, [TuneReportCallback()]).fit()
    if trained.checkpoint is None:
        raise RuntimeError(f"{trial.name} ended without a checkpoint: see {log} and Ray's logs")
    with trained.checkpoint.as_directory() as folder:
        shutil.copyfile(Path(folder) / CHECKPOINT, results / CHECKPOINT)
