"""Successive halving (ASHA): stops runs that are not worth their remaining epochs.

The rule is Ray Tune's, with the epoch as time. Tune cannot apply it itself, since trials report no metrics to it. And a
trial that Tune ends would leave its workers' reservation behind (Ray issue 54305). So the rule is called here. A run
that is told to stop makes a checkpoint and ends by itself.
"""

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler

from mvlab.metrics import ema_metric
from mvlab.ray_internals.tune import enter, is_stopped_by
from mvlab.record.journal import Journal
from mvlab.tasks.base import Task

REDUCTION = 3
"""Reduction factor: one run in three continues past each rung. Rungs: 1, 3, 9, ... times `grace_epochs`."""


class Halving:
    """Takes the epochs of all runs as they come, and decides which runs stop."""

    def __init__(self, epochs: Mapping[str, int], grace_epochs: int, task: Task) -> None:
        """`epochs`: number by run; each gets at least `grace_epochs`. Runs compete by the task's primary metric."""
        self.epochs, self.metric = epochs, ema_metric(task)
        self.stopped: dict[str, int] = {}
        """Epoch (from 1) after which a run was told to stop, by run."""
        self._seen: dict[str, Any] = {}
        self._rule: Any = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=self.metric,
            mode="max" if task.primary.higher_is_better else "min",
            max_t=max(epochs.values()),
            grace_period=grace_epochs,
            reduction_factor=REDUCTION,
            stop_last_trials=False,
        )

    @classmethod
    def of(cls, journal: Journal, epochs: Mapping[str, int], grace_epochs: int, task: Task) -> "Halving":
        """Build one that has taken all epochs of the journal, including runs of earlier attempts."""
        halving = cls(epochs, grace_epochs, task)
        for event in journal.events():
            if event.kind == "metrics" and event.step and halving.metric in event.metrics:
                halving.see(event.run, event.step, event.metrics[halving.metric])
        return halving

    def see(self, run: str, epoch: int, value: float) -> bool:
        """Take the metric after `epoch` (from 1) of `run`. Returns True if the run must stop now."""
        if run not in self._seen:
            self._seen[run] = enter(self._rule, run)
        falls_behind = is_stopped_by(self._rule, self._seen[run], {"epoch": epoch, self.metric: value})
        if not falls_behind or run in self.stopped or epoch >= self.epochs.get(run, epoch):
            return False
        self.stopped[run] = epoch
        return True
