"""Resolves what was asked for, and refuses what cannot be done, before anything is started or written."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mvlab.data.locate import DataSet, describe_digits, open_data
from mvlab.experiment import Experiment
from mvlab.scale import Scale
from mvlab.study.folder import find_folder, require_same_study
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.training.manner import Manner


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where and how much; never what."""

    scale: Scale
    data: str | None
    """URI of shards; None for the embedded digits."""
    seeds: int
    workers: int
    """Ranks of every run."""
    min_workers: int
    """With how few a run goes on when the cluster has no room for more."""
    storage: str
    """A local folder, or one that all machines of the cluster share."""
    tracking_uri: str
    only: tuple[str, ...]
    """Rows to run; empty for all."""
    manner: Manner
    resume: str | None = None
    """The folder of a study to go on with; empty for the newest, None to begin a new one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What would be done."""

    experiment: Experiment
    options: Options
    storage: Path
    """Absolute."""
    data: DataSet
    trials: tuple[Trial, ...]
    resumed: Path | None = None
    """The folder of the study that is gone on with."""

    @property
    def mlflow_experiment(self) -> str:
        return f"mobilevit/classification/{self.experiment.name}"

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(trial.arm for trial in self.trials))


def prepare(experiment: Experiment, options: Options) -> Study:
    """Resolves and checks everything that can be checked without starting or writing anything.

    Raises:
        ValueError: an option cannot be what it is; the message says what to do.
    """
    trials = plan_trials(experiment, list(options.only), options.scale, options.seeds)
    if not 1 <= options.min_workers <= options.workers:
        asked = str(options.workers)
        if options.min_workers != options.workers:
            asked = f"{options.min_workers}:{options.workers}"
        raise ValueError(f"--workers {asked}: a run needs at least one worker, and MIN:MAX a MIN that is not above MAX")
    if options.manner.accept_changes and options.resume is None:
        raise ValueError("--accept-changes: a study that begins has no changes to accept; say it with --resume")
    storage = _writable_folder(options.storage)
    if options.data is not None:
        data = open_data(options.data)
    elif options.scale == "paper" and experiment.made_for != "digits":
        raise ValueError(
            "--scale paper needs --data URI: shards of ImageNet, or of your own images; `mvlab ingest` writes them"
        )
    else:
        data = describe_digits(storage)
    if options.manner.initial is not None:
        trials = _fine_tuned(trials, options.manner.initial, data.num_classes)
    resumed = None
    if options.resume is not None:
        resumed = find_folder(storage / experiment.name, options.scale, options.resume)
        if not options.manner.accept_changes:
            require_same_study(resumed, trials, data)
    return Study(
        experiment=experiment, options=options, storage=storage, data=data, trials=tuple(trials), resumed=resumed
    )


def _fine_tuned(trials: list[Trial], initial: Path, num_classes: int) -> list[Trial]:
    """The trials, which begin with the weights of the file `initial`; it is tried on each of their networks.

    Raises:
        InitialWeightsError: it does not fit.
    """
    from mvlab.models.build import build_network  # torch: seconds to import, and not needed otherwise
    from mvlab.models.initial import file_sha256, load_initial

    sha256 = file_sha256(initial)
    for network in {trial.run.model for trial in trials}:
        load_initial(build_network(network, num_classes), initial, sha256=sha256)
    return [replace(trial, run=replace(trial.run, initial_weights=sha256)) for trial in trials]


def _writable_folder(text: str) -> Path:
    """The folder as an absolute path; makes nothing."""
    if "://" in text:
        raise ValueError(f"--storage {text}: a folder is needed; mount the store, or name a shared folder")
    folder = Path(text).expanduser().absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(f"--storage {text}: {nearest} is no folder that can be written to")
    return folder
