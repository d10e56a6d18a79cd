"""Parameters and multiply-adds of a network, counted exactly, without running it. A way to count is a value."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mvlab.models.backbones.layers import Attention

PRODUCTS = ("bmm", "baddbmm")
"""Operators that only attention uses: the products of queries, keys and values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Cost of one image."""

    parameters: int
    macs: int
    """Multiply-adds of convolutions and linear layers."""
    attention_macs: int
    """Multiply-adds of the products of queries, keys and values. Some conventions leave them out."""
    release_macs: int | None
    """Total that the authors' release counts; None for a kind of attention that it has no layer for."""


@dataclass(frozen=True, slots=True)
class Convention:
    """Way to count multiply-adds."""

    name: str
    says: str
    """Description of what is counted, for people."""
    count: Callable[[Cost], int | None]
    """Multiply-adds for one image; None where the convention does not cover the network."""


LAYERS = Convention("layers alone", "convolutions and linear layers", lambda cost: cost.macs)
WITH_ATTENTION = Convention(
    "with attention", "and the products of attention", lambda cost: cost.macs + cost.attention_macs
)
RELEASE = Convention(
    "release's profiler",
    "what the authors' release counts: N d^2 for each product of N tokens of width d, and biases of linear layers",
    lambda cost: cost.release_macs,
)
CONVENTIONS = (LAYERS, WITH_ATTENTION, RELEASE)


def count_parameters(model: nn.Module) -> int:
    """Count all parameters, frozen ones too. Running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_cost(model: nn.Module, resolution: int) -> Cost:
    """Count the cost of `model`, on the meta device, for a square RGB image of `resolution` pixels.

    The counter would miss fused attention, so attention is computed as explicit matrix products.
    """
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    counter = FlopCounterMode(display=False)
    counted = deepcopy(model).eval().requires_grad_(False)  # the counter follows gradients if there are any
    with torch.no_grad(), _release_extras(counted) as extras, counter, sdpa_kernel(SDPBackend.MATH):
        counted(image)
    macs = {str(operator): flops // 2 for operator, flops in counter.get_flop_counts()["Global"].items()}
    attention = sum(count for operator, count in macs.items() if operator.endswith(PRODUCTS))
    layers = sum(macs.values()) - attention
    is_ours = not attention or any(isinstance(module, Attention) for module in counted.modules())
    return Cost(
        parameters=count_parameters(counted),
        macs=layers,
        attention_macs=attention,
        release_macs=layers + sum(extras) if is_ours else None,
    )


@contextmanager
def _release_extras(model: nn.Module) -> Iterator[list[int]]:
    """Collect the extra counts of the release's profiler, besides the products with weights.

    Its `MultiHeadAttention.profile_module` counts seq_len * in_channels * in_channels for each of the two products of
    attention. Its `LinearLayer.profile_module` counts every parameter as a multiply-add, biases too.
    """
    extras: list[int] = []

    def count_products(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        tokens = inputs[0]  # (..., d)
        extras.append(2 * tokens.numel() * tokens.shape[-1])

    def count_biases(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        extras.append(output.numel() if layer.bias is not None else 0)

    hooks = [
        module.register_forward_hook(count_products if isinstance(module, Attention) else count_biases)
        for module in model.modules()
        if isinstance(module, Attention | nn.Linear)
    ]
    try:
        yield extras
    finally:
        for hook in hooks:
            hook.remove()
