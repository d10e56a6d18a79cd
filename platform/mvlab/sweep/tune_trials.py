"""Set-up of Ray Tune for trials: it runs several at once, and restarts those whose process is lost."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from ray import cloudpickle, tune

from mvlab.ray_internals.cluster import HEAD
from mvlab.sweep.trial import Trial
from mvlab.training.failures import MOST_WITHOUT_PROGRESS


def tune_trials(
    by_slug: Mapping[str, Trial],
    do: Callable[[Trial], dict[str, str]],
    reporter: tune.Callback,
    *,
    at_once: int,
    storage: Path,
) -> tune.Tuner:
    """Return a tuner that runs `do` on every trial, and reports its results to `reporter`.

    A trial whose process was lost starts again while it has at most MOST_WITHOUT_PROGRESS failures. `reporter` counts
    them.
    """

    _send_along(by_slug.values())

    def trainable(config: dict[str, str]) -> dict[str, str]:
        return do(by_slug[config["trial"]])

    return tune.Tuner(
        # Tune counts only the waiting actor. Train places the workers, and `placement` counts them. The actor waits on
        # the head node: if that is lost, everything ends anyway.
        tune.with_resources(trainable, tune.PlacementGroupFactory([{HEAD: 0.001}])),
        param_space={"trial": tune.grid_search(list(by_slug))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=at_once,
            reuse_actors=True,  # the next trial need not import torch again
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=f"tune-{time.time_ns()}",
            storage_path=str(storage),
            verbose=0,
            callbacks=[reporter],
            failure_config=tune.FailureConfig(max_failures=MOST_WITHOUT_PROGRESS),
        ),
    )


def _send_along(trials: Iterable[Trial]) -> None:
    """Make Ray send the modules of user-defined tasks and networks: workers cannot import a file by its path."""
    for kind in {type(part) for trial in trials for part in (trial.run.task, trial.run.model)}:
        if PathFinder.find_spec(kind.__module__.partition(".")[0]) is None:
            cloudpickle.register_pickle_by_value(sys.modules[kind.__module__])
