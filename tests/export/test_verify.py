"""A package that does what its model does is verified, and one that does not, is not: proved by mutation."""

import copy
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from export.packages import (
    CLASSES,
    NANO_MOBILEVIT,
    PREPROCESSING,
    SIDE,
    changed,
    convert,
    network,
    operations,
    without_scale,
)
from torch import nn

from mvlab.export import losses
from mvlab.export.coreml import Target, export_package
from mvlab.export.errors import PackageError
from mvlab.export.mil.execute import in_fp32, run
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.verification import EXACT_TOLERANCE, Verification
from mvlab.export.verify import as_prepared, verify
from mvlab.models import layers
from mvlab.models.plausible import plausible
from mvlab.networks import AnyNetworkConfig, DeepLabv3Config, SSDLiteConfig, TimmConfig

PICTURES = synthetic(3)
IMAGENET = replace(PREPROCESSING, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CLASSIFIER = Target(task="classification", resolutions=(SIDE,), preprocessing=PREPROCESSING, classes=CLASSES)


def problems(verification: Verification) -> str:
    assert not verification.passed
    return "\n".join(verification.problems())


# --- what is right passes


def test_a_package_is_verified_to_fp32s_accuracy_although_it_stores_fp16(package: Path, model: nn.Module) -> None:
    found = verify(package, model, PICTURES)
    assert found.passed
    assert [each.output for each in found.outputs] == ["logits", "probabilities"]
    logits, _ = found.outputs
    assert logits.exact < EXACT_TOLERANCE / 5 < 1e-3 < logits.relative, "fp16 costs more than the program may err"
    assert logits.mean_abs < logits.max_abs == pytest.approx(logits.relative * logits.spread)
    assert logits.top1_agreement == 1
    assert (found.precision, found.num_images, found.foreign, found.changed) == ("fp16", 3, (), ())
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert found.num_weights > 2 * convolutions
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["passed"] is True


NETWORKS: dict[str, tuple[AnyNetworkConfig, int]] = {
    "resized patches": (replace(NANO_MOBILEVIT, patch_sizes=(3, 3, 3)), SIDE),
    "ssdlite": (SSDLiteConfig(backbone=NANO_MOBILEVIT), 96),
    "deeplabv3": (DeepLabv3Config(backbone=NANO_MOBILEVIT), 96),
    "class token, gelu": (TimmConfig(name="pit_ti_224", image_size=64), SIDE),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_verified(tmp_path: Path, name: str) -> None:
    config, side = NETWORKS[name]
    model = network(config, side)
    found = verify(convert(model, tmp_path / "m.mlpackage", side=side), model, synthetic(2), bisect=False)
    assert found.passed, problems(found)
    assert max(each.exact for each in found.outputs) < EXACT_TOLERANCE / 2
    assert found.foreign == ()


class Mobile(nn.Module):
    """What MobileNetv3 and ShuffleNetv2 have besides convolutions: hard activations, gates, exchanged channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, bias=False), nn.BatchNorm2d(16), nn.Hardswish(inplace=True))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
        self.last = nn.Conv2d(16, 8, 3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        batch, channels, height, width = x.shape
        halves = (x * self.gate(x)).reshape(batch, 2, channels // 2, height, width)
        return self.last(halves.transpose(1, 2).reshape(x.shape))


def test_what_mobile_cnns_have_besides_is_verified(tmp_path: Path) -> None:
    model = plausible(Mobile(), SIDE)
    found = verify(convert(model, tmp_path / "m.mlpackage"), model, PICTURES)
    assert found.passed, problems(found)
    assert max(each.exact for each in found.outputs) < EXACT_TOLERANCE / 2


def test_weights_that_are_almost_zero_are_stored_as_the_smallest_number_that_is_not(tmp_path: Path) -> None:
    """As weight decay leaves those of channels that nothing needs; coremltools does so with small tensors."""
    model = plausible(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)), SIDE)
    with torch.no_grad():
        model[0].weight[3] = torch.tensor([1e-8, -1e-8, 3e-8]).reshape(3, 1, 1)
    path = convert(model, tmp_path / "m.mlpackage")
    stored = [each for each in load_program(path).constants.values() if getattr(each, "shape", ()) == (8, 3, 1, 1)]
    assert stored[0][3].flatten().tolist() == [2**-24, -(2**-24), 2**-24]
    assert verify(path, model, PICTURES).passed


class Positions(nn.Module):
    """Attention over positions that is the same for every image, as in ConViT: a converter stores its result."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("distances", torch.cdist(*[torch.arange(64.0).reshape(64, 1)] * 2))
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.classifier = nn.Linear(3 * 64, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attention = (-self.sharpness * self.distances).softmax(1)
        return self.classifier((nn.functional.adaptive_avg_pool2d(x, 8).flatten(2) @ attention).flatten(1))


def test_what_a_model_computes_of_its_weights_alone_is_known_where_a_package_stores_it(tmp_path: Path) -> None:
    model = plausible(Positions(), SIDE)
    found = verify(convert(model, tmp_path / "m.mlpackage"), model, PICTURES)
    assert found.passed, problems(found)
    assert found.foreign == ()


def test_probabilities_of_scores_far_apart_are_held_against_these_scores(tmp_path: Path) -> None:
    """As of a network that is sure of one of many classes: what fp16 costs its logits, it must not pay for twice."""
    classes = tuple(f"class {number}" for number in range(1000))
    model = plausible(nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, len(classes))), SIDE)
    with torch.no_grad():
        model[-1].weight *= 24
    path = tmp_path / "m.mlpackage"
    export_package(model, path, replace(CLASSIFIER, preprocessing=replace(PREPROCESSING, resize=None), classes=classes))
    found = verify(path, model, PICTURES, tolerance=0.05)
    _, probabilities = found.outputs
    assert probabilities.max_abs > 0.05 * probabilities.spread
    assert found.passed, problems(found)


def test_other_precisions_and_targets_are_verified(tmp_path: Path, model: nn.Module) -> None:
    options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS18}
    path = convert(model, tmp_path / "m.mlpackage", **options)
    assert any(each.kind == "scaled_dot_product_attention" for each in load_program(path).operations)
    found = verify(path, model, PICTURES)
    assert found.passed
    assert found.precision == "fp32"
    assert found.losses_by_operation == ()
    assert max(each.relative for each in found.outputs) < EXACT_TOLERANCE


