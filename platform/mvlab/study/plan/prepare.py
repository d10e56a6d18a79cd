"""Check the options of a study and resolve them, before anything is started or written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from mvlab.data.data_set import EMBEDDED, DataSet, describe_embedded, open_data
from mvlab.errors import InvalidValueError
from mvlab.experiment import Experiment
from mvlab.masking import masked
from mvlab.paths import expanded
from mvlab.record.lock import require_free
from mvlab.record.tracking import mlflow_experiment
from mvlab.scale import Scale
from mvlab.study.plan.fine_tuned import as_begun, fine_tuned
from mvlab.study.run.description import require_epochs_ahead, require_same_study
from mvlab.study.run.folder import find_folder
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.tasks.base import Task
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.placement import require_gpu_share

NAMES_OF_SETS = {"imagenet": "ImageNet", "coco": "COCO"}
MOST_RUNS = 10_000
"""Limit of a study that is carried out: its driver holds all runs in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options on where a study runs and how much of it runs. They never change what the study is."""

    scale: Scale
    data: str | None
    """URI of shards; None for the embedded set of the task."""
    seeds: int
    workers: int
    """Ranks of every run."""
    min_workers: int
    """Fewest ranks of a run, for a cluster that has no room for more."""
    storage: str
    """A local folder, or one that all machines of the cluster share."""
    tracking_uri: str
    only: tuple[str, ...]
    """Rows to run; empty for all."""
    execution: ExecutionOptions
    gpus_per_worker: float = 1.0
    """GPUs of each rank, where the cluster has any."""
    mix_machines: bool = False
    """Permission to place a run on unlike machines."""
    grace_epochs: int | None = None
    """Epochs that every run gets before the worse ones are stopped; None stops none."""
    estimate: bool = False
    """Option to measure some steps first, and to predict how long the study takes."""
    resume: str | None = None
    """Folder of the study to resume; empty for the newest, None for a new study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Study that can be run: everything is resolved and checked."""

    experiment: Experiment
    options: Options
    storage: Path
    """Absolute path."""
    data: DataSet
    trials: Sequence[Trial]
    resumed: Path | None = None
    """Folder of the study that is resumed."""

    @property
    def mlflow_experiment(self) -> str:
        return mlflow_experiment(self.experiment.name, self.experiment.task.kind)

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(trial.arm for trial in self.trials))


def prepare(experiment: Experiment, options: Options, recorded: Sequence[Trial] = ()) -> Study:
    """Resolve and check everything that can be checked without starting or writing anything.

    Args:
        recorded: trials of an earlier study, to run again as they were. Without them, trials come from `experiment`.

    Raises:
        UserError: an option cannot be used; the message says what to do.
    """
    trials: Sequence[Trial] = recorded or plan_trials(experiment, list(options.only), options.scale, options.seeds)
    _check(options, trials)
    storage = _writable_folder(options.storage)
    if options.data is not None:
        data = open_data(options.data)
    elif options.scale == "paper" and experiment.made_for not in EMBEDDED:
        raise InvalidValueError(
            f"`scale` paper needs `data` URI: shards of {NAMES_OF_SETS[experiment.made_for]}, or of your own images; "
            "`mvlab ingest` writes them"
        )
    else:
        data = describe_embedded(experiment.task.embedded, storage)
    _require_targets(experiment.task, data)
    if options.execution.initial is not None:
        trials = fine_tuned(trials, options.execution.initial, data.classes)
    resumed = None
    if options.resume is not None:
        resumed = find_folder(storage / experiment.name, options.scale, options.resume)
        require_free(resumed)
        if options.execution.initial is None:
            trials = as_begun(trials, resumed)
        if options.execution.accept_changes:
            require_epochs_ahead(resumed, trials)
        else:
            require_same_study(resumed, trials, data, options.workers)
    return Study(experiment=experiment, options=options, storage=storage, data=data, trials=trials, resumed=resumed)


def require_few(study: Study) -> None:
    """
    Raises:
        InvalidValueError: the study has more runs than one study carries out.
    """
    if len(study.trials) > MOST_RUNS:
        arms = sum(1 for _ in takewhile(lambda trial: trial.seed == study.trials[0].seed, study.trials))
        raise InvalidValueError(
            f"`seeds` {study.options.seeds} makes {len(study.trials):,} runs, and a study carries out at most "
            f"{MOST_RUNS:,}: ask for `seeds` {MOST_RUNS // arms}, or for fewer rows with `only`"
        )


def _check(options: Options, trials: Sequence[Trial]) -> None:
    """
    Raises:
        UserError: the options contradict each other.
    """
    if not 1 <= options.min_workers <= options.workers:
        asked = str(options.workers)
        if options.min_workers != options.workers:
            asked = f"{options.min_workers}:{options.workers}"
        raise InvalidValueError(
            f"`workers` {asked}: a run needs at least one worker, and MIN:MAX a MIN that is not above MAX"
        )
    if options.execution.accept_changes and options.resume is None:
        raise InvalidValueError("`accept_changes`: a new study has no changes to accept; use it with `resume`")
    require_gpu_share(options.gpus_per_worker, options.workers)
    if options.grace_epochs is None:
        return
    shortest = min(trial.run.epochs for trial in trials)
    if not 1 <= options.grace_epochs < shortest:
        raise InvalidValueError(
            f"`grace_epochs` {options.grace_epochs}: runs have {shortest} epochs here, so that the grace is 1 to "
            f"{shortest - 1}"
        )
    if len(trials) < 2 and options.resume is None:
        raise InvalidValueError(
            "`grace_epochs`: one run has nothing to compete with; leave the option out, or add runs"
        )


def _require_targets(task: Task, data: DataSet) -> None:
    """
    Raises:
        InvalidValueError: the data lack a target that the task learns.
    """
    lacking = [field.name for field in task.fields if field not in data.fields]
    if lacking:
        has = ", ".join(field.name for field in data.fields)
        raise InvalidValueError(
            f"{data.name} is a data set for {data.task}, with the targets {has}; {task.kind} learns "
            f"{', '.join(lacking)}: name a data set for it with `data`"
        )


def _writable_folder(text: str) -> Path:
    """Return the folder as an absolute path. Nothing is created."""
    if "://" in text:
        raise InvalidValueError(
            f"`storage` {masked(text)}: a folder is needed; mount the store, or name a shared folder"
        )
    folder = Path(expanded(text)).absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InvalidValueError(f"`storage` {text}: {nearest} is no folder that can be written to")
    return folder
