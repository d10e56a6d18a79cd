"""Resolves what was asked for, and refuses what cannot be done, before anything is started or written."""

import os
from dataclasses import dataclass
from pathlib import Path

from mvlab.data.locate import DataSet, describe_digits, open_data
from mvlab.data.render import OnCorrupt
from mvlab.experiment import Experiment
from mvlab.scale import Scale
from mvlab.sweep.trial import Trial, plan_trials


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where and how much; never what."""

    scale: Scale
    data: str | None
    """URI of shards; None for the embedded digits."""
    seeds: int
    workers: int
    storage: str
    """A local folder, or one that all machines of the cluster share."""
    tracking_uri: str
    only: tuple[str, ...]
    """Rows to run; empty for all."""
    on_corrupt: OnCorrupt
    """What a run does at a row of the data that is not what was ingested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What would be done."""

    experiment: Experiment
    options: Options
    storage: Path
    """Absolute."""
    data: DataSet
    trials: tuple[Trial, ...]

    @property
    def mlflow_experiment(self) -> str:
        return f"mobilevit/classification/{self.experiment.name}"

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(trial.row for trial in self.trials))


def prepare(experiment: Experiment, options: Options) -> Study:
    """Resolves and checks everything that can be checked without starting or writing anything.

    Raises:
        ValueError: an option cannot be what it is; the message says what to do.
    """
    trials = plan_trials(experiment, list(options.only), options.scale, options.seeds)
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers}: a run needs at least one worker")
    storage = _writable_folder(options.storage)
    if options.data is not None:
        data = open_data(options.data)
    elif options.scale == "paper":
        raise ValueError(
            "--scale paper needs --data URI: shards of ImageNet, or of your own images; `mvlab ingest` writes them"
        )
    else:
        data = describe_digits(storage)
    return Study(experiment=experiment, options=options, storage=storage, data=data, trials=tuple(trials))


def _writable_folder(text: str) -> Path:
    """The folder as an absolute path; makes nothing."""
    if "://" in text:
        raise ValueError(f"--storage {text}: a folder is needed; mount the store, or name a shared folder")
    folder = Path(text).expanduser().absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(f"--storage {text}: {nearest} is no folder that can be written to")
    return folder
