"""Communication between ranks, besides gradients. Alone, without a process group, each operation is the identity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, distributed, nn


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks, on all ranks."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
    return values


class AllRanks:
    """Exchange of evaluation results between the ranks of a run."""

    def sum(self, numbers: Tensor) -> Tensor:
        """Sum over all ranks, on all ranks."""
        return sum_over_ranks(numbers)

    def gather(self, value: Any) -> list[Any]:
        """Objects of all ranks, in their order."""
        if not distributed.is_initialized():
            return [value]
        values: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(values, value)
        return values


def of_all_ranks(row: Tensor, device: torch.device) -> Tensor:
    """(world, n): every rank's `row` (n,), which lies on the CPU, as does the result."""
    if not distributed.is_initialized():
        return row[None]
    rows = [torch.empty_like(row, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(rows, row.to(device))
    return torch.stack(rows).cpu()


def from_rank_0(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Rank 0's `numbers`; the others' only have to be as many."""
    values = torch.tensor(numbers, dtype=torch.int64, device=device)
    if distributed.is_initialized():
        distributed.broadcast(values, src=0)
    return [int(value) for value in values.tolist()]


@torch.no_grad()
def share_buffers(*modules: nn.Module) -> None:
    """Rank 0's buffers become everyone's: BatchNorm's statistics differ by rank until then. ViTs may have none."""
    buffers = [buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()]
    if buffers and distributed.is_initialized():
        joined = torch.cat([buffer.flatten() for buffer in buffers])
        distributed.broadcast(joined, src=0)
        for buffer, part in zip(buffers, joined.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))


class Wish(IntEnum):
    """Request of a rank to all ranks after this update. The greatest request is granted."""

    NOTHING = 0
    CHECKPOINT = 1
    LEAVE = 2
    """Write a checkpoint, and make no further step in this process. Others resume the run."""
    STOP = 3
    """Write a checkpoint, and make no further step of the run."""


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """A rank's process was told to end; a checkpoint was made first, and the run can go on without it."""


@dataclass(slots=True)
class Latch:
    """Asks `notice`, and stays with an answer that ends the work.

    By the next time the file that asked for it may be gone, and an evaluation may have been cut short for it.
    """

    notice: Callable[[], Wish]
    stands: Wish = Wish.NOTHING

    def __call__(self) -> Wish:
        wish = max(self.notice(), self.stands)
        if wish >= Wish.LEAVE:
            self.stands = wish
        return wish


class Consensus:
    """Lets any rank's wish be done by all at the same update: asked before a step, answered after it, meanwhile free.

    It has a process group of its own on the CPU, so that no gradient waits for it and it waits for no GPU.
    """

    def __init__(self) -> None:
        self._group = distributed.new_group(backend="gloo") if distributed.is_initialized() else None
        self._wish = torch.zeros(1, dtype=torch.int64)
        self._asked: distributed.Work | None = None

    def ask(self, wish: Wish) -> None:
        """Tells the others; to be followed by `answer` on every rank."""
        self._wish[0] = wish
        if self._group is not None:
            self._asked = distributed.all_reduce(self._wish, distributed.ReduceOp.MAX, self._group, async_op=True)

    def answer(self) -> Wish:
        """The greatest wish of all ranks."""
        if self._asked is not None:
            self._asked.wait()
            self._asked = None
        return Wish(int(self._wish[0]))
