"""Run trials with Ray Tune, several at once, and write their results to the journal."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mvlab.durable import atomic_write
from mvlab.durations import clock
from mvlab.ray_internals.tune import TrialProgressCallback, set_num_failures
from mvlab.record.journal import Event, Journal, Standing, Status
from mvlab.record.package import VERIFICATION
from mvlab.sweep.console import Console
from mvlab.sweep.epochs import EpochsFile, epoch_event, epoch_line
from mvlab.sweep.exports import Exports
from mvlab.sweep.follow import follow
from mvlab.sweep.halving import Halving
from mvlab.sweep.pruned import pruning
from mvlab.sweep.run_trial import FAILURE, Attempt
from mvlab.sweep.trial import Trial
from mvlab.sweep.tune_trials import tune_trials
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.failures import Stalls
from mvlab.training.files import RunFolder
from mvlab.training.placement import Placement
from mvlab.training.shared import marked

VERIFIED_TAG = "mvlab.package_verified"
NO_PACKAGE_TAG = "mvlab.no_package"
"""Tag of a run without a package: the reason why its export made none."""
STEP = re.compile(r"epoch \d+/\d+ step \d+/\d+ \|")
"""Beginning of a progress line, which the run's next line replaces."""


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
    """Run every trial until it ends, or is told to stop. The journal records how each went.

    A failed trial leaves the others running. `begin` is called when a trial starts or resumes. With `grace_epochs`,
    runs compete: those that fall behind after that many epochs are stopped (`Halving`); None stops none.
    Trained runs are exported beside the others where a CPU is free. Returns the seconds until nothing trains any more.
    """
    if not trials:
        return 0.0
    by_slug = {trial.slug: trial for trial in trials}
    epochs = {trial.name: trial.run.epochs for trial in trials}
    halving = None if grace_epochs is None else Halving.of(journal, epochs, grace_epochs, trials[0].run.task)
    fixed = placement.min_workers == placement.workers
    exports = Exports(data, storage, beside_training=fixed) if execution.export else None
    reporter = Reporter(by_slug, journal, begin, storage, exports=exports, halving=halving)

    logs = {trial.folder(storage).progress: trial.name for trial in trials}
    with marked(storage) as mark, closing(reporter.console), follow(logs, reporter.hear):
        started = time.monotonic()
        attempt = Attempt(data=data, execution=execution, placement=placement, storage=storage, mark=mark)
        tune_trials(by_slug, attempt, reporter).fit()
        trained_s = time.monotonic() - started
        if exports:
            for trial, failure in exports.rest(is_stopped=reporter.is_stopped):
                reporter.take_export(trial, failure)
    return trained_s


