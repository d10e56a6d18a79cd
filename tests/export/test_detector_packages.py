"""Packages of detectors: boxes and scores, and with --nms a pipeline for Apple's Vision, verified on real images."""

import json
from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
import torch
from export.packages import NANO_MOBILEVIT, changed
from shared_data import SHARED_DATA
from torch import nn

from mvlab.cli.main import run as mvlab
from mvlab.export.coreml import Target, describe, export_package
from mvlab.export.detector import Decoded, scores_of
from mvlab.export.errors import ExportError
from mvlab.export.mil.execute import outputs
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import from_files, images_in, spread_over, synthetic
from mvlab.export.verify import verify
from mvlab.models.build import build_network
from mvlab.models.plausible import plausible
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.saved import SavedNetwork, write_saved
from mvlab.networks import SSDLiteConfig

SIDE = 96
ANIMALS = ("cat", "dog", "fox", "owl", "hen")
PREPROCESSING = Preprocessing(resize=None, crop=SIDE)
CONFIG = SSDLiteConfig(backbone=NANO_MOBILEVIT)
COCO = SHARED_DATA / "coco-38" / "val2017"
needs_coco = pytest.mark.skipif(not COCO.is_dir(), reason=f"{COCO} is not there")


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    """One that is sure of more objects than a random one, and whose offsets are smaller, as a trained one's are."""
    model = plausible(build_network(CONFIG, len(ANIMALS)), SIDE)
    with torch.no_grad():
        for head in model.heads:
            last = [each for each in head.modules() if isinstance(each, nn.Conv2d)][-1]
            values = last.weight.view(-1, head.num_values, last.weight[0].numel())
            values[:, :4] *= 0.3
            last.bias.view(-1, head.num_values)[:, 4] -= 1
    return model


