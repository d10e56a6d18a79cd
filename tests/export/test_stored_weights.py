"""Stored weights are the model's, rounded: decided element by element, to the bit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from export.packages import SIDE, convert, problems
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.reference import FP32_ERROR, Weight
from mvlab.export.stored_weights import KEPT_FROM_ZERO, SMALLEST, is_rounding
from mvlab.export.verify import verify
from mvlab.models.plausible import plausible

FP16_BITS = 16
NUM_ELEMENTS = 16 * 3 * 3 * 3
PICTURES = synthetic(2)
assert NUM_ELEMENTS >= KEPT_FROM_ZERO


def stored_as(bits: int, count: int = KEPT_FROM_ZERO) -> torch.Tensor:
    return torch.from_numpy(np.full(count, bits, np.uint16).view(np.float16))


def filled(value: float, count: int = KEPT_FROM_ZERO) -> torch.Tensor:
    return torch.full((count,), value)


@given(true=st.floats(-65504, 65504, width=32), steps=st.integers(-2, 2))
def test_only_the_nearest_number_may_stand_for_a_weight(true: float, steps: int) -> None:
    nearest = int(np.float16(true).view(np.uint16))
    bits = (nearest + steps) % 2**FP16_BITS
    assert is_rounding(stored_as(bits), Weight("w", filled(true))) == (bits == nearest)


@given(bit=st.integers(0, FP16_BITS - 1), true=st.sampled_from([0.0, -0.0, 1e-8, 6e-8, 2.0**-15, 1.0]))
def test_no_bit_may_be_flipped_in_any_weight(bit: int, true: float) -> None:
    bits = int(np.float16(true).view(np.uint16)) ^ (1 << bit)
    assert not is_rounding(stored_as(bits), Weight("w", filled(true)))


@pytest.mark.parametrize("sign", [1, -1])
def test_in_small_tensors_what_would_become_zero_may_be_kept_from_it(sign: int) -> None:
    tiny, zero = Weight("w", filled(sign * 1e-8, 3)), Weight("w", filled(0.0, 3))
    for steps, is_allowed in ((-1, False), (0, True), (1, True), (2, False)):
        stored = (sign * filled(steps * SMALLEST, 3)).half()
        assert is_rounding(stored, tiny) == is_allowed
        assert is_rounding(stored, zero) == (steps == 0 and sign > 0)


@given(true=st.floats(-100, 100, width=32), sign=st.sampled_from([-1, 1]))
def test_what_a_converter_computes_may_be_off_by_its_error(true: float, sign: int) -> None:
    values = filled(true).double()
    weight = Weight("w", values, FP32_ERROR * values.abs())
    assert is_rounding((values * (1 + sign * 0.9 * FP32_ERROR)).half(), weight)
    assert is_rounding((values * (1 + sign * 0.1 * FP32_ERROR)).float(), weight)
    if abs(true) > 1e-3:
        assert not is_rounding((values * (1 + sign * 3 * FP32_ERROR)).float(), weight)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with BatchNorm"])
def pruned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A convolution with zeros among its weights, and its package."""
    norm = [nn.BatchNorm2d(16)] if request.param else []
    model = plausible(nn.Sequential(nn.Conv2d(3, 16, 3), *norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1)), SIDE)
    with torch.no_grad():
        model[0].weight[5, 1] = 0.0
    return model, convert(model, tmp_path_factory.mktemp("pruned") / "m.mlpackage")


def test_pruned_weights_are_verified(pruned: tuple[nn.Module, Path]) -> None:
    model, package = pruned
    found = verify(package, model, PICTURES, bisect=False)
    assert found.passed, problems(found)
    assert found.foreign == ()


@pytest.mark.parametrize("bits", [1, 1 << 7, 1 << 15, int(np.float16(2.4e-4).view(np.uint16))])
def test_a_zero_that_is_stored_as_anything_else_is_caught(tmp_path: Path, pruned, bits: int) -> None:
    """2.4e-4 is half a unit in the last place of 1, which says nothing about 0."""
    model, package = pruned
    stored = next(
        each for each in load_program(package).constants.values() if getattr(each, "shape", ()) == (16, 3, 3, 3)
    )
    path = Path(shutil.copytree(package, tmp_path / "m.mlpackage"))
    weights = next(path.glob("Data/*/weights/weight.bin"))
    content = bytearray(weights.read_bytes())
    changed = stored.numpy().copy()
    assert not changed[5, 1].view(np.uint16).any() & 0x7FFF
    changed.view(np.uint16)[5, 1, 2, 2] ^= bits
    place = content.index(stored.numpy().tobytes())
    content[place : place + changed.nbytes] = changed.tobytes()
    weights.write_bytes(bytes(content))
    said = problems(verify(path, model, PICTURES, bisect=False))
    assert "weight 0.weight" in said
    assert f"with 1 of {NUM_ELEMENTS} elements changed" in said


class Blocks(nn.Module):
    """Convolutions with BatchNorm. Where values are read before the norm too, it is an operation of its own."""

    def __init__(self, norm: Callable[[], nn.BatchNorm2d], *, apart: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolutions = nn.ModuleList(nn.Conv2d(3, 3, 3, groups=3, padding=1, bias=False) for _ in range(8))
        self.norms = nn.ModuleList(norm() for _ in self.convolutions)
        self.apart = apart
        for convolution in self.convolutions:
            weight = torch.randn(convolution.weight.shape, generator=generator)
            convolution.weight.data = weight.half().float()  # a change by a hundredth of an fp16 step is rounded away

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y_BCHW = convolution(x_BCHW)
            x_BCHW = norm(y_BCHW) + (y_BCHW.clamp(0, 1) if self.apart else 0)
        return x_BCHW


def untrained() -> nn.BatchNorm2d:
    """BatchNorm that divides by (1 + 1e-5) ** 0.5: fp16 does not tell a weight from its product with this."""
    return nn.BatchNorm2d(3)


@pytest.mark.parametrize("apart", [False, True], ids=["folded", "apart"])
def test_weights_that_fp16_does_not_tell_apart_are_those_of_the_programs_operation(tmp_path: Path, apart: bool) -> None:
    model = Blocks(untrained, apart=apart).eval()
    package = convert(model, tmp_path / "m.mlpackage")
    kinds = [each.kind for each in load_program(package).operations]
    assert kinds.count("batch_norm") == (8 if apart else 0)
    found = verify(package, model, PICTURES, bisect=False)
    assert found.passed, problems(found)
    assert max(each.exact for each in found.outputs) < 1e-5  # the wrong ones: 2e-4
