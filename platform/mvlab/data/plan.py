"""Epoch plan: the samples and the resolution of each rank at each step. Pure, printable, testable.

Shards are shuffled once, at ingest. An epoch permutes their row groups and shuffles rows inside a window of
neighbouring groups, so that readers touch few groups at a time. The resulting order of samples depends on (seed, epoch)
alone. World size and resolutions only decide how the order is cut into steps. A run that resumes with more or fewer
ranks cuts the rest of the same order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvlab.config import SamplerConfig
from mvlab.data.randomness import Stream, generator

WINDOW_GROUPS = 128
"""Row groups that are shuffled together."""
MIN_BATCH = 2
"""BatchNorm cannot normalise a batch of one."""

Ints = NDArray[np.int64]
SampleIds = Ints


@dataclass(frozen=True, slots=True)
class Position:
    """Position in an epoch. With seed and epoch, it is all that a checkpoint needs for the rest to be planned.

    Raises:
        ValueError: a number is negative, or only one of them is zero.
    """

    step: int = 0
    """Next step. The count continues when the world size changes."""
    consumed: int = 0
    """Samples of the epoch's order that earlier steps used, over all ranks."""

    def __post_init__(self) -> None:
        if min(self.step, self.consumed) < 0 or (self.step == 0) != (self.consumed == 0):
            raise ValueError(
                f"step {self.step} with {self.consumed} samples consumed is no position in an epoch: "
                "both numbers are 0, or both are positive"
            )


EPOCH_START = Position()


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One rank's share of one step."""

    step: int
    size: tuple[int, int]
    """Height and width of the input, pixels."""
    samples: SampleIds
    """(batch,) row numbers of the data set, counted in shard order."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleOrder:
    """Order of an epoch's samples. It holds the order of the row groups only; rows are shuffled on demand."""

    seed: int
    epoch: int
    firsts: Ints
    """(groups,) sample id of each group's first row, in the permuted order of groups."""
    rows: Ints
    """(groups,) rows of each group, in the permuted order of groups."""
    window_ends: Ints
    """(windows,) position in the order at which each window ends."""

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.window_ends[-1])

    def window(self, index: int) -> SampleIds:
        """Return the samples of WINDOW_GROUPS groups, shuffled. The window has its own generator and needs no other
        window."""
        groups = slice(index * WINDOW_GROUPS, (index + 1) * WINDOW_GROUPS)
        rows = self.rows[groups]
        ends = np.cumsum(rows)
        ids = np.repeat(self.firsts[groups] - (ends - rows), rows) + np.arange(ends[-1])
        # Item 0 is the generator that permuted the groups.
        return generator(self.seed, Stream.ORDER, self.epoch, item=1 + index).permutation(ids)

    def slice(self, start: int, stop: int) -> SampleIds:
        """Return (stop - start,) sample ids of positions [start, stop). After the end, they continue at the
        beginning."""
        return next(self.slices([(start, stop)]))

    def slices(self, bounds: Iterable[tuple[int, int]]) -> Iterator[SampleIds]:
        """Yield `slice` of each pair. A window is kept as long as consecutive pairs need it."""
        kept: dict[int, SampleIds] = {}
        for start, stop in bounds:
            needed: dict[int, SampleIds] = {}
            pieces = [np.empty(0, np.int64)]
            while start < stop:
                position = start % len(self)
                index = int(np.searchsorted(self.window_ends, position, side="right"))
                window = needed[index] = kept[index] if index in kept else self.window(index)
                first = position - int(self.window_ends[index]) + len(window)
                pieces.append(window[first : first + stop - start])
                start += len(pieces[-1])
            kept = needed
            yield np.concatenate(pieces)


@dataclass(frozen=True, slots=True, eq=False)
class EpochPlan:
    """Plan of an epoch from `start` to its end, for all ranks.

    Every sample occurs once. The last step also has `num_padded` of the epoch's first samples. So all ranks have
    batches of one size, at least MIN_BATCH.
    """

    world: int
    start: Position
    order: SampleOrder
    """Order of the whole epoch."""
    resolutions: Ints
    """(steps,) sides of the inputs, pixels."""
    batches: Ints
    """(steps,) images per rank."""

    @property
    def epoch(self) -> int:
        return self.order.epoch

    @property
    def num_steps(self) -> int:
        """Number of steps from `start` on."""
        return len(self.batches)

    @property
    def steps(self) -> range:
        """Step numbers, as the epoch counts them."""
        return range(self.start.step, self.start.step + self.num_steps)

    @property
    def num_padded(self) -> int:
        return int(self.batches.sum()) * self.world - (len(self.order) - self.start.consumed)

    @property
    def bounds(self) -> Ints:
        """(steps + 1,) positions in the order between which each step lies. The last one includes the padding."""
        return self.start.consumed + self.world * np.concatenate([[0], np.cumsum(self.batches)])

    def consumed(self, step: int) -> int:
        """Return the number of samples used by the steps before `step`, which may be one past the last step.

        A plan for another world continues at `Position(step, plan.consumed(step))`.

        Raises:
            ValueError: the plan has no such step.
        """
        if step != self.steps.stop:
            self._require_step(step)
        return min(len(self.order), int(self.bounds[step - self.start.step]))

    def batch(self, step: int, rank: int) -> PlannedBatch:
        """Return the batch of `rank` at `step`.

        Raises:
            ValueError: the plan has no such step or rank.
        """
        self._require_step(step)
        index = step - self.start.step
        share = next(self._shares(rank, range(index, index + 1)))
        side = int(self.resolutions[index])
        return PlannedBatch(step, (side, side), self.order.slice(*share))

    def for_rank(self, rank: int) -> Iterator[PlannedBatch]:
        """Return all batches of `rank`; each is made on demand.

        Raises:
            ValueError: the plan has no such rank.
        """
        slices = self.order.slices(self._shares(rank, range(self.num_steps)))
        planned = zip(self.steps, self.resolutions.tolist(), slices, strict=True)
        return (PlannedBatch(step, (side, side), samples) for step, side, samples in planned)

    def _shares(self, rank: int, indices: range) -> Iterator[tuple[int, int]]:
        """Return the positions [start, stop) of `rank` in each of the steps with these indices."""
        if not 0 <= rank < self.world:
            raise ValueError(f"rank {rank} is not in a world of {self.world}")
        starts = (self.bounds[:-1] + rank * self.batches).tolist()
        batches = self.batches.tolist()
        return ((starts[index], starts[index] + batches[index]) for index in indices)

    def _require_step(self, step: int) -> None:
        if step not in self.steps:
            raise ValueError(f"step {step} is not one of {self.steps.start} to {self.steps.stop - 1}")


