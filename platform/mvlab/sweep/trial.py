"""Plan of a sweep's trials: arms times seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from mvlab.config import RunConfig
from mvlab.errors import InvalidValueError
from mvlab.experiment import Experiment
from mvlab.names import slug
from mvlab.scale import Scale, at_scale
from mvlab.training.files import RunFolder

MOST_SEEDS = 2**32
"""Number of seeds that a config can have."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Arm of the experiment with one seed."""

    arm: str
    """Name of the arm among the experiment's runs."""
    seed: int
    run: RunConfig

    @property
    def name(self) -> str:
        """Name for people and for MLflow, e.g. "8,4,2 seed 0"."""
        return f"{self.arm} seed {self.seed}"

    @property
    def slug(self) -> str:
        """Name of the trial's folder."""
        return slug(self.name)

    def folder(self, storage: Path) -> RunFolder:
        return RunFolder(storage / self.slug)


@dataclass(frozen=True, slots=True)
class Trials(Sequence[Trial]):
    """Every run with every seed. Trials are created on access, since there may be very many."""

    runs: Mapping[str, RunConfig]
    """Arm -> its run, with any seed."""
    seeds: int

    def __len__(self) -> int:
        return len(self.runs) * self.seeds

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...

    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        """Return a trial, or several. All arms of the first seed come first."""
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        seed, number = divmod(range(len(self))[index], len(self.runs))
        arm = list(self.runs)[number]
        return Trial(arm, seed, replace(self.runs[arm], seed=seed))


def plan_trials(experiment: Experiment, names: list[str], scale: Scale, seeds: int) -> Trials:
    """Plan every selected run with every seed. Runs share seeds, so that their differences are paired.

    Raises:
        InvalidValueError: a name is no run of the experiment, or `seeds` is out of range.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise InvalidValueError(f"`seeds` {seeds}: at least one is needed, and there are {MOST_SEEDS:,}")
    runs = {
        arm: at_scale(run, scale, keep_network=experiment.compares_networks)
        for arm, run in experiment.select(names).items()
    }
    return Trials(runs, seeds)