@pytest.fixture(scope="module")
def shallow() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, len(CLASSES), 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return plausible(nn.Sequential(*layers), SIDE)


@pytest.mark.parametrize("preprocessing", [IMAGENET, replace(PREPROCESSING, channels="bgr")], ids=["ImageNet", "BGR"])
def test_other_preprocessing_is_verified_against_weights_made_for_it(tmp_path: Path, shallow, preprocessing) -> None:
    path = tmp_path / "m.mlpackage"
    export_package(shallow, path, replace(CLASSIFIER, preprocessing=preprocessing))
    found = verify(path, shallow, PICTURES, preprocess=as_prepared(preprocessing))
    assert found.passed, problems(found)
    assert found.foreign == ()
    assert not verify(path, shallow, PICTURES).passed


def test_every_function_of_a_package_for_several_sizes_is_verified(tmp_path: Path, shallow: nn.Module) -> None:
    path = tmp_path / "m.mlpackage"
    export_package(shallow, path, replace(CLASSIFIER, resolutions=(32, 48)))
    found = verify(path, shallow, PICTURES)
    assert found.passed, problems(found)
    assert {each.size for each in found.outputs} == {(32, 32), (48, 48)}
    assert len({each.function for each in found.outputs}) == 2


class Boxes(nn.Module):
    """A detector's outputs: for each of a few boxes four offsets and the scores of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Conv2d(3, 4 + 3, 8, stride=16)

    def forward(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        predicted = self.predict(images_BCHW).flatten(2).transpose(1, 2)
        return predicted[..., :4], predicted[..., 4:]


def test_only_scores_can_agree_about_the_best_class(tmp_path: Path) -> None:
    path, detector = tmp_path / "m.mlpackage", Boxes().eval()
    export_package(detector, path, replace(CLASSIFIER, task="detection", classes=("a", "b")))
    found = verify(path, detector, PICTURES)
    assert found.passed, problems(found)
    agreements = {each.output: each.top1_agreement for each in found.outputs}
    assert agreements == {"box_offsets": None, "class_logits": 1}


# --- what was changed is caught


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
    with pytest.raises(PackageError, match=r"shape \(3, 10\), the model \(3, 7\).*have not the same classes"):
        verify(package, other, PICTURES)

    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(PackageError, match=r"1 outputs \(.*\), the model 2"):
        verify(package, Two(), PICTURES)


# --- what fp16 costs


def test_losses_are_those_of_rounding_one_operation(package: Path) -> None:
    program = load_program(package)
    image = PICTURES(SIDE, SIDE)[0]
    exact = run(program, image, rounds=in_fp32)
    result = next(each.name for each in reversed(program.operations) if each.kind == "linear")
    by_operation = losses.by_operation(program, exact, result)
    assert [each.error for each in by_operation] == sorted((each.error for each in by_operation), reverse=True)
    assert not {"reshape", "transpose", "split", "concat"} & {each.kind for each in by_operation}
    true = exact[result]
    assert isinstance(true, torch.Tensor)
    for loss in (by_operation[0], by_operation[len(by_operation) // 2]):
        alone = run(program, image, rounds=lambda operation, name=loss.name: operation.name == name)[result]
        assert isinstance(alone, torch.Tensor)
        assert float((alone - true).abs().max() / true.std(correction=0)) == pytest.approx(loss.error, rel=1e-6)
    by_kind = losses.by_kind(program, exact, result)
    assert sum(each.num_operations for each in by_kind) == len(by_operation)
