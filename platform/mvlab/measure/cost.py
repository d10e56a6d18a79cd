"""Parameters and multiply-adds of a network: exact, without running it."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """For one image."""

    parameters: int
    macs: int
    """Multiply-adds of convolutions and linear layers."""
    attention_macs: int
    """Multiply-adds of the products of queries, keys and values, which some conventions leave out."""


def count_cost(model: nn.Module, resolution: int) -> Cost:
    """Counts `model`, which must lie on the meta device, for a square RGB image of `resolution` pixels.

    Fused attention would count as nothing: it is counted as the explicit matrix products.
    """
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        model.eval()(image)
    macs = {str(operator): flops // 2 for operator, flops in counter.get_flop_counts()["Global"].items()}
    attention = sum(count for operator, count in macs.items() if operator.endswith(("bmm", "baddbmm")))
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=sum(macs.values()) - attention,
        attention_macs=attention,
    )
