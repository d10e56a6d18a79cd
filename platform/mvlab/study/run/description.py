"""Description of a study in its folder. It grows each time the study is resumed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mvlab.config import config_differences
from mvlab.data.data_set import DataSet
from mvlab.durable import atomic_write
from mvlab.experiment import Experiment
from mvlab.record.journal import Journal
from mvlab.study.plan.remaining import remaining
from mvlab.study.run.folder import JOURNAL, STUDY, ResumeError
from mvlab.sweep.trial import Trial
from mvlab.training.files import whole_checkpoints


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """Content of the file STUDY. Fields that earlier versions did not write are empty."""

    experiment: str
    scale: str
    data: Mapping[str, str]
    """name, digest (of the training split) and val_digest."""
    workers: int | None = None
    """Ranks of every run; for elastic runs, the maximum."""
    task: str = "classification"
    """Kind of the runs' task."""
    trials: Mapping[str, dict[str, Any]]
    """Name of a run -> its config. A finished run keeps the config that it was trained with."""
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of a run -> differences between its beginning and the resumed study (`accept_changes`)."""


def read_description(folder: Path) -> Description:
    """Read the description of the study in `folder`."""
    return Description(**json.loads((folder / STUDY).read_text(encoding="utf-8")))


def arm_of(run: str, seed: int) -> str:
    """Return the arm of a run. Inverse of `Trial.name`."""
    return run.removesuffix(f" seed {seed}")


def begin_work(
    folder: Path, trials: Sequence[Trial], data: DataSet, *, experiment: Experiment, scale: str, workers: int
) -> Description:
    """Describe the study in `folder`, with `trials` and earlier ones. Removes stop files of trials to run."""
    before = read_description(folder) if (folder / STUDY).exists() else None
    journal = Journal(folder / JOURNAL)
    left = remaining(trials, journal)
    study = Description(
        experiment=experiment.name,
        task=experiment.task.kind,
        scale=scale,
        data={"name": data.name, "digest": data.digest, "val_digest": data.val_digest},
        workers=workers,
        trials={**(before.trials if before else {}), **{trial.name: trial.run.as_dict() for trial in left}},
        changed=_changed(before, journal.begun(), trials, data, workers) if before else {},
    )
    atomic_write(folder / STUDY, json.dumps(asdict(study), indent=1))
    for trial in left:
        trial.folder(folder).stop.unlink(missing_ok=True)
    return study


def require_same_study(folder: Path, trials: Sequence[Trial], data: DataSet, workers: int) -> None:
    """
    Raises:
        ResumeError: a trial, the data or the number of ranks differs from that of the study in `folder`. The message
            shows the difference.
    """
    before = read_description(folder)
    differences = _of_all(before, data, workers)
    differences += [f"{trial.name}: {each}" for trial in trials for each in _of_run(before, trial)]
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise ResumeError(
            f"`resume`: {folder} is of another study: {shown}. Give the options that it was begun with, begin a new "
            "one, or resume it all the same with `accept_changes`"
        )


def require_epochs_ahead(folder: Path, trials: Sequence[Trial]) -> None:
    """
    Raises:
        ResumeError: a trial would have another number of epochs than before, and has trained at least as many.
    """
    before = read_description(folder).trials
    for trial in remaining(trials, Journal(folder / JOURNAL)):
        newest = whole_checkpoints(trial.folder(folder).checkpoints)[-1:]
        trained = int(newest[0].name.split("-")[1]) if newest else 0
        then = before.get(trial.name, {}).get("epochs", trial.run.epochs)
        if then != trial.run.epochs <= trained:
            raise ResumeError(
                f"`accept_changes`: {trial.name} has trained {trained} epochs already, and would have "
                f"{trial.run.epochs} in all instead of {then}: give it more, leave it out with `only`, or begin a new "
                "study"
            )


def _changed(
    before: Description, begun: Sequence[str], trials: Sequence[Trial], data: DataSet, workers: int
) -> dict[str, Sequence[str]]:
    """Return the runs that have begun otherwise than the study is now, with their differences, old and new."""
    of_all, ours = _of_all(before, data, workers), {trial.name: trial for trial in trials}
    changed: dict[str, Sequence[str]] = dict(before.changed)
    for run in begun:
        if run in before.trials:
            now = [*of_all, *(_of_run(before, ours[run]) if run in ours else ())]
            if differences := list(dict.fromkeys([*changed.get(run, ()), *now])):
                changed[run] = differences
    return changed


def _of_all(before: Description, data: DataSet, workers: int) -> list[str]:
    """Return the differences that all runs have in common."""
    differences = []
    then, now = before.data, {"name": data.name, "digest": data.digest}
    if then["digest"] != data.digest if data.digest else then["name"] != data.name:  # the digits, not written yet
        differences.append(f"data: {_data_line(then)} then, {_data_line(now)} now")
    val_then = then.get("val_digest", "")
    if val_then and data.val_digest and val_then != data.val_digest:
        differences.append(f"validation data: {val_then[:16]} then, {data.val_digest[:16]} now")
    if before.workers is not None and before.workers != workers:
        differences.append(f"workers: {before.workers} then, {workers} now")
    return differences


def _of_run(before: Description, trial: Trial) -> list[str]:
    """Return the differences of a trial's config; none for a new trial."""
    if trial.name not in before.trials:
        return []
    return config_differences(json.dumps(before.trials[trial.name]), trial.run)


def _data_line(data: Mapping[str, str]) -> str:
    return f"{data['name']} {data['digest'][:16]}".strip()