def plan_epoch(
    group_rows: Sequence[int] | Ints,
    sampler: SamplerConfig,
    *,
    world: int,
    seed: int,
    epoch: int,
    start: Position = EPOCH_START,
) -> EpochPlan:
    """Plan a training epoch (section 3.2), or what remains of it, over a data set.

    With the world size that led to `start`, the plan is exactly the rest of the earlier plan. With another, the
    remaining samples of the same order are cut anew. Each step keeps its resolution.

    Args:
        group_rows: (groups,) rows of each row group, in shard order.
        sampler: resolutions and batch sizes.
        world: number of ranks.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        start: position at which a plan of this epoch, for any world, stopped; see `EpochPlan.consumed`.

    Raises:
        ValueError: the world or the data set is empty, or `start` has consumed more samples than there are.
    """
    rows = np.asarray(group_rows, dtype=np.int64)
    num_samples = int(rows.sum())
    if world < 1 or num_samples < 1:
        raise ValueError(f"nothing to plan: {num_samples} samples on {world} ranks")
    if start.consumed > num_samples:
        raise ValueError(f"{start.consumed} samples are consumed, but the data set has {num_samples}")
    resolutions, batches = _cut(num_samples, sampler, world=world, seed=seed, epoch=epoch, start=start)
    return EpochPlan(world, start, _order(rows, seed=seed, epoch=epoch), resolutions, batches)


def count_updates(num_samples: int, sampler: SamplerConfig, *, world: int, seed: int, epochs: int) -> int:
    """Return the steps of `epochs` epochs, the unit of warm-up, schedule and time left."""
    return int(updates_by_epoch(num_samples, sampler, world=world, seed=seed, epochs=epochs).sum())


def updates_by_epoch(
    num_samples: int, sampler: SamplerConfig, *, world: int, seed: int, epochs: int, accumulate: int = 1
) -> Ints:
    """Return (epochs,) optimizer updates of each epoch: one for every `accumulate` steps, and one for a remainder."""
    cuts = (_cut(num_samples, sampler, world=world, seed=seed, epoch=epoch) for epoch in range(epochs))
    return np.array([-(-len(batches) // accumulate) for _, batches in cuts], dtype=np.int64)


def plan_evaluation(
    num_samples: int, batch: int, *, world: int, rank: int, size: tuple[int, int]
) -> Iterator[PlannedBatch]:
    """Yield every sample exactly once over all ranks, in order, without padding.

    The batches are the same in every world and are dealt to the ranks in turn. So a sample's logits do not depend on
    the number of ranks. Ranks may differ by one batch.
    """
    for step, start in enumerate(range(rank * batch, num_samples, world * batch)):
        yield PlannedBatch(step, size, np.arange(start, min(start + batch, num_samples)))


def _cut(
    num_samples: int, sampler: SamplerConfig, *, world: int, seed: int, epoch: int, start: Position = EPOCH_START
) -> tuple[Ints, Ints]:
    """Return (steps,) resolutions and batch sizes from `start` on, until the samples are used up."""
    sides = np.asarray(sampler.resolutions)
    sizes = np.asarray([sampler.batch_at(side) for side in sampler.resolutions])
    remaining = num_samples - start.consumed
    if remaining == 0:
        return sides[:0], sizes[:0]
    most = -(-remaining // (world * int(sizes.min())))
    # One stream of draws per epoch, read from its beginning: a step's resolution depends on its number alone.
    drawn = generator(seed, Stream.RESOLUTION, epoch).integers(len(sides), size=start.step + most)[start.step :]
    ends = np.cumsum(sizes[drawn]) * world
    num_steps = int(np.searchsorted(ends, remaining)) + 1
    batches = sizes[drawn[:num_steps]]
    used = int(ends[num_steps - 1]) - world * int(batches[-1])
    batches[-1] = max(MIN_BATCH, -(-(remaining - used) // world))
    return sides[drawn[:num_steps]], batches


def _order(rows: Ints, *, seed: int, epoch: int) -> SampleOrder:
    """Permute the row groups, which have `rows` (groups,) rows."""
    permuted = generator(seed, Stream.ORDER, epoch).permutation(len(rows))
    firsts = (np.cumsum(rows) - rows)[permuted]
    rows = rows[permuted]
    window_ends = np.cumsum(np.add.reduceat(rows, np.arange(0, len(rows), WINDOW_GROUPS)))
    return SampleOrder(seed, epoch, firsts, rows, window_ends)