@pytest.fixture(scope="module")
def weights(detector: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    saved = SavedNetwork(
        network=CONFIG, num_classes=len(ANIMALS), preprocessing=PREPROCESSING, weights=detector.state_dict()
    )
    write_saved(saved, path)
    path.with_name("labels.txt").write_text("\n".join(ANIMALS))
    return path


@pytest.fixture(scope="module")
def pipeline(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline") / "m.mlpackage"
    labels = ["--classes", str(weights.with_name("labels.txt"))]
    images = ["--images", str(COCO), "--max-images", "3"] if COCO.is_dir() else []
    assert mvlab(["export", str(weights), "--out", str(path), "--nms", *labels, *images]) == 0
    return path


def test_a_package_gives_the_corners_of_boxes_and_scores_without_the_background(
    detector: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "m.mlpackage"
    target = Target(task="detection", resolutions=(SIDE,), precision="fp32", preprocessing=PREPROCESSING)
    export_package(detector, path, target)
    assert describe(path)["outputs"] == ["boxes", "scores"]
    image = synthetic(1)(SIDE, SIDE)[0]
    found = outputs(load_program(path), image)
    with torch.no_grad():
        boxes, logits = Decoded(detector, SIDE)(image[None] / 255)
    assert found["boxes"].shape == (310, 4)
    assert found["scores"].shape == (310, len(ANIMALS))
    assert 0 <= found["boxes"].min() < 0.1 < 0.9 < found["boxes"].max() <= 1
    torch.testing.assert_close(found["boxes"], boxes[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["scores"], scores_of(logits[0]), rtol=0, atol=1e-5)
    verification = verify(path, detector, synthetic(2))
    assert verification.passed, [*verification.problems()]
    (agreement,) = verification.detections
    assert agreement.rule == "in each class"
    assert agreement.num_model > 50


@needs_coco
def test_a_pipeline_detects_what_the_model_detects_in_real_images(pipeline: Path, weights: Path, capsys) -> None:
    labels = ["--classes", str(weights.with_name("labels.txt"))]
    command = ["verify", str(pipeline), "--against", str(weights), "--images", str(COCO), "--max-images", "3", *labels]
    assert mvlab(command) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    (agreement,) = found["detections"]
    assert agreement["num_found"] == agreement["num_model"] > 20
    assert agreement["num_known"] == agreement["num_package"] > 20
    assert agreement["num_open"] < agreement["num_model"]
    assert [each["output"] for each in found["outputs"]] == ["prior_coordinates", "logits", "prior_confidence"]
    assert found["are_labels_known"]
    assert "after non-maximum suppression" in printed


def test_a_pipeline_is_what_apples_vision_expects(pipeline: Path) -> None:
    spec = ct.utils.load_spec(str(pipeline))
    assert [each.WhichOneof("Type") for each in spec.pipeline.models] == ["mlProgram", "nonMaximumSuppression"]
    image, *thresholds = spec.description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == ("image", SIDE, SIDE)
    for each in thresholds:
        assert each.type.isOptional
        assert each.type.WhichOneof("Type") == "doubleType"
    stage = spec.pipeline.models[1].nonMaximumSuppression
    assert [each.name for each in thresholds] == ["iouThreshold", "confidenceThreshold"]
    assert [stage.iouThresholdInputFeatureName, stage.confidenceThresholdInputFeatureName] == [
        each.name for each in thresholds
    ]
    columns = {
        each.name: each.type.multiArrayType.shapeRange.sizeRanges[1].upperBound for each in spec.description.output
    }
    assert columns == {"confidence": len(ANIMALS), "coordinates": 4}
    given = {each.name: list(each.type.multiArrayType.shape) for each in spec.pipeline.models[0].description.output}
    taken = {each.name: list(each.type.multiArrayType.shape) for each in spec.pipeline.models[1].description.input}
    assert given == {"prior_coordinates": [310, 4], "prior_confidence": [310, len(ANIMALS)]}
    assert given.items() <= taken.items()
    assert stage.pickTop.perClass
    described = describe(pipeline)
    assert described["labels"] == list(ANIMALS)
    assert (described["iou_threshold"], described["confidence_threshold"]) == (0.5, 0.05)
    assert described["outputs"] == ["confidence", "coordinates"]
    assert described["bytes"] > 2 * 400_000, "the weights are in it"
    assert described["metadata"]["weights_sha256"]


def stage_of(spec: Any) -> Any:
    return spec.pipeline.models[1].nonMaximumSuppression


def with_exchanged_labels(spec: Any) -> None:
    labels = stage_of(spec).stringClassLabels.vector
    labels[0], labels[1] = labels[1], labels[0]


def with_corners(spec: Any) -> None:
    """Sides are left out of the conversion to centre form: the last subtraction subtracts zero."""
    body = spec.pipeline.models[0].mlProgram.functions["main"]
    steps = body.block_specializations[body.opset].operations
    last = [each for each in steps if each.type == "sub"][-1]
    last.type = "add"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_exchanged_labels, "2 of its labels are in another order: class 'cat' is called 'dog'"),
        (with_corners, "prior_coordinates at 96x96 is off by"),
    ],
)
def test_a_changed_pipeline_is_not_verified(
    pipeline: Path, detector: nn.Module, tmp_path: Path, change: Any, said: str
) -> None:
    path = changed(pipeline, tmp_path / "m.mlpackage", change)
    found = verify(path, detector, synthetic(1), classes=ANIMALS, bisect=False)
    assert said in "\n".join(found.problems())


def test_thresholds_are_read_from_the_package(pipeline: Path, detector: nn.Module, tmp_path: Path) -> None:
    def stricter(spec: Any) -> None:
        stage_of(spec).iouThreshold, stage_of(spec).confidenceThreshold = 0.2, 0.3

    path = changed(pipeline, tmp_path / "m.mlpackage", stricter)
    (fewer,), (more,) = (
        verify(each, detector, synthetic(2), classes=ANIMALS, bisect=False).detections for each in (path, pipeline)
    )
    assert fewer.agrees
    assert (fewer.score, more.score) == (0.3, 0.05)
    assert 0 < fewer.num_package < more.num_package


def test_a_pipeline_that_suppresses_something_else_is_refused(pipeline: Path, weights: Path, tmp_path: Path) -> None:
    def other_input(spec: Any) -> None:
        stage_of(spec).coordinatesInputFeatureName = "prior_confidence"

    path = changed(pipeline, tmp_path / "m.mlpackage", other_input)
    assert mvlab(["verify", str(path), "--against", str(weights)]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image-size", "96", "128"], "--nms is for a detector at one image size"),
        (["--images", "nowhere"], "nowhere holds no images"),
    ],
)
def test_what_cannot_be_done_is_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert mvlab(["export", str(weights), "--out", str(tmp_path / "m.mlpackage"), "--nms", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_network_without_priors_is_refused(tmp_path: Path) -> None:
    target = Target(task="detection", resolutions=(SIDE,), preprocessing=PREPROCESSING)
    with pytest.raises(ExportError, match="Conv2d has no priors"):
        export_package(nn.Conv2d(3, 3, 1), tmp_path / "m.mlpackage", target)


@needs_coco
def test_small_boxes_are_exact_in_fp16(pipeline: Path, detector: nn.Module) -> None:
    """fp16 has 11 bits: a corner would be off by 1 / 4096, which is 1% of the width of a box of 10 pixels in 320."""
    program = load_program(pipeline)
    decoding = [each for each in program.operations if each.outputs[0].shape[-2:] in ((310, 4), (310, 2))]
    assert {each.outputs[0].type for each in decoding} == {"FLOAT32"}
    pictures = from_files(spread_over(images_in(COCO)[0], 2))
    found = verify(pipeline, detector, pictures, classes=ANIMALS, bisect=False)
    assert found.precision == "fp16"
    assert found.passed, [*found.problems()]
