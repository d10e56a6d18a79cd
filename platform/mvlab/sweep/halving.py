"""Successive halving (ASHA): which of the runs that train are worth their remaining epochs.

Ray Tune's own rule, with our epoch as time. Tune cannot apply it itself: trials tell it nothing, and one that Tune
ends would leave its workers' reservation behind (Ray issue 54305). So the rule is asked here, and who is told to stop
makes a checkpoint and ends by itself.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from mvlab.experiment import EMA_TOP1
from mvlab.record.journal import Journal

REDUCTION = 3
"""One run in three goes on past each rung: after `grace_epochs`, three times as many, nine times, and so on."""


class Halving:
    """Sees the epochs of all runs as they come, and says who is to stop."""

    def __init__(self, epochs: Mapping[str, int], grace_epochs: int) -> None:
        """`epochs` of each run, by name; every run gets at least `grace_epochs`."""
        self.epochs = epochs
        self.stopped: dict[str, int] = {}
        """By run: the epoch (from 1) after which it was told to stop."""
        self._seen: dict[str, Any] = {}
        self._rule: Any = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=EMA_TOP1,
            mode="max",
            max_t=max(epochs.values()),
            grace_period=grace_epochs,
            reduction_factor=REDUCTION,
            stop_last_trials=False,
        )

    @classmethod
    def of(cls, journal: Journal, epochs: Mapping[str, int], grace_epochs: int) -> "Halving":
        """One that has seen all that the journal tells, also of runs of earlier times."""
        halving = cls(epochs, grace_epochs)
        for event in journal.events():
            if event.kind == "metrics" and event.step and EMA_TOP1 in event.metrics:
                halving.see(event.run, event.step, event.metrics[EMA_TOP1])
        return halving

    def see(self, run: str, epoch: int, top1: float) -> bool:
        """Takes what `epoch` (from 1) of `run` came to; true if that ends it."""
        if run not in self._seen:
            self._seen[run] = SimpleNamespace(trial_id=run)
            self._rule.on_trial_add(None, self._seen[run])
        said = self._rule.on_trial_result(None, self._seen[run], {"epoch": epoch, EMA_TOP1: top1})
        if said != TrialScheduler.STOP or run in self.stopped or epoch >= self.epochs.get(run, epoch):
            return False
        self.stopped[run] = epoch
        return True
