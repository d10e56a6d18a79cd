"""Set-up of Ray Tune for trials: it runs several at once, and restarts those whose process is lost."""

import sys
import time
from collections.abc import Iterable, Mapping
from importlib.machinery import PathFinder
from typing import Any, ClassVar

import ray
from ray import cloudpickle, tune

from mvlab.ray_internals.cluster import HEAD
from mvlab.sweep.run_trial import Attempt
from mvlab.sweep.slot import Slot
from mvlab.sweep.trial import Trial
from mvlab.training.failures import MOST_WITHOUT_PROGRESS


class Seat(tune.Trainable):
    """Process of Ray Tune that has a slot, and does one trial of the sweep after the other in it."""

    parts: ClassVar[Any]
    """Reference to what all seats of a sweep share: the attempt, trials by slug, and the folder of slots."""

    @classmethod
    def default_resource_request(cls, config: dict[str, str]) -> tune.PlacementGroupFactory:
        """Reserve a place on the head node: if that is lost, everything ends anyway.

        Tune counts this process alone. Train places the workers, and `Placement` counts them.
        """
        return tune.PlacementGroupFactory([{HEAD: 0.001}])

    def setup(self, config: dict[str, str]) -> None:
        """Take the first trial."""
        self.attempt, self.by_slug, folder = ray.get(self.parts)
        self.slot = Slot(self.attempt.placement, folder)

    def reset_config(self, new_config: dict[str, str]) -> bool:
        """Take the next trial. Tune has set `config` already."""
        return True

    def step(self) -> dict[str, str | bool]:
        """Do the trial."""
        return {**self.attempt(self.by_slug[self.config["trial"]], self.slot), "done": True}

    def cleanup(self) -> None:
        """Free the workers. Tune calls this when no trial is left for the process."""
        self.slot.close()


def tune_trials(by_slug: Mapping[str, Trial], attempt: Attempt, reporter: tune.Callback) -> tune.Tuner:
    """Return a tuner that runs `attempt` on every trial, and reports its results to `reporter`.

    A trial whose process was lost starts again while it has at most MOST_WITHOUT_PROGRESS failures. `reporter` counts
    them.
    """
    _send_along(by_slug.values())
    name = f"tune-{time.time_ns()}"
    parts = ray.put((attempt, by_slug, attempt.storage / name / "slots"))
    seat = type(Seat.__name__, (Seat,), {"parts": parts})  # its name is that of the process
    return tune.Tuner(
        seat,
        param_space={"trial": tune.grid_search(list(by_slug))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=attempt.placement.concurrent_trials,
            reuse_actors=True,  # and with them their slots
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(attempt.storage),
            verbose=0,
            callbacks=[reporter],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # runs make their own
            failure_config=tune.FailureConfig(max_failures=MOST_WITHOUT_PROGRESS),
        ),
    )


def _send_along(trials: Iterable[Trial]) -> None:
    """Make Ray send the modules of user-defined tasks and networks: workers cannot import a file by its path."""
    for kind in {type(part) for trial in trials for part in (trial.run.task, trial.run.model)}:
        if PathFinder.find_spec(kind.__module__.partition(".")[0]) is None:
            cloudpickle.register_pickle_by_value(sys.modules[kind.__module__])
