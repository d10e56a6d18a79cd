"""The quick gradient of a strided depthwise convolution is the exact one, rounded once.

Not PyTorch's to the last bit: on processors without bf16 arithmetic that one is rounded at every sum.
"""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mvlab.models.cpu.depthwise import StridedDepthwiseConv2d, is_strided_depthwise


def trained(
    layer: nn.Conv2d, x_BCHW: Tensor, *, autocast: bool, gradient_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, the input's gradient and the weights' gradient, for an output gradient of numbers of `gradient_dtype`."""
    x = x_BCHW.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(x)
    generator = torch.Generator().manual_seed(1)
    of_out = torch.randn(out.shape, generator=generator).to(gradient_dtype or out.dtype).to(out.dtype)
    gradients = torch.autograd.grad(out, (x, layer.weight), of_out)
    return (out.detach(), *gradients)


@settings(max_examples=60)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    autocast=st.booleans(),
)
def test_the_inputs_gradient_is_exact_and_all_else_pytorchs(
    height: int, width: int, kernel_size: int, stride: int, dilation: int, autocast: bool
) -> None:
    torch.manual_seed(0)
    padding = dilation * (kernel_size // 2)
    ours, theirs = (
        kind(8, 8, kernel_size, stride, padding, dilation, groups=8, bias=False)
        for kind in (StridedDepthwiseConv2d, nn.Conv2d)
    )
    assert is_strided_depthwise(theirs) == (stride > 1)
    theirs.load_state_dict(ours.state_dict())
    exact = copy.deepcopy(theirs).bfloat16().double()
    x = torch.randn(2, 8, height, width)
    if not autocast:
        x, ours, theirs = x.bfloat16(), ours.bfloat16(), theirs.bfloat16()
    out, of_input, of_weight = trained(ours, x, autocast=autocast)
    their_out, their_of_input, their_of_weight = trained(theirs, x, autocast=autocast)
    _, exact_of_input, _ = trained(exact, x.bfloat16().double(), autocast=False, gradient_dtype=out.dtype)
    torch.testing.assert_close(out, their_out, rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(of_weight, their_of_weight, rtol=2**-7, atol=2**-7)
    assert of_input.dtype == their_of_input.dtype
    torch.testing.assert_close(of_input.double(), exact_of_input, rtol=2**-8, atol=1e-5)


def test_only_training_in_bf16_takes_the_other_way() -> None:
    layer = StridedDepthwiseConv2d(8, 8, 3, 2, 1, groups=8, bias=False)
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert "AmongZeros" in type(layer(x).grad_fn).__name__
        with torch.no_grad():
            assert layer(x).grad_fn is None
    assert "AmongZeros" not in type(layer(x).grad_fn).__name__


class Padding(nn.Conv2d):
    """Might pad by itself."""


STRIDED = {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 8, "bias": False}


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_size": 2},
        {"kernel_size": (3, 2)},
        {"padding": 0},
        {"padding": "valid"},
        {"dilation": 2},
        {"stride": 1},
        {"groups": 4},
        {"bias": True},
        {"padding_mode": "reflect"},
    ],
    ids=str,
)
def test_every_other_convolution_is_left_to_pytorch(other) -> None:
    """An even kernel too: it has no middle."""
    assert is_strided_depthwise(nn.Conv2d(8, 8, **STRIDED))
    assert not is_strided_depthwise(nn.Conv2d(8, 8, **(STRIDED | other)))
    assert not is_strided_depthwise(nn.Conv2d(8, 16, **STRIDED))
    assert not is_strided_depthwise(Padding(8, 8, **STRIDED))
