"""What ranks tell each other, besides gradients. Alone, without a process group, each is the identity."""

import torch
from torch import Tensor, distributed, nn


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks, on all ranks."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
    return values


@torch.no_grad()
def share_buffers(*modules: nn.Module) -> None:
    """Rank 0's buffers become everyone's: BatchNorm's statistics differ by rank until then."""
    if distributed.is_initialized():
        buffers = [buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()]
        joined = torch.cat([buffer.flatten() for buffer in buffers])
        distributed.broadcast(joined, src=0)
        for buffer, part in zip(buffers, joined.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))
