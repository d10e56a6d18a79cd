"""Batch normalisation and SiLU in one: PyTorch's numbers, there and back, in fewer passes."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mvlab.models.backbones.layers import ConvNormAct
from mvlab.models.cpu import norm_silu as module
from mvlab.models.cpu.norm_silu import norm_silu, takes
from mvlab.models.cpu.optimize import optimize

ROUNDED = 0.05
"""Times the bound of 1e-5: four units in the last place of a float32, 5e-7."""


@pytest.fixture(autouse=True)
def _however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTHWHILE", 1)


def map_of(*shape: int, mean: float = 0.5, std: float = 2.0) -> Tensor:
    """(B, C, H, W), channels last."""
    generator = torch.Generator().manual_seed(sum(shape))
    return (mean + std * torch.randn(shape, generator=generator)).to(memory_format=torch.channels_last)


def norm_of(num_channels: int) -> nn.BatchNorm2d:
    generator = torch.Generator().manual_seed(num_channels)
    norm = nn.BatchNorm2d(num_channels)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1.0, 0.5, generator=generator)
    return norm


def factors_of(out_BCHW: Tensor) -> Tensor:
    """Gradient that comes to the output: random, the same for every precision."""
    return torch.randn(out_BCHW.shape, generator=torch.Generator().manual_seed(1)).to(out_BCHW.dtype)


def trained(norm: nn.BatchNorm2d, x_BCHW: Tensor, *, fused: bool) -> list[Tensor]:
    """Output, the gradients of input, weight and bias, and the running mean and variance."""
    x = x_BCHW.detach().requires_grad_()
    out = norm_silu(norm, x) if fused else F.silu(norm(x))
    gradients = torch.autograd.grad(out, [x, *norm.parameters()], factors_of(out))
    assert norm.num_batches_tracked == 1
    return [out.detach(), *gradients, norm.running_mean, norm.running_var]


def largest_errors(x_BCHW: Tensor, norm: nn.BatchNorm2d, *, fused: bool) -> list[float]:
    """Return the largest error of each result against float64, as a part of the largest number in it.

    Gradients of weight and bias are sums over all pixels, and may cancel to almost nothing. Their terms are rounded
    all the same: to the largest number comes ROUNDED of the largest sum of magnitudes.
    """
    exact = trained(copy.deepcopy(norm).double(), x_BCHW.double(), fused=False)
    ours = trained(copy.deepcopy(norm), x_BCHW, fused=fused)
    sizes = [result.abs().max() for result in exact]
    for index, summed in enumerate(magnitudes(copy.deepcopy(norm).double(), x_BCHW.double()), start=2):
        sizes[index] += ROUNDED * summed.detach().max()
    errors = ((one - other).abs().max() for one, other in zip(ours, exact, strict=True))
    return [float(error / size) for error, size in zip(errors, sizes, strict=True)]


def magnitudes(norm: nn.BatchNorm2d, x_BCHW: Tensor) -> list[Tensor]:
    """Sums over all pixels of the magnitudes that the gradients of weight and bias are sums of. Each is (C)."""
    y = norm(x_BCHW).detach().requires_grad_()
    (of_y,) = torch.autograd.grad(F.silu(y), y, factors_of(y))
    whole = norm.weight.reshape(-1, 1, 1), norm.bias.reshape(-1, 1, 1)
    normed = (y - whole[1]) / whole[0]
    return [(of_y * factor).abs().sum(dim=(0, 2, 3)) for factor in (normed, torch.ones_like(normed))]


@settings(max_examples=60)
@given(
    batch=st.integers(1, 5),
    num_channels=st.one_of(st.integers(1, 40), st.sampled_from([64, 96, 513])),
    height=st.integers(2, 33),
    width=st.integers(2, 17),
)
def test_numbers_are_pytorchs(batch: int, num_channels: int, height: int, width: int) -> None:
    x, norm = map_of(batch, num_channels, height, width), norm_of(num_channels)
    assert max(largest_errors(x, norm, fused=True)) < 1e-5


@settings(max_examples=40)
@given(
    offset=st.sampled_from([0.0, 1.0, -30.0, 1e3, -1e4, 1e5]),
    deviation=st.sampled_from([1e-3, 1.0, 1e3, 1e9]),
    outlier=st.sampled_from([0.0, 5.0, 50.0, -1e3, 1e6]),
    start=st.integers(0, 40),
    step=st.sampled_from([1, 2, 4, 7, 64, 1 << 20]),
)
@example(offset=0.0, deviation=1.0, outlier=50.0, start=0, step=1 << 20)
@example(offset=0.0, deviation=1.0, outlier=1e3, start=0, step=4)
def test_wherever_numbers_lie_none_loses_digits(
    offset: float, deviation: float, outlier: float, start: int, step: int
) -> None:
    """E(x^2) - E(x)^2 would, beside a mean that is large or around a pivot that is an outlier.

    The first pixel alone may be an outlier, some pixels, or half of them. Units are standard deviations.
    """
    x, norm = map_of(5, 64, 34, 16, mean=offset, std=1.0), norm_of(64)
    x.permute(0, 2, 3, 1).view(-1, 64)[start::step] += outlier
    assert max(largest_errors(deviation * x, norm, fused=True)) < 1e-5


def test_large_numbers_stay_finite() -> None:
    """Where exp alone would not."""
    x, norm = map_of(2, 16, 8, 8), norm_of(16)
    with torch.no_grad():
        norm.weight *= 1e3
    assert max(largest_errors(x, norm, fused=True)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_number_that_is_none_stays_none(dtype: torch.dtype) -> None:
    """Training that diverged has to be seen."""
    x = map_of(2, 16, 8, 8).to(dtype)
    x[1, 3, 4, 4] = torch.nan
    ours, theirs = (trained(norm_of(16), x, fused=fused) for fused in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
        assert one.isnan().any()


def test_bf16_is_pytorchs_to_its_rounding() -> None:
    x, norm = map_of(3, 48, 20, 12).bfloat16(), norm_of(48)
    ours, theirs = (trained(copy.deepcopy(norm), x, fused=fused) for fused in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert (one.float() - other.float()).abs().max() <= 2**-6 * other.float().abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bits_depend_on_no_number_of_threads(dtype: torch.dtype) -> None:
    x, before = map_of(4, 24, 50, 50).to(dtype), torch.get_num_threads()
    results = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        results.append(trained(norm_of(24), x, fused=True))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for one, other in zip(results[0] * 2, [*results[1], *results[2]], strict=True):
        assert torch.equal(one, other)


def test_pytorch_keeps_its_number_of_threads() -> None:
    """Numba, which starts as many as there are processors, would change it."""
    code = (
        "import torch; from torch import nn; from mvlab.models.cpu.norm_silu import norm_silu\n"
        "x = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)\n"
        "norm_silu(nn.BatchNorm2d(16), x); print(torch.get_num_threads())"
    )
    run = [sys.executable, "-c", code]
    ended = subprocess.run(run, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1"]


def test_less_is_kept_for_the_way_back() -> None:
    """A map, where PyTorch keeps two."""
    x, kept = map_of(2, 16, 32, 32).requires_grad_(), {}
    for fused in (True, False):
        norm, numbers = norm_of(16), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=numbers: to.append(t.numel()) or t, lambda t: t):
            norm_silu(norm, x) if fused else F.silu(norm(x))
        kept[fused] = sum(size for size in numbers if size == x.numel())
    assert kept == {True: x.numel(), False: 2 * x.numel()}


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "autocast"])
def test_a_layer_is_what_its_parts_are(autocast: bool) -> None:
    torch.manual_seed(0)
    ours = optimize(ConvNormAct(8, 16, 3)).to(memory_format=torch.channels_last)
    parts = nn.Sequential(*copy.deepcopy(list(ours)))
    x = map_of(2, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert type(ours(x).grad_fn).__name__ == "_NormSiLUBackward"
        assert "Silu" in type(parts(x).grad_fn).__name__
        torch.testing.assert_close(ours(x), parts(x), rtol=2**-6 if autocast else 1e-5, atol=1e-5)
    assert ours.state_dict().keys() == parts.state_dict().keys()


def test_whatever_it_does_not_compute_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, silu, x = norm_of(16), nn.SiLU(), map_of(2, 16, 8, 8)
    assert takes([norm, silu], x)
    assert not takes([norm], x)
    assert not takes([norm, nn.ReLU()], x)
    assert not takes([nn.SyncBatchNorm(16), silu], x)
    assert not takes([nn.BatchNorm2d(16, affine=False), silu], x)
    assert not takes([nn.BatchNorm2d(16, momentum=None), silu], x)
    assert not takes([nn.BatchNorm2d(16, track_running_stats=False), silu], x)
    assert not takes([norm, silu], x.double())
    assert not takes([norm, silu], x.contiguous())
    assert not takes([norm, silu], x.to("meta"))
    assert not takes([norm_of(16).eval(), silu], x)
    assert not takes([norm_of(16).bfloat16(), silu], x.bfloat16())
    handle = silu.register_forward_hook(lambda *_: None)
    assert not takes([norm, silu], x)
    handle.remove()
    monkeypatch.setattr(module, "WORTHWHILE", x.numel() + 1)
    assert not takes([norm, silu], x)


def test_what_is_compiled_shows_pytorchs_operations() -> None:
    layer = optimize(ConvNormAct(8, 16, 3)).to(memory_format=torch.channels_last)
    program = torch.export.export(layer, (map_of(2, 8, 16, 16),))
    assert "silu" in str(program.graph)
