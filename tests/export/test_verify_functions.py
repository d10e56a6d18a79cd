"""What is changed in one function of a package for several sizes is caught, and told with that function's name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.packages import CLASSES, PREPROCESSING, changed, operations
from torch import Tensor, nn

from mvlab.export.coreml import Target, export_package
from mvlab.export.pictures import synthetic
from mvlab.export.verification import Verification
from mvlab.export.verify import verify
from mvlab.models.plausible import plausible

SIDES = (32, 48)
LATER = "size_48"
TARGET = Target(task="classification", resolutions=SIDES, preprocessing=PREPROCESSING, classes=CLASSES)


class Tokens(nn.Module):
    """A LayerNorm over the channels of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4)
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, len(CLASSES))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        tokens_BNC = self.stem(images_BCHW).flatten(2).transpose(1, 2)
        logits: Tensor = self.classifier(self.norm(tokens_BNC).mean(dim=1))
        return logits


class Coarse(nn.Module):
    """What fp16 leaves of its scores is less the larger the image is."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, len(CLASSES), 3)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        offset = 2.0 ** ((images_BCHW.shape[-1] - SIDES[0]) // 2)
        scores: Tensor = self.scores(images_BCHW).mean(dim=(2, 3))
        return (scores + offset) - offset


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return plausible(Tokens(), SIDES[0])


@pytest.fixture(scope="module")
def package(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "tokens.mlpackage"
    export_package(model, path, TARGET)
    return path


def steps(spec: Any) -> dict[str, Any]:
    """Of the later function, by the name of what they give."""
    return {each.outputs[0].name: each for each in operations(spec, LATER)}


def argument(spec: Any, kind: str, name: str) -> Any:
    """The constant that the first operation of a kind has as its argument `name`."""
    found = next(each for each in steps(spec).values() if each.type == kind)
    return steps(spec)[found.inputs[name].arguments[0].name].attributes["val"].immediateValue.tensor.bytes


def other_epsilon(spec: Any) -> None:
    argument(spec, "layer_norm", "epsilon").values = np.float16(1e-6).tobytes()


def other_bias(spec: Any) -> None:
    bias = argument(spec, "conv", "bias")
    values = np.frombuffer(bias.values, np.float16).copy()
    values[3] += 1
    bias.values = values.tobytes()


def gamma_for_beta(spec: Any) -> None:
    inputs = next(each for each in steps(spec).values() if each.type == "layer_norm").inputs
    gamma, beta = (inputs[name].arguments[0] for name in ("gamma", "beta"))
    gamma.name, beta.name = beta.name, gamma.name


def verified(package: Path, model: nn.Module) -> Verification:
    return verify(package, model, synthetic(2), bisect=False)


def test_both_functions_are_counted(package: Path, model: nn.Module) -> None:
    found = verified(package, model)
    assert found.passed, list(found.problems())
    assert (found.changed, found.foreign, found.foreign_epsilons) == ((), (), ())
    assert found.num_weights >= 2 * len(list(model.parameters()))


def test_an_epsilon_that_hardly_moves_an_output_is_caught_in_a_later_function(tmp_path, package, model) -> None:
    found = verified(changed(package, tmp_path / "m.mlpackage", other_epsilon), model)
    assert not found.passed
    (epsilon,) = found.foreign_epsilons
    assert epsilon.startswith(f"layer_norm '{LATER}/")
    assert epsilon.endswith("has epsilon 1.0e-06")


def test_a_changed_weight_is_caught_in_a_later_function(tmp_path, package, model) -> None:
    found = verified(changed(package, tmp_path / "m.mlpackage", other_bias), model)
    assert not found.passed
    (weight,) = found.changed
    assert (weight.weight, weight.num_different, weight.num_elements) == ("stem.bias", 1, 8)
    assert weight.constant.startswith(f"{LATER}/")


def test_the_first_operation_that_is_not_the_models_is_looked_for_in_the_function_that_is_off(
    tmp_path, package, model
) -> None:
    found = verified(changed(package, tmp_path / "m.mlpackage", gamma_for_beta), model)
    assert not found.passed
    assert found.first_inexact is not None
    assert found.first_inexact.kind == "layer_norm"
    assert found.first_inexact.operation.startswith(f"{LATER}/")


def test_the_first_operation_past_the_tolerance_is_looked_for_in_the_function_that_is_off(tmp_path) -> None:
    model, path = plausible(Coarse(), SIDES[0]), tmp_path / "m.mlpackage"
    export_package(model, path, TARGET)
    found = verified(path, model)
    off = {each.function for each in found.outputs if each.relative > found.tolerance}
    assert off == {LATER}
    assert found.first_imprecise is not None
    assert found.first_imprecise.operation.startswith(f"{LATER}/")