class Reporter(TrialProgressCallback):
    """Writes results of trials to the journal, and lines for people. Replaces Tune's own callback, which prints."""

    def __init__(
        self,
        by_slug: Mapping[str, Trial],
        journal: Journal,
        begin: Callable[[Trial], None],
        storage: Path,
        *,
        exports: Exports | None,
        halving: Halving | None = None,
    ) -> None:
        """`exports` is None to export none. `halving` decides which trials to stop early, if any."""
        self.by_slug, self.journal, self.begin, self.storage = by_slug, journal, begin, storage
        self.exports, self.halving = exports, halving
        self.trained: list[Trial] = []
        """Trials that are exported, or will be."""
        self.console = Console(sys.stderr)
        self.started = time.monotonic()
        self.num_done = self.num_exported = 0
        self._epochs = {slug: EpochsFile(trial.folder(storage).epochs) for slug, trial in by_slug.items()}
        self._failures: dict[str, str] = {}
        """Failure that a trial reported, by name of the trial."""
        self._stalls = {slug: Stalls(trial.folder(storage).checkpoints) for slug, trial in by_slug.items()}
        for trial in by_slug.values():
            if halving and trial.name in halving.stopped:  # the driver was killed before the run had stopped
                self._prune(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to save. Tune saves callbacks for its own restore; here the journal is used."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ours = self._of(trial)
        if not self._folder(ours).stop.exists():  # otherwise it ends at once
            self._folder(ours).error.unlink(missing_ok=True)  # of an earlier attempt
            self.begin(ours)
            self.say(f"{ours.name} | begins")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Take a trial's failure, which is all that trials report."""
        if failure := result.get(FAILURE):
            self._failures[self._of(trial).name] = failure

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Make Tune count only failures without progress, before it restarts a lost trial."""
        set_num_failures(trial, self._stalls[trial.config["trial"]].count())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ours = self._of(trial)
        self.take_epochs(ours)
        folder, num_epochs = self._folder(ours), len(self._standing(ours).epochs)
        if failure := self._failures.pop(ours.name, None):
            self._say_done(ours, self._fail(ours, failure, "training"))
        elif num_epochs == ours.run.epochs and self.exports and ours.run.task.has_package:
            self.trained.append(ours)
            self.exports.add(ours)
            self._say_done(ours, "trained, to be exported as soon as a CPU is free")
        elif num_epochs == ours.run.epochs:
            self._end(ours, "FINISHED")
            self._say_done(ours, "trained")
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
        """Take new epochs and exports. Tune calls this several times a second."""
        for trial in trials:
            if trial.status == trial.RUNNING:
                self.take_epochs(self._of(trial))
        for exported, failure in self.exports.look() if self.exports else ():
            self.take_export(exported, failure)

    def is_stopped(self) -> bool:
        """Return True if the whole sweep was told to stop, and not only trials that fell behind."""
        stopped = self.halving.stopped if self.halving else {}
        return any(self._folder(trial).stop.exists() for trial in self.trained if trial.name not in stopped)

    def take_export(self, trial: Trial, failure: Exception | None) -> None:
        """Record the end of a trial's export: its package, or the failure."""
        results = self._folder(trial).results
        try:
            if failure:
                raise failure
            said = self._take_verification(trial, results / VERIFICATION)
            self._end(trial, "FINISHED")
        except Exception as error:  # noqa: BLE001 - of this trial alone: others may be training
            said = self._fail(trial, str(error), "export")
        self.num_exported += 1
        self.say(f"{trial.name} | {said} | {self.num_exported} of {len(self.trained)} exports done")

    def _fail(self, trial: Trial, failure: str, where: str) -> str:
        """Record a failed trial. Returns a message with the reason, since a full disk takes no error file."""
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
        """Record the result of the package's verification, and return it in words."""
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["package"] is None:
            tags, said = {NO_PACKAGE_TAG: found["problems"][0]}, f"no package: see {file}"
        else:
            tags = {VERIFIED_TAG: str(found["passed"]).lower()}
            said = "exported and verified" if found["passed"] else f"exported, NOT verified: see {file}"
        self.journal.append(Event(run=trial.name, kind="metrics", tags=tags))
        return said

    def take_epochs(self, trial: Trial) -> None:
        """Record the epochs that the trial has written since the last call.

        An epoch is written once the checkpoint after it is complete. If the checkpoint is damaged later, the file goes
        back to the epochs that are left. Then the record of the run begins again, with these epochs alone.
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
        """Discard the record of a run, and begin it again."""
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
        """Print a line for people."""
        self.console.say(text)

    def hear(self, name: str, line: str) -> None:
        """Print a line that a run has written."""
        if STEP.match(line):
            self.console.progress(name, line)
        else:
            self.say(f"{name} | {line}")

    def _prune(self, trial: Trial) -> None:
        """Tell a run to stop. It ends by itself, with a checkpoint: workers ended by Tune keep their reservation."""
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
        """End a run in the record, with its results and its progress log."""
        folder = self._folder(trial)
        self._record([*sorted(folder.results.glob("*")), folder.progress], trial)
        self.journal.append(Event(run=trial.name, kind="end", status=status))

    def _record(self, files: Sequence[Path], trial: Trial) -> None:
        """Record those of the files that exist."""
        for path in files:
            if path.exists():
                self.journal.append(Event(run=trial.name, kind="artifact", path=str(path)))

    def _say_done(self, trial: Trial, said: str) -> None:
        """Print that a trial trains no more, and the time left."""
        self.num_done += 1
        left = len(self.by_slug) - self.num_done
        left_s = (time.monotonic() - self.started) / self.num_done * left
        ahead = f", about {clock(left_s)} of training left" if left else ""
        self.say(f"{trial.name} | {said} | {self.num_done} of {len(self.by_slug)} runs done{ahead}")

    def _folder(self, trial: Trial) -> RunFolder:
        return trial.folder(self.storage)

    def _of(self, trial: Any) -> Trial:
        return self.by_slug[trial.config["trial"]]
