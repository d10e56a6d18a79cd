"""Communication between ranks, besides gradients. Alone, without a process group, each operation is the identity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, distributed, nn


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over all ranks, on all ranks."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
    return values


class AllRanks:
    """Exchange of evaluation results between the ranks of a run."""

    def sum(self, numbers: Tensor) -> Tensor:
        """Return the sum over all ranks, on all ranks."""
        return sum_over_ranks(numbers)

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all ranks, in their order."""
        if not distributed.is_initialized():
            return [value]
        values: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(values, value)
        return values


def of_all_ranks(row: Tensor, device: torch.device) -> Tensor:
    """Return (world, n): `row` (n,) of every rank. Input and result lie on the CPU."""
    if not distributed.is_initialized():
        return row[None]
    rows = [torch.empty_like(row, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(rows, row.to(device))
    return torch.stack(rows).cpu()


def from_rank_0(numbers: Sequence[int], device: torch.device) -> list[int]:
    """Return rank 0's `numbers`. Those of the other ranks only give the size."""
    values = torch.tensor(numbers, dtype=torch.int64, device=device)
    if distributed.is_initialized():
        distributed.broadcast(values, src=0)
    return [int(value) for value in values.tolist()]


@torch.no_grad()
def share_buffers(*modules: nn.Module) -> None:
    """Copy rank 0's buffers to all ranks: until then, BatchNorm's statistics differ by rank. ViTs may have none."""
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
    """Signal that a rank's process was told to end. A checkpoint was made first, and the run can resume without it."""


@dataclass(slots=True)
class Latch:
    """Caller of `notice` that keeps an answer which ends the work.

    By the next call, the file that asked for it may be gone, and an evaluation may have been cut short for it.
    """

    notice: Callable[[], Wish]
    stands: Wish = Wish.NOTHING

    def __call__(self) -> Wish:
        wish = max(self.notice(), self.stands)
        if wish >= Wish.LEAVE:
            self.stands = wish
        return wish


class Consensus:
    """Agreement of all ranks on the greatest wish at each update: asked before a step, answered after it.

    It has its own process group on the CPU. So no gradient waits for it, and it waits for no GPU. `close` ends the
    group: a process does many runs.
    """

    def __init__(self) -> None:
        self._group = distributed.new_group(backend="gloo") if distributed.is_initialized() else None
        self._wish = torch.zeros(1, dtype=torch.int64)
        self._asked: distributed.Work | None = None

    def ask(self, wish: Wish) -> None:
        """Send this rank's wish to the others. Every rank must call `answer` next."""
        self._wish[0] = wish
        if self._group is not None:
            self._asked = distributed.all_reduce(self._wish, distributed.ReduceOp.MAX, self._group, async_op=True)

    def answer(self) -> Wish:
        """Return the greatest wish of all ranks."""
        if self._asked is not None:
            self._asked.wait()
            self._asked = None
        return Wish(int(self._wish[0]))

    def close(self) -> None:
        """End the process group. Nothing may be called afterwards.

        It stays if a question is unanswered: its end would wait for the other ranks, and this one has failed.
        """
        if self._group is not None and self._asked is None:
            distributed.destroy_process_group(self._group)
            self._group = None
