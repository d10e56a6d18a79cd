"""The trials of a sweep, planned: arms times seeds."""

from dataclasses import dataclass, replace
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.experiment import Experiment
from mvlab.names import slug
from mvlab.scale import Scale, at_scale
from mvlab.training.files import RunFolder


@dataclass(frozen=True, slots=True)
class Trial:
    """An arm of the experiment with one seed."""

    arm: str
    """Its name among the experiment's runs."""
    seed: int
    run: RunConfig

    @property
    def name(self) -> str:
        """For people and for MLflow, e.g. "8,4,2 seed 0"."""
        return f"{self.arm} seed {self.seed}"

    @property
    def slug(self) -> str:
        """The name as a folder."""
        return slug(self.name)

    def folder(self, storage: Path) -> RunFolder:
        return RunFolder(storage / self.slug)


def plan_trials(experiment: Experiment, names: list[str], scale: Scale, seeds: int) -> list[Trial]:
    """Every selected run with every seed; they share seeds, so that their differences are paired.

    Raises:
        ValueError: a name is no run of the experiment, or `seeds` is not positive.
    """
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: at least one is needed")
    return [
        Trial(arm, seed, replace(at_scale(run, scale, keep_network=experiment.compares_networks), seed=seed))
        for seed in range(seeds)
        for arm, run in experiment.select(names).items()
    ]
