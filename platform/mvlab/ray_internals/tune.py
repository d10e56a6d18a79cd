"""Internals of Ray Tune: the callback that prints, a trial's count of failures, and the ASHA rule without Tune.

- `TrialProgressCallback`: Tune adds one, which prints tables, unless a callback is an instance of it already.
- `Trial.run_metadata.num_failures`: compared with `FailureConfig.max_failures` before a lost trial starts again.
  Without it, Tune would count every lost process of a long run, and give up one that made progress each time.
- `AsyncHyperBandScheduler.on_trial_add` and `on_trial_result`, called with no controller and with any object that has a
  `trial_id`: Tune calls them with its own. Without that, the rule would have to be written here.
"""

from types import SimpleNamespace
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

__all__ = ["TrialProgressCallback", "enter", "is_stopped_by", "set_num_failures"]

NO_CONTROLLER: Any = None


def set_num_failures(trial: Any, count: int) -> None:
    """Set the number of failures after which Tune, in `on_trial_recover`, decides whether `trial` starts again."""
    trial.run_metadata.num_failures = count


def enter(rule: AsyncHyperBandScheduler, run: str) -> Any:
    """Add a run to the rule, and return the trial that stands for it there."""
    trial: Any = SimpleNamespace(trial_id=run)
    rule.on_trial_add(NO_CONTROLLER, trial)
    return trial


def is_stopped_by(rule: AsyncHyperBandScheduler, trial: Any, result: dict[str, Any]) -> bool:
    """Report a result to the rule, and return whether it stops the trial."""
    return bool(rule.on_trial_result(NO_CONTROLLER, trial, result) == TrialScheduler.STOP)
