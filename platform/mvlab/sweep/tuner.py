"""Trials -> Ray Tune, several at once; what they report goes to the journal."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from mvlab.data.render import OnCorrupt
from mvlab.record.journal import Event, Journal, Status
from mvlab.sweep.exports import Exports
from mvlab.sweep.follow import follow
from mvlab.sweep.run_trial import PROGRESS, run_trial
from mvlab.sweep.trial import Trial
from mvlab.training.meter import clock
from mvlab.training.placement import TRIAL_CPUS, Placement

WEIGHTS_TAG = "mvlab.weights_sha256"
RATES = ("update", "lr", "images_per_s", "data_wait_share", "epoch_s")


def run_sweep(
    trials: Sequence[Trial],
    journal: Journal,
    begin: Callable[[Trial], None],
    *,
    data: str,
    on_corrupt: OnCorrupt,
    placement: Placement,
    storage: Path,
) -> None:
    """Runs every trial to its end; the journal tells how each went. A failed trial leaves the others running.

    `begin` is told when a trial starts.
    """
    by_slug = {trial.slug: trial for trial in trials}
    reporter = Reporter(by_slug, journal, begin, Exports(data=data, storage=storage))

    def trainable(config: dict[str, str]) -> None:
        run_trial(by_slug[config["trial"]], data=data, on_corrupt=on_corrupt, placement=placement, storage=storage)

    tuner = tune.Tuner(
        # Tune counts only the actor that waits: the workers are placed by Train, and counted by `placement`.
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": TRIAL_CPUS}])),
        param_space={"trial": tune.grid_search(list(by_slug))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=placement.concurrent_trials,
            reuse_actors=True,  # the next trial need not import torch again
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(storage), verbose=0, callbacks=[reporter]),
    )
    with follow({trial.folder(storage) / PROGRESS: trial.name for trial in trials}, reporter.say):
        tuner.fit()
        reporter.take_exports(wait=True)


class Reporter(tune.Callback):
    """Writes what Tune hears from the trials into the journal, with a line for people, and has them exported."""

    def __init__(
        self, by_slug: Mapping[str, Trial], journal: Journal, begin: Callable[[Trial], None], exports: Exports
    ) -> None:
        self.by_slug, self.journal, self.begin, self.exports = by_slug, journal, begin, exports
        self.started = time.monotonic()
        self.num_ended = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.begin(self._of(trial))
        self.say(f"{self._of(trial).name} | starting its workers")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        ours = self._of(trial)
        metrics = {key: float(value) for key, value in result.items() if key in RATES or "/" in key}
        tags = {WEIGHTS_TAG: result["weights_sha256"]}
        self.journal.append(Event(run=ours.name, kind="metrics", step=result["epoch"], metrics=metrics, tags=tags))
        skipped = int(result["data/corrupt_rows"])
        self.say(
            f"{ours.name} | epoch {result['epoch']}/{ours.run.epochs} done | train loss {result['train/loss']:.3f} "
            f"| top-1 {result['val/top1']:.1f}, EMA {result['val_ema/top1']:.1f} "
            f"| {result['images_per_s']:.0f} img/s (wait {result['data_wait_share']:.0%})"
            + (f" | {skipped} corrupt rows skipped" if skipped else "")
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.say(f"{self._of(trial).name} | trained, exporting")
        self.exports.start(self._of(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(self._of(trial), "FAILED", f"FAILED in training: see {trial.error_file}", [Path(trial.error_file)])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.take_exports(wait=False)

    def take_exports(self, *, wait: bool) -> None:
        """Records the trials whose packages are ready."""
        for trial, failure in self.exports.ended(wait=wait):
            results = trial.results(self.exports.storage)
            if failure:
                (results / "error.txt").write_text(str(failure))
            status: Status = "FAILED" if failure else "FINISHED"
            said = f"FAILED in export: see {results / 'error.txt'}" if failure else "exported"
            self._end(trial, status, said, sorted(results.iterdir()))

    def say(self, text: str) -> None:
        """A line for people, after the time since the start."""
        elapsed = int(time.monotonic() - self.started)
        print(f"[{elapsed // 60}:{elapsed % 60:02d}] {text}", file=sys.stderr, flush=True)

    def _end(self, trial: Trial, status: Status, said: str, artifacts: list[Path]) -> None:
        for path in artifacts:
            self.journal.append(Event(run=trial.name, kind="artifact", path=str(path)))
        self.journal.append(Event(run=trial.name, kind="end", status=status))
        self.num_ended += 1
        left = len(self.by_slug) - self.num_ended
        left_s = (time.monotonic() - self.started) / self.num_ended * left
        ahead = f", about {clock(left_s)} left" if left else ""
        self.say(f"{trial.name} | {said} | {self.num_ended} of {len(self.by_slug)} runs done{ahead}")

    def _of(self, trial: Any) -> Trial:
        return self.by_slug[trial.config["trial"]]
