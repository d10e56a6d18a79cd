"""The quick gradient of a strided depthwise convolution is the one PyTorch computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mvlab.models.depthwise import StridedDepthwiseConv2d


def trained(layer: nn.Conv2d, x_BCHW: Tensor, *, autocast: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Output, the input's gradient and the weights' gradient."""
    x = x_BCHW.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(x)
    generator = torch.Generator().manual_seed(1)
    gradients = torch.autograd.grad(out, (x, layer.weight), torch.randn(out.shape, generator=generator).to(out.dtype))
    return (out.detach(), *gradients)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    autocast=st.booleans(),
)
def test_gradients_are_pytorchs(
    height: int, width: int, kernel_size: int, stride: int, dilation: int, autocast: bool
) -> None:
    torch.manual_seed(0)
    ours = StridedDepthwiseConv2d(8, kernel_size, stride=stride, dilation=dilation)
    padding = dilation * (kernel_size // 2)
    theirs = nn.Conv2d(8, 8, kernel_size, stride, padding, dilation, groups=8, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, height, width)
    if not autocast:
        x, ours, theirs = x.bfloat16(), ours.bfloat16(), theirs.bfloat16()
    for one, other in zip(trained(ours, x, autocast=autocast), trained(theirs, x, autocast=autocast), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=2**-7, atol=2**-7)


def test_only_training_in_bf16_takes_the_other_way() -> None:
    layer, x = StridedDepthwiseConv2d(8, 3, stride=2), torch.randn(1, 8, 6, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert "AmongZeros" in type(layer(x).grad_fn).__name__
        with torch.no_grad():
            assert layer(x).grad_fn is None
    assert "AmongZeros" not in type(layer(x).grad_fn).__name__


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="use an odd one"):
        StridedDepthwiseConv2d(8, 2, stride=2)
