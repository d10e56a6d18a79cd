"""Trials that begin with the weights of a file, in a new study or a resumed one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mvlab.record.journal import Journal
from mvlab.study.plan.remaining import remaining
from mvlab.study.run.folder import JOURNAL, STUDY, ResumeError
from mvlab.sweep.trial import Trial
from mvlab.training.files import whole_checkpoints


def fine_tuned(trials: Sequence[Trial], initial: Path, classes: Sequence[str]) -> list[Trial]:
    """Return the trials with the file `initial` as their initial weights. Each of their networks loads it, as a check.

    Raises:
        InitialWeightsError: the file does not fit a network.
    """
    from mvlab.models.build import build_network  # torch: seconds to import, and not needed otherwise
    from mvlab.models.initial import file_sha256, load_initial

    sha256 = file_sha256(initial)
    for network, outputs in {(trial.run.model, trial.run.task.num_outputs(classes)) for trial in trials}:
        load_initial(build_network(network, outputs), initial, sha256=sha256)
    return _begun_with(trials, sha256)


def as_begun(trials: Sequence[Trial], folder: Path) -> list[Trial]:
    """Return the trials with the initial weights recorded in `folder`. Resuming needs checkpoints, not the file.

    Raises:
        ResumeError: a trial has no checkpoint yet, so the file is needed.
    """
    before = json.loads((folder / STUDY).read_text(encoding="utf-8"))["trials"].values()
    digests = {run["initial_weights"] for run in before if run.get("initial_weights")}
    if len(digests) != 1:  # several: reported later, as a difference between studies
        return list(trials)
    (sha256,) = digests
    trials = _begun_with(trials, sha256)
    for trial in remaining(trials, Journal(folder / JOURNAL)):
        if not whole_checkpoints(trial.folder(folder).checkpoints):
            raise ResumeError(
                f"`resume`: {trial.name} has no checkpoint yet, and begins with the weights of a file (sha256 "
                f"{sha256[:16]}): name it again with `initial`"
            )
    return list(trials)


def _begun_with(trials: Sequence[Trial], sha256: str) -> list[Trial]:
    return [replace(trial, run=replace(trial.run, initial_weights=sha256)) for trial in trials]
