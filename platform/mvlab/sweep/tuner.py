"""Trials -> Ray Tune, several at once; what they report goes to the journal."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mvlab.durable import atomic_write
from mvlab.durations import clock
from mvlab.ray_internals.tune import TrialProgressCallback, set_num_failures
from mvlab.record.journal import Event, Journal, Standing, Status
from mvlab.record.package import VERIFICATION
from mvlab.sweep.console import Console
from mvlab.sweep.epochs import EpochsFile, epoch_event, epoch_line
from mvlab.sweep.exports import exported
from mvlab.sweep.follow import follow
from mvlab.sweep.halving import Halving
from mvlab.sweep.pruned import pruning
from mvlab.sweep.run_trial import FAILURE, attempt
from mvlab.sweep.trial import Trial
from mvlab.sweep.tune_trials import tune_trials
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.failures import Stalls
from mvlab.training.files import RunFolder
from mvlab.training.placement import Placement
from mvlab.training.shared import marked

VERIFIED_TAG = "mvlab.package_verified"
NO_PACKAGE_TAG = "mvlab.no_package"
"""Why a run has none, though it was to be exported."""
STEP = re.compile(r"epoch \d+/\d+ step \d+/\d+ \|")
"""Begins a line that the next one of its run makes past."""


def run_sweep(
    trials: Sequence[Trial],
    journal: Journal,
    begin: Callable[[Trial], None],
    *,
    data: str,
    execution: ExecutionOptions,
    placement: Placement,
    storage: Path,
    grace_epochs: int | None = None,
) -> float:
    """Runs every trial to its end, or until it is told to stop; the journal tells how each went.

    A failed trial leaves the others running. `begin` is told when a trial starts, or goes on. With `grace_epochs`,
    runs compete: those that fall behind after that many are ended (`Halving`); None leaves all of them alone.
    Exports begin when nothing trains any more. Returns the seconds until then.
    """
    if not trials:
        return 0.0
    by_slug = {trial.slug: trial for trial in trials}
    epochs = {trial.name: trial.run.epochs for trial in trials}
    halving = None if grace_epochs is None else Halving.of(journal, epochs, grace_epochs, trials[0].run.task)
    reporter = Reporter(by_slug, journal, begin, storage, export=execution.export, halving=halving)

    logs = {trial.folder(storage).progress: trial.name for trial in trials}
    with marked(storage) as mark, closing(reporter.console), follow(logs, reporter.hear):
        started = time.monotonic()
        do = partial(attempt, data=data, execution=execution, placement=placement, storage=storage, mark=mark)
        tune_trials(by_slug, do, reporter, at_once=placement.concurrent_trials, storage=storage).fit()
        trained_s = time.monotonic() - started
        for trial, failure in exported(reporter.trained, data=data, storage=storage, is_stopped=reporter.is_stopped):
            reporter.take_export(trial, failure)
    return trained_s


class Reporter(TrialProgressCallback):
    """Writes what trials come to into the journal, with a line for people; in place of Tune's own, which prints."""

    def __init__(
        self,
        by_slug: Mapping[str, Trial],
        journal: Journal,
        begin: Callable[[Trial], None],
        storage: Path,
        *,
        export: bool,
        halving: Halving | None = None,
    ) -> None:
        """`export`: whether a trained trial is still to be exported. `halving` says which to end early, if any."""
        self.by_slug, self.journal, self.begin, self.storage = by_slug, journal, begin, storage
        self.export, self.halving = export, halving
        self.trained: list[Trial] = []
        """Those that are still to be exported."""
        self.console = Console(sys.stderr)
        self.started = time.monotonic()
        self.num_done = self.num_exported = 0
        self._epochs = {slug: EpochsFile(trial.folder(storage).epochs) for slug, trial in by_slug.items()}
        self._failures: dict[str, str] = {}
        """By trial: why it failed."""
        self._stalls = {slug: Stalls(trial.folder(storage).checkpoints) for slug, trial in by_slug.items()}
        for trial in by_slug.values():
            if halving and trial.name in halving.stopped:  # and the driver was killed before the run had stopped
                self._prune(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps its callbacks for a restore of its own; ours goes by the journal."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ours = self._of(trial)
        if not self._folder(ours).stop.exists():  # else it ends before it begins
            self._folder(ours).error.unlink(missing_ok=True)  # of another time
            self.begin(ours)
            self.say(f"{ours.name} | starting its workers")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Take why a trial failed: all that trials report."""
        if failure := result.get(FAILURE):
            self._failures[self._of(trial).name] = failure

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Let Tune, which is about to start a trial's lost process again, count only failures without progress."""
        set_num_failures(trial, self._stalls[trial.config["trial"]].count())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ours = self._of(trial)
        self.take_epochs(ours)
        folder, num_epochs = self._folder(ours), len(self._standing(ours).epochs)
        if failure := self._failures.pop(ours.name, None):
            self._say_done(ours, self._fail(ours, failure, "training"))
        elif num_epochs == ours.run.epochs and not (self.export and ours.run.task.has_package):
            self._end(ours, "FINISHED")
            self._say_done(ours, "trained")
        elif num_epochs == ours.run.epochs:
            self.trained.append(ours)
            self._say_done(ours, "trained, to be exported when all are")
        elif self.halving and ours.name in self.halving.stopped:
            self._end_pruned(ours, self.halving.stopped[ours.name])
        elif self._standing(ours).is_begun:
            self._record([folder.progress], ours)
            self.say(f"{ours.name} | stopped, with a checkpoint of where it was")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.take_epochs(self._of(trial))
        self._record([Path(trial.error_file)], self._of(trial))
        self._end(self._of(trial), "FAILED")
        self._say_done(self._of(trial), f"FAILED in training: see {trial.error_file}")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune comes here several times a second."""
        for trial in trials:
            if trial.status == trial.RUNNING:
                self.take_epochs(self._of(trial))

    def is_stopped(self) -> bool:
        """Whether we were told to stop: then every trial was, and not only those that fell behind."""
        stopped = self.halving.stopped if self.halving else {}
        return any(self._folder(trial).stop.exists() for trial in self.trained if trial.name not in stopped)

    def take_export(self, trial: Trial, failure: Exception | None) -> None:
        """Records a trial whose package is ready, or why there is none."""
        results = self._folder(trial).results
        if failure:
            said = self._fail(trial, str(failure), "export")
        else:
            said = self._take_verification(trial, results / VERIFICATION)
            self._end(trial, "FINISHED")
        self.num_exported += 1
        self.say(f"{trial.name} | {said} | {self.num_exported} of {len(self.trained)} exports done")

    def _fail(self, trial: Trial, failure: str, where: str) -> str:
        """Record a failed trial; returns what to say of it, which holds the reason: a full disk takes no file."""
        error = self._folder(trial).error
        *_, reason = failure.strip().splitlines() or [""]
        try:
            error.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(error, failure)
            kept = f"see {error}"
        except OSError as full:
            kept = f"{error.name} cannot be written: {full}"
        self._end(trial, "FAILED")
        return f"FAILED in {where}: {reason} ({kept})"

    def _take_verification(self, trial: Trial, file: Path) -> str:
        """Records whether the package is what the network is; says it in words."""
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["package"] is None:
            tags, said = {NO_PACKAGE_TAG: found["problems"][0]}, f"no package: see {file}"
        else:
            tags = {VERIFIED_TAG: str(found["passed"]).lower()}
            said = "exported and verified" if found["passed"] else f"exported, NOT verified: see {file}"
        self.journal.append(Event(run=trial.name, kind="metrics", tags=tags))
        return said

    def take_epochs(self, trial: Trial) -> None:
        """Record the epochs that the trial has written down since the last call.

        It writes down an epoch once the checkpoint after it is whole. If that is lost later, damaged on its disk, the
        file goes back to what is left: then the record of the run begins anew with that, and holds what exists.
        """
        epochs, is_other = self._epochs[trial.slug].look()
        if is_other:
            there = [epoch["weights_sha256"] for epoch in epochs]
            known = list(self._standing(trial).epochs.values())
            if there[: len(known)] != known:
                self._begin_anew(trial)
                known = []
            epochs = epochs[len(known) :]
        for epoch in epochs:
            self._take_epoch(trial, epoch)

    def _begin_anew(self, trial: Trial) -> None:
        """Forget what the record has of a run."""
        self.say(f"{trial.name} | epochs on record have lost their checkpoint: the record of the run begins anew")
        self.journal.append(Event(run=trial.name, kind="forget"))
        self.begin(trial)

    def _take_epoch(self, trial: Trial, epoch: dict[str, Any]) -> None:
        self.journal.append(epoch_event(trial.name, epoch))
        self.say(f"{trial.name} | {epoch_line(epoch, trial.run)}")
        if self.halving and self.halving.see(trial.name, epoch["epoch"], epoch[self.halving.metric]):
            self._prune(trial)

    def _standing(self, trial: Trial) -> Standing:
        return self.journal.runs().get(trial.name, Standing())

    def say(self, text: str) -> None:
        """A line for people."""
        self.console.say(text)

    def hear(self, name: str, line: str) -> None:
        """Tells of a line that a run has said."""
        if STEP.match(line):
            self.console.progress(name, line)
        else:
            self.say(f"{name} | {line}")

    def _prune(self, trial: Trial) -> None:
        """The run ends by itself, with a checkpoint: workers that Tune ends would keep their place."""
        self.say(f"{trial.name} | among the lower two thirds: told to stop")
        stop = self._folder(trial).stop
        stop.parent.mkdir(parents=True, exist_ok=True)
        stop.touch()

    def _end_pruned(self, trial: Trial, epoch: int) -> None:
        self._record([self._folder(trial).progress], trial)
        for event in pruning(trial.name, epoch):
            self.journal.append(event)
        self._say_done(trial, f"pruned after epoch {epoch} of {trial.run.epochs}")

    def _end(self, trial: Trial, status: Status) -> None:
        """With its results, and what it said."""
        folder = self._folder(trial)
        self._record([*sorted(folder.results.glob("*")), folder.progress], trial)
        self.journal.append(Event(run=trial.name, kind="end", status=status))

    def _record(self, files: Sequence[Path], trial: Trial) -> None:
        """Those that are there."""
        for path in files:
            if path.exists():
                self.journal.append(Event(run=trial.name, kind="artifact", path=str(path)))

    def _say_done(self, trial: Trial, said: str) -> None:
        """That it trains no more."""
        self.num_done += 1
        left = len(self.by_slug) - self.num_done
        left_s = (time.monotonic() - self.started) / self.num_done * left
        ahead = f", about {clock(left_s)} of training left" if left else ""
        self.say(f"{trial.name} | {said} | {self.num_done} of {len(self.by_slug)} runs done{ahead}")

    def _folder(self, trial: Trial) -> RunFolder:
        return trial.folder(self.storage)

    def _of(self, trial: Any) -> Trial:
        return self.by_slug[trial.config["trial"]]
