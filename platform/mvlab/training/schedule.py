"""Role of each planned step in its update: its weight, and the learning rate (section 4.1).

The schedule belongs to the world that the run was planned for. After machines were lost or won, the world is smaller or
larger. Its learning rate is then that of the planned world after as many samples of the epoch. The rate is multiplied
by the new world size over the planned one, since updates use that share of the images (the linear scaling rule).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mvlab.config import OptimizerConfig, RunConfig
from mvlab.data.plan import EpochPlan, Ints, plan_epoch, updates_by_epoch


@dataclass(frozen=True, slots=True)
class Step:
    """One planned batch, as the optimizer sees it."""

    number: int
    weight: float
    """Weight of the batch's mean gradient, averaged over ranks, in its update. All images of an update weigh the
    same."""
    closes: bool
    """True for the last step of its update."""
    lr: float


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Learning rate at any point of a run."""

    run: RunConfig
    group_rows: Ints
    """(groups,) rows of each row group of the training split."""
    world: int
    """World size that the run was planned for."""
    starts: Ints
    """(epochs + 1,) updates before each epoch, in that world."""

    @classmethod
    def of(cls, run: RunConfig, group_rows: Ints, world: int) -> "Schedule":
        counts = updates_by_epoch(
            int(group_rows.sum()),
            run.sampler,
            world=world,
            seed=run.seed,
            epochs=run.epochs,
            accumulate=run.optimizer.accumulate,
        )
        return cls(run, group_rows, world, np.concatenate([[0], np.cumsum(counts)]))

    @property
    def num_updates(self) -> int:
        """Number of updates of the whole run."""
        return int(self.starts[-1])

    def position(self, epoch: int, consumed: int) -> float:
        """Return the updates that the planned world has done when `consumed` samples of `epoch` are used."""
        bounds = self._bounds(epoch)
        return float(self.starts[epoch] + np.interp(consumed, bounds, np.arange(len(bounds))))

    def lr(self, epoch: int, consumed: int, world: int) -> float:
        """Return the learning rate of the update that begins there, in a world of `world` ranks."""
        update = self.position(epoch, consumed)
        return learning_rate(update, epoch, self) * (world / self.world)

    def steps(self, plan: EpochPlan) -> Iterator[Step]:
        """Yield each step of `plan` with its role in its update. Updates are counted from where the plan starts."""
        together = self.run.optimizer.accumulate
        for first in range(0, plan.num_steps, together):
            sizes = plan.batches[first : first + together].tolist()
            lr = self.lr(plan.epoch, plan.consumed(plan.start.step + first), plan.world)
            for index, size in enumerate(sizes):
                number = plan.start.step + first + index
                yield Step(number, size / sum(sizes), closes=index == len(sizes) - 1, lr=lr)

    def _bounds(self, epoch: int) -> NDArray[np.int64]:
        """Return (updates + 1,) samples used before each update of the epoch, and after its last, in the planned
        world."""
        return _update_bounds(self, epoch)


@lru_cache(maxsize=2)
def _update_bounds(schedule: Schedule, epoch: int) -> NDArray[np.int64]:
    run = schedule.run
    plan = plan_epoch(schedule.group_rows, run.sampler, world=schedule.world, seed=run.seed, epoch=epoch)
    firsts = plan.bounds[:-1][:: run.optimizer.accumulate]
    return np.append(firsts, len(plan.order))


def learning_rate(update: float, epoch: int, schedule: Schedule) -> float:
    """Return the learning rate of `update` (from 0, of all updates of the run), which lies in `epoch`.

    It is linear from `lr_start` to `lr_peak` over the warm-up, then a cosine to `lr_end`. The cosine either changes at
    every update and reaches `lr_end` at the last one; or, as in the release, it depends on the epoch's number alone.
    """
    config, num_updates = schedule.run.optimizer, schedule.num_updates
    if update < config.warmup_updates:
        return config.lr_start + (config.lr_peak - config.lr_start) * update / config.warmup_updates
    if config.schedule == "epoch":
        progress = epoch / schedule.run.epochs
    else:
        progress = (update - config.warmup_updates) / max(1, num_updates - 1 - config.warmup_updates)
    return cosine(min(1.0, progress), config)


def cosine(progress: float, config: OptimizerConfig) -> float:
    """Return half a cosine from `lr_peak` (progress 0) to `lr_end` (1)."""
    return config.lr_end + (config.lr_peak - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2
