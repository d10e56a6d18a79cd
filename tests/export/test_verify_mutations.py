"""A package that does not do what its model does is not verified, and it is told why: proved by mutation."""

import copy
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from export.packages import (
    changed,
    network,
    operations,
    problems,
    without_scale,
)
from torch import nn

from mvlab.export.errors import PackageError
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.verification import EXACT_TOLERANCE
from mvlab.export.verify import verify
from mvlab.models.backbones import layers

PICTURES = synthetic(3)


def test_a_changed_bit_of_any_weight_is_caught_and_named(tmp_path: Path, package: Path, model: nn.Module) -> None:
    blob = load_program(package).constants["const_275_to_fp16"]
    assert isinstance(blob, torch.Tensor)
    for bit in (0, 9, 14):  # of fp16: the last of the fraction, the first of it, the exponent
        path = Path(shutil.copytree(package, tmp_path / f"{bit}.mlpackage"))
        weights = next(path.glob("Data/*/weights/weight.bin"))
        content = bytearray(weights.read_bytes())
        stored = blob.numpy().tobytes()
        place = content.index(stored) + 2 * 17
        (value,) = struct.unpack_from("<H", content, place)
        struct.pack_into("<H", content, place, value ^ (1 << bit))
        weights.write_bytes(bytes(content))
        found = verify(path, model, PICTURES)
        assert "stem.0.weight with BatchNorm is stored as const_275_to_fp16 with 1 of 216" in problems(found)


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
def test_a_wrong_epsilon_of_layer_norm_is_caught(tmp_path: Path, package: Path, model: nn.Module, eps: float) -> None:
    """1e-6 hardly moves an output; it is caught all the same."""

    def change(spec) -> None:
        steps = {each.outputs[0].name: each for each in operations(spec)}
        for each in steps.values():
            if each.type == "layer_norm":
                epsilon = steps[each.inputs["epsilon"].arguments[0].name]
                epsilon.attributes["val"].immediateValue.tensor.bytes.values = np.float16(eps).tobytes()

    found = verify(changed(package, tmp_path / "eps.mlpackage", change), model, PICTURES)
    assert f"has epsilon {eps:.1e}" in problems(found)
    if eps == 1e-3:
        assert found.first_inexact is not None
        assert found.first_inexact.kind == "layer_norm"


def test_a_wrong_epsilon_of_batch_norm_is_caught_although_it_is_folded(package: Path, model: nn.Module) -> None:
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    found = verify(package, other, PICTURES)
    assert "more weights are stored changed" in problems(found) or found.foreign
    assert max(each.exact for each in found.outputs) > 10 * EXACT_TOLERANCE


def test_a_swapped_order_of_patches_is_caught_where_it_happens(
    tmp_path: Path, package: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of a patch attend to each other, in place of those at one place of all patches."""

    def change(spec) -> None:
        steps = {each.outputs[0].name: each for each in operations(spec)}
        wanted = next(
            each
            for each in steps.values()
            if each.type == "transpose"
            and [d.constant.size for d in each.outputs[0].type.tensorType.dimensions][1] == 4
        )
        perm = steps[wanted.inputs["perm"].arguments[0].name]
        perm.attributes["val"].immediateValue.tensor.ints.values[:] = [0, 1, 2, 3]
        shape = [d.constant.size for d in wanted.outputs[0].type.tensorType.dimensions]
        for dimension, size in zip(wanted.outputs[0].type.tensorType.dimensions, _swap(shape), strict=True):
            dimension.constant.size = size

    found = verify(changed(package, tmp_path / "order.mlpackage", change), model, PICTURES)
    assert found.first_inexact is not None
    assert found.first_inexact.kind in ("transpose", "reshape")
    assert "logits at 64x64 is off by" in problems(found)
    assert problems(found).count("of its spread in float64") == 1, "the softmax of wrong logits is their softmax"

    def other_unfold(x_BCHW: torch.Tensor, patch: int) -> torch.Tensor:
        return layers_unfold(x_BCHW, patch).flip(0)

    layers_unfold = layers.unfold
    monkeypatch.setattr(layers, "unfold", other_unfold)
    assert not verify(package, copy.deepcopy(model), PICTURES).passed


def _swap(shape: list[int]) -> list[int]:
    return [shape[0], shape[2], shape[1], *shape[3:]]


def blue_first(spec) -> None:
    spec.description.input[0].type.imageType.colorSpace = 30


@pytest.mark.parametrize(
    ("change", "remedy"), [(without_scale, "255 times as bright"), (blue_first, "with red and blue exchanged")]
)
def test_a_dropped_preprocessing_step_is_caught_and_explained(
    tmp_path: Path, package: Path, model: nn.Module, change: Callable, remedy: str
) -> None:
    found = verify(changed(package, tmp_path / "m.mlpackage", change), model, PICTURES)
    assert f"exact for a model that gets images {remedy}" in problems(found)


def test_a_wrong_softmax_is_caught_although_the_logits_are_right(tmp_path: Path, package: Path, model) -> None:
    def change(spec) -> None:
        steps = {each.outputs[0].name: each for each in operations(spec)}
        softmax = next(each for each in reversed(operations(spec)) if each.type == "softmax")
        axis = steps[softmax.inputs["axis"].arguments[0].name]
        axis.attributes["val"].immediateValue.tensor.ints.values[:] = [0]

    found = verify(changed(package, tmp_path / "softmax.mlpackage", change), model, PICTURES)
    logits, probabilities = found.outputs
    assert logits.exact < EXACT_TOLERANCE < 0.5 < probabilities.max_abs
    assert problems(found).startswith("probabilities at 64x64 is off by")


def test_weights_of_another_run_are_caught_from_the_first_convolution_on(package: Path) -> None:
    found = verify(package, network(seed=1), PICTURES)
    assert found.first_inexact is not None
    assert (found.first_inexact.kind, found.first_inexact.place) == ("conv", 3)
    assert len(found.foreign) > 50


def test_a_tolerance_below_what_fp16_costs_fails_and_names_the_first_operation_past_it(package, model) -> None:
    found = verify(package, model, PICTURES, tolerance=1e-3)
    assert "as fp16; 0.001 is allowed" in problems(found)
    assert found.first_inexact is None
    assert found.first_imprecise is not None
    assert found.first_imprecise.error > 1e-3


def test_another_number_of_classes_or_outputs_is_refused(package: Path, model: nn.Module) -> None:
    other = copy.deepcopy(model)
    other.classifier = nn.Linear(192, 7)
    with pytest.raises(PackageError, match=r"shape \(3, 10\), the model \(3, 7\).*do not have the same classes"):
        verify(package, other, PICTURES)

    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(PackageError, match=r"1 outputs \(.*\), the model 2"):
        verify(package, Two(), PICTURES)
