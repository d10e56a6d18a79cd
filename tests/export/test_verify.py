"""A package that does what its model does is verified, whatever the network, its precision and its preprocessing."""

import json
from dataclasses import replace
from pathlib import Path

import coremltools as ct
import pytest
import torch
from export.packages import (
    CLASSES,
    NANO_MOBILEVIT,
    PREPROCESSING,
    SIDE,
    convert,
    network,
    problems,
)
from torch import nn

from mvlab.export import rounding_error as losses
from mvlab.export.coreml import Target, export_package
from mvlab.export.mil.execute import run, unrounded
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.verification import EXACT_TOLERANCE
from mvlab.export.verify import as_prepared, verify
from mvlab.models.plausible import plausible
from mvlab.networks import DeepLabv3Config, NetworkConfig, SSDLiteConfig, TimmConfig

PICTURES = synthetic(3)
IMAGENET = replace(PREPROCESSING, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CLASSIFIER = Target(task="classification", resolutions=(SIDE,), preprocessing=PREPROCESSING, classes=CLASSES)


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


NETWORKS: dict[str, tuple[NetworkConfig, int]] = {
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


@pytest.mark.parametrize("is_wrong", [False, True])
def test_rounding_errors_of_fp32_are_no_mistakes_of_the_program(tmp_path: Path, is_wrong: bool) -> None:
    """A large bias that the next layer takes away: fp32 loses more than the tolerance, and float64 tells a mistake."""
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    for layer, bias in ((first, 2.0**13), (second, -(2.0**13))):
        nn.init.dirac_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    network = nn.Sequential(first, nn.ReLU(), second).eval()
    path = convert(network, tmp_path / "m.mlpackage", compute_precision=ct.precision.FLOAT32)
    if is_wrong:
        nn.init.constant_(second.bias, -(2.0**13) + 2.0**-11)  # the next number of fp32
    found = verify(path, network, PICTURES)
    (output,) = found.outputs
    assert output.relative > EXACT_TOLERANCE, "fp32 alone cannot tell"
    assert (output.exact > EXACT_TOLERANCE) == is_wrong
    assert found.passed != is_wrong


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


# --- what fp16 costs


def test_losses_are_those_of_rounding_one_operation(package: Path) -> None:
    program = load_program(package)
    image = PICTURES(SIDE, SIDE)[0]
    exact = run(program, image, rounds=unrounded)
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
