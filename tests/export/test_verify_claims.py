"""A package that computes the right numbers and calls them something else is not verified."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from export.packages import (
    CLASSES,
    NANO_MOBILEVIT,
    PREPROCESSING,
    SIDE,
    Grid,
    changed,
    export_classifier,
    operations,
    problems,
)
from torch import nn

from mvlab.cli.main import run as mvlab
from mvlab.export.coreml import Target, export_package
from mvlab.export.errors import PackageError
from mvlab.export.pictures import synthetic
from mvlab.export.verification import Verification
from mvlab.export.verify import verify
from mvlab.models.plausible import plausible
from mvlab.models.weights.saved import SavedNetwork, write_saved
from mvlab.training.state import weights_sha256

PICTURES = synthetic(1)
SMALL = Target(task="segmentation", resolutions=(SIDE,), preprocessing=PREPROCESSING)
ANIMALS = ("cat", "dog", "fox", "owl")
Change = Callable[[Any], None]


def verified(package: Path, model: nn.Module, classes: tuple[str, ...] = CLASSES) -> Verification:
    return verify(package, model, PICTURES, classes=classes, bisect=False)


def classify(spec: Any) -> Any:
    return next(each for each in operations(spec) if each.type == "classify")


def labels(spec: Any) -> Any:
    return classify(spec).inputs["classes"].arguments[0].value.immediateValue.list.values


def label(spec: Any, place: int) -> Any:
    return labels(spec)[place].immediateValue.tensor.strings


# --- probabilities and scores


def without_softmax(spec: Any) -> None:
    softmax = next(each for each in operations(spec) if each.type == "softmax" and not _is_attention(each))
    scores = softmax.inputs["x"].arguments[0].name
    for each in operations(spec):
        for argument in each.inputs.values():
            for binding in argument.arguments:
                if binding.name == softmax.outputs[0].name:
                    binding.name = scores


def _is_attention(softmax: Any) -> bool:
    return len(softmax.outputs[0].type.tensorType.dimensions) > 2


def test_logits_under_the_name_of_probabilities_are_caught(tmp_path: Path, package: Path, model: nn.Module) -> None:
    found = verified(changed(package, tmp_path / "m.mlpackage", without_softmax), model)
    assert "probabilities without a softmax at 64x64 is off by" in problems(found)


class Segmenter(nn.Module):
    """Scores of the classes of each place, or their probabilities."""

    def __init__(self, *, gives_probabilities: bool = False) -> None:
        super().__init__()
        self.predict = nn.Conv2d(3, 8, 8, stride=16)
        self.gives_probabilities = gives_probabilities

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = self.predict(images_BCHW)
        return predicted.softmax(1) if self.gives_probabilities else predicted


def test_probabilities_under_the_name_of_logits_are_caught(tmp_path: Path) -> None:
    scores = plausible(Segmenter(), SIDE)
    probabilities = Segmenter(gives_probabilities=True)
    probabilities.load_state_dict(scores.state_dict())
    path = tmp_path / "m.mlpackage"
    export_package(probabilities, path, SMALL)
    assert "logits at 64x64 is off by" in problems(verified(path, scores, ()))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """One with as many classes as boxes have corners: its outputs have equal shapes."""
    model = plausible(Grid(num_classes=4), SIDE)
    path = tmp_path_factory.mktemp("detector") / "m.mlpackage"
    metadata = {"classes": json.dumps(ANIMALS), "weights_sha256": weights_sha256(model.state_dict())}
    export_package(model, path, replace(SMALL, task="detection", metadata=metadata))
    return model, path


def with_outputs_exchanged(spec: Any) -> None:
    other = {"boxes": "scores", "scores": "boxes"}
    for each in operations(spec):
        for output in each.outputs:
            output.name = other.get(output.name, output.name)
    body = spec.mlProgram.functions["main"]
    names = body.block_specializations[body.opset].outputs
    names[:] = [other[name] for name in names]


def test_outputs_with_each_others_names_are_caught(tmp_path: Path, detector: tuple[nn.Module, Path]) -> None:
    model, package = detector
    assert verified(package, model, ANIMALS).passed
    found = verified(changed(package, tmp_path / "m.mlpackage", with_outputs_exchanged), model, ())
    assert "boxes at 64x64 is off by" in problems(found)
    assert "scores without a softmax at 64x64 is off by" in problems(found)


def test_outputs_in_another_order_are_the_same_outputs(tmp_path: Path, detector: tuple[nn.Module, Path]) -> None:
    """CoreML gives them by name."""
    model, package = detector

    def change(spec: Any) -> None:
        body = spec.mlProgram.functions["main"]
        names = body.block_specializations[body.opset].outputs
        names[:] = list(reversed(names))

    assert verified(changed(package, tmp_path / "m.mlpackage", change), model, ()).passed


# --- labels


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    layers = (nn.Conv2d(3, len(CLASSES), 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = plausible(nn.Sequential(*layers), SIDE)
    path = tmp_path_factory.mktemp("classifier") / "m.mlpackage"
    export_classifier(model, path)
    return model, path


def permuted(spec: Any) -> None:
    label(spec, 2).values[0], label(spec, 7).values[0] = CLASSES[7], CLASSES[2]


def twice(spec: Any) -> None:
    label(spec, 2).values[0] = CLASSES[7]


def renamed(spec: Any) -> None:
    label(spec, 2).values[0] = "a cat"


def one_less(spec: Any) -> None:
    del labels(spec)[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (permuted, "2 of its labels are in another order: class 'class 2' is called 'class 7'"),
        (twice, "several of its classes are labelled 'class 7'"),
        (renamed, "1 of its labels are of other classes: class 'class 2' is called 'a cat'"),
        (one_less, "it has 9 labels for 10 classes"),
    ],
)
def test_other_labels_are_caught(tmp_path: Path, classifier: tuple[nn.Module, Path], change: Change, said: str) -> None:
    model, package = classifier
    assert verified(package, model).passed
    path = changed(package, tmp_path / "m.mlpackage", change)
    assert said in problems(verified(path, model))
    if change in (twice, one_less):
        assert said in problems(verified(path, model, ())), "also if nothing tells what they are"


def test_numbers_of_classes_have_their_order(tmp_path: Path, classifier: tuple[nn.Module, Path]) -> None:
    model, package = classifier

    def numbered(order: list[int]) -> Change:
        def change(spec: Any) -> None:
            for place, number in enumerate(order):
                label(spec, place).values[0] = str(number)

        return change

    right = changed(package, tmp_path / "right.mlpackage", numbered([*range(10)]))
    assert verified(right, model, ()).passed
    as_text = changed(package, tmp_path / "wrong.mlpackage", numbered([1, 0, *range(2, 10)]))
    assert "2 of its labels are in another order: class '0' is called '1'" in problems(verified(as_text, model, ()))


def test_names_in_a_detectors_metadata_are_checked(tmp_path: Path, detector: tuple[nn.Module, Path]) -> None:
    model, package = detector
    assert "2 of its labels are in another order" in problems(verified(package, model, ("dog", "cat", *ANIMALS[2:])))

    def nameless(spec: Any) -> None:
        del spec.description.metadata.userDefined["classes"]

    path = changed(package, tmp_path / "m.mlpackage", nameless)
    assert "it has 0 labels for 4 classes" in problems(verified(path, model, ANIMALS))


# --- what it says of itself


def other_declared_output(spec: Any) -> None:
    spec.description.output[1].name = "scores"


def exchanged_features(spec: Any) -> None:
    spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName = (
        spec.description.predictedProbabilitiesName,
        spec.description.predictedFeatureName,
    )


def other_digest(spec: Any) -> None:
    spec.description.metadata.userDefined["weights_sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_declared_output, "it declares the outputs classLabel, scores, and its program gives classLabel, class"),
        (exchanged_features, "it declares classLabel_probs and classLabel as label and probabilities"),
        (other_digest, "its metadata say that it has the weights 0000000000000000, and the model has "),
    ],
)
def test_false_descriptions_are_caught(tmp_path: Path, classifier, change: Change, said: str) -> None:
    model, package = classifier
    assert said in problems(verified(changed(package, tmp_path / "m.mlpackage", change), model))


def test_functions_with_each_others_names_are_caught(tmp_path: Path) -> None:
    """Whoever loads `size_96` has images of 96 pixels."""
    path, model = tmp_path / "m.mlpackage", plausible(Segmenter(), SIDE)
    export_package(model, path, replace(SMALL, resolutions=(64, 96)))
    assert verified(path, model, ()).passed

    def change(spec: Any) -> None:
        (later,) = (each for each in spec.description.functions if each.name == "size_96")
        later.name = "size_128"
        spec.mlProgram.functions["size_128"].CopyFrom(spec.mlProgram.functions["size_96"])
        del spec.mlProgram.functions["size_96"]

    said = problems(verified(changed(path, tmp_path / "other.mlpackage", change), model, ()))
    assert "function size_128 takes images of 96x96 pixels" in said


def test_a_package_of_a_network_with_another_number_of_outputs_is_still_refused(package: Path) -> None:
    with pytest.raises(PackageError, match=r"1 outputs .*, the model 2"):
        verified(package, Grid(num_classes=4))


# --- the command


def test_the_command_checks_labels_that_it_is_told_or_finds(tmp_path: Path, package: Path, model, capsys) -> None:
    weights, names = tmp_path / "weights.pt", tmp_path / "names.txt"
    saved = SavedNetwork(
        network=NANO_MOBILEVIT, num_classes=len(CLASSES), preprocessing=PREPROCESSING, weights=model.state_dict()
    )
    write_saved(saved, weights)
    command = ["verify", str(package), "--against", str(weights)]
    (tmp_path / "verification.json").write_text(json.dumps({"classes": CLASSES[::-1]}))
    assert mvlab(command) == 1, "as a run recorded them"
    assert "10 of its labels are in another order" in capsys.readouterr().out
    names.write_text("\n".join(CLASSES[:3]))
    assert mvlab([*command, "--classes", str(names)]) == 2
    assert "3 class labels for a network that tells 10 classes apart" in capsys.readouterr().err
