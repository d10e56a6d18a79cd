"""State of an epoch so far on one rank: the part of its metrics that a checkpoint has to keep."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mvlab.tasks.base import Tally

COUNTERS = 5


@dataclass(slots=True)
class EpochState:
    """Counters of one rank since the epoch began, over all processes that worked on it."""

    tally: Tally
    images: float = 0.0
    """Images trained on."""
    busy_s: float = 0.0
    """Time of steps, waiting included."""
    waited_s: float = 0.0
    """Part of `busy_s` spent waiting for data."""
    corrupt: float = 0.0
    """Rows that were replaced."""
    left_out: float = 0.0
    """Updates that were left out because their gradients were not finite; the same on all ranks."""

    def pack(self) -> Tensor:
        """Return (sums + COUNTERS,) float64 on the CPU."""
        counters = [getattr(self, each.name) for each in fields(self)[1:]]
        return torch.cat([self.tally.sums.cpu(), torch.tensor(counters, dtype=torch.float64)])

    @classmethod
    def unpack(cls, ranks: Tensor, rank: int, world: int, empty: Tally) -> "EpochState":
        """Return this rank's share of (ranks, sums + COUNTERS) packed rows; `empty` takes its sums.

        In the world that packed them, it is the rank's own row. In another world, rank 0 takes over all counts, so that
        sums over ranks stay the same. Counters that are not summed (times, updates) become the largest of all rows.
        """
        if len(ranks) == world:
            return cls._of(ranks[rank], empty)
        row = ranks.sum(dim=0) if rank == 0 else torch.zeros_like(ranks[0])
        names = [each.name for each in fields(cls)[1:]]
        common = [len(empty.sums) + names.index(name) for name in ("busy_s", "waited_s", "left_out")]
        row[common] = ranks.max(dim=0).values[common]
        return cls._of(row, empty)

    @classmethod
    def _of(cls, row: Tensor, tally: Tally) -> "EpochState":
        count = len(tally.sums)
        tally.sums.copy_(row[:count])
        return cls(tally, *row[count:].tolist())
