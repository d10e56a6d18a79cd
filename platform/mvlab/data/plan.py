"""Which samples, at which resolution, each rank trains on at each step of an epoch: pure, printable, testable.

Shards are shuffled once, at ingest. An epoch permutes their row groups and shuffles rows inside a window of
neighbouring groups, so that readers touch few groups at a time. The stream of samples that results depends
on (seed, epoch) alone; world size and resolutions only say how it is cut into steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvlab.config import SamplerConfig
from mvlab.data.randomness import Stream, generator

WINDOW_GROUPS = 128
"""Row groups that are shuffled together."""
MIN_BATCH = 2
"""BatchNorm cannot normalise a batch of one."""

SampleIds = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One rank's share of one step."""

    step: int
    resolution: int
    """Side of the square input, pixels."""
    samples: SampleIds
    """Row numbers of the data set, in shard order."""


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """One epoch, for all ranks.

    Every sample occurs once; the last step repeats `num_padded` of the epoch's first samples, so that all
    ranks have batches of one size (at least MIN_BATCH).
    """

    epoch: int
    world: int
    order: SampleIds
    resolutions: NDArray[np.int64]
    """(steps,) pixels."""
    batches: NDArray[np.int64]
    """(steps,) images a rank."""

    @property
    def num_steps(self) -> int:
        return len(self.batches)

    @property
    def num_padded(self) -> int:
        return int(self.batches.sum()) * self.world - len(self.order)

    def for_rank(self, rank: int, first_step: int = 0) -> Iterator[PlannedBatch]:
        """The batches of `rank` from `first_step` on."""
        if not 0 <= rank < self.world:
            raise ValueError(f"rank {rank} is not in a world of {self.world}")
        ends = np.cumsum(self.batches) * self.world
        for step in range(first_step, self.num_steps):
            batch = int(self.batches[step])
            start = int(ends[step]) - self.world * batch + rank * batch
            samples = np.take(self.order, np.arange(start, start + batch), mode="wrap")
            yield PlannedBatch(step, int(self.resolutions[step]), samples)


def plan_epoch(group_rows: Sequence[int], sampler: SamplerConfig, *, world: int, seed: int, epoch: int) -> EpochPlan:
    """Plans a training epoch (section 3.2) over a data set whose row groups have `group_rows` rows.

    Raises:
        ValueError: the world is empty, or the data set is.
    """
    num_samples = sum(group_rows)
    if world < 1 or num_samples < 1:
        raise ValueError(f"nothing to plan: {num_samples} samples on {world} ranks")
    resolutions, batches = _cut(num_samples, sampler, world=world, seed=seed, epoch=epoch)
    order = _shuffled(np.asarray(group_rows), seed=seed, epoch=epoch)
    return EpochPlan(epoch, world, order, resolutions, batches)


def count_updates(num_samples: int, sampler: SamplerConfig, *, world: int, seed: int, epochs: int) -> int:
    """Optimizer updates of `epochs` epochs: what warm-up, schedule and time left count in."""
    cuts = (_cut(num_samples, sampler, world=world, seed=seed, epoch=epoch) for epoch in range(epochs))
    return sum(len(batches) for _, batches in cuts)


def plan_evaluation(num_samples: int, batch: int, *, world: int, rank: int, resolution: int) -> Iterator[PlannedBatch]:
    """Every sample exactly once over all ranks, in order, without padding; ranks may differ by one sample."""
    bounds = np.linspace(0, num_samples, world + 1).astype(np.int64)
    for step, start in enumerate(range(int(bounds[rank]), int(bounds[rank + 1]), batch)):
        stop = min(start + batch, int(bounds[rank + 1]))
        yield PlannedBatch(step, resolution, np.arange(start, stop))


def _cut(
    num_samples: int, sampler: SamplerConfig, *, world: int, seed: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Resolution and batch size of each step, until the samples are used up."""
    sides = np.asarray(sampler.resolutions)
    sizes = np.asarray([sampler.batch_at(side) for side in sampler.resolutions])
    most = -(-num_samples // (world * int(sizes.min())))
    drawn = generator(seed, Stream.RESOLUTION, epoch).integers(len(sides), size=most)
    ends = np.cumsum(sizes[drawn]) * world
    num_steps = int(np.searchsorted(ends, num_samples)) + 1
    batches = sizes[drawn[:num_steps]]
    used = int(ends[num_steps - 1]) - world * int(batches[-1])
    batches[-1] = max(MIN_BATCH, -(-(num_samples - used) // world))
    return sides[drawn[:num_steps]], batches


def _shuffled(group_rows: NDArray[np.int64], *, seed: int, epoch: int) -> SampleIds:
    """Row groups permuted, then rows shuffled inside windows of WINDOW_GROUPS of them."""
    rng = generator(seed, Stream.ORDER, epoch)
    firsts = np.cumsum(group_rows) - group_rows
    groups = rng.permutation(len(group_rows))
    windows = []
    for start in range(0, len(groups), WINDOW_GROUPS):
        rows = [np.arange(firsts[g], firsts[g] + group_rows[g]) for g in groups[start : start + WINDOW_GROUPS]]
        windows.append(rng.permutation(np.concatenate(rows)))
    return np.concatenate(windows)
