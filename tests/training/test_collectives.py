"""What ranks hold in common is the same on each."""

from typing import Any

import torch
from torch import nn
from training.ranks import run_ranks

from mvlab.training.collectives import share_buffers


def shared(rank: int, world: int) -> list[Any]:
    """Buffers of two networks, one of which has none, as a ViT may."""
    norm, without = nn.BatchNorm2d(3), nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    norm.running_mean.fill_(rank + 1)  # type: ignore[union-attr]
    share_buffers(without)
    share_buffers(norm, without)
    return [norm.running_mean.tolist()]  # type: ignore[union-attr]


def test_buffers_become_those_of_rank_0_where_there_are_any() -> None:
    assert run_ranks(2, shared) == [[torch.ones(3).tolist()]] * 2
