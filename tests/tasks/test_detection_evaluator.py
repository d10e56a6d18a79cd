"""Evaluator of detection: from predictions and stored targets to metrics, whatever the split into batches and ranks."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mvlab.models.heads.detector import Detector, Predictions
from mvlab.models.heads.ssdlite import priors
from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.coding import encode
from mvlab.tasks.detection.config import LossConfig
from mvlab.tasks.detection.evaluator import Alone, DetectionEvaluator
from mvlab.tasks.detection.objective import DetectionObjective
from mvlab.tasks.detection.task import METRICS
from tests.tasks.detection_sets import on_ranks

SIDE, CLASSES = 64, 3


class Priors(Detector):
    """Detector with SSDLite's priors. Its predictions are made by the tests."""

    def forward(self, images_BCHW: Tensor) -> Predictions:
        raise NotImplementedError

    def priors(self, height: int, width: int) -> Tensor:
        return priors(height, width)


def evaluator() -> DetectionEvaluator:
    judge = DetectionObjective(LossConfig(), "release", Priors(), Alone()).evaluator(torch.device("cpu"))
    assert isinstance(judge, DetectionEvaluator)
    return judge


Sample = dict[str, Any]


def sample(
    image_id: int, objects: Sequence[tuple[int, Sequence[float], bool]], size: tuple[int, int] = (200, 100)
) -> Sample:
    """An image of this width and height, with objects as class, box in pixels, and crowd."""
    boxes = torch.tensor([box for _, box, _ in objects], dtype=torch.float64).reshape(-1, 4)
    return {
        "image_id": torch.tensor(image_id),
        "boxes": boxes,
        "categories": torch.tensor([category for category, *_ in objects], dtype=torch.int64),
        "crowd": torch.tensor([crowd for *_, crowd in objects], dtype=torch.bool),
        "areas": boxes[:, 2] * boxes[:, 3],
        "annotation_ids": torch.arange(len(objects)),
        "image_size": torch.tensor(size),
        "output_size": torch.tensor((SIDE, SIDE)),
    }


def batch(samples: Sequence[Sample]) -> dict[str, Any]:
    """Targets of a batch as training has them on the device: ragged ones as lists."""
    ragged = {"boxes", "categories", "crowd", "areas", "annotation_ids"}
    columns = {name: [each[name] for each in samples] for name in samples[0]}
    return {name: values if name in ragged else torch.stack(values) for name, values in columns.items()}


def perfect(samples: Sequence[Sample], certain: float = 12.0) -> Predictions:
    """Predictions in which the prior next to each object, crowds aside, is that object."""
    anchors = priors(SIDE, SIDE)
    offsets = torch.zeros(len(samples), len(anchors), 4)
    logits = torch.zeros(len(samples), len(anchors), CLASSES + 1)
    logits[..., 0] = certain
    for row, each in enumerate(samples):
        scale = each["image_size"].repeat(2)
        corners = (torch.cat((each["boxes"][:, :2], each["boxes"][:, :2] + each["boxes"][:, 2:]), 1) / scale).float()
        for box, category, crowd in zip(corners, each["categories"], each["crowd"], strict=True):
            if not crowd:
                nearest = (encode(box, anchors)).abs().sum(dim=1).argmin()
                offsets[row, nearest] = encode(box, anchors)[nearest]
                logits[row, nearest] = 0.0
                logits[row, nearest, category + 1] = certain
    return offsets, logits


SAMPLES = [
    sample(902000103548, [(0, (10, 10, 80, 60), False), (1, (120, 20, 60, 70), False)]),
    sample(0, [(2, (0, 0, 200, 100), False)]),
    sample(5, []),
    sample(3, [(0, (20, 5, 150, 90), True), (1, (30, 30, 90, 60), False)]),
    sample(8, [(1, (2, 2, 20, 20), False)], (64, 64)),
]


def test_perfect_predictions_have_a_precision_of_100_percent() -> None:
    judge = evaluator()
    judge.add(perfect(SAMPLES), batch(SAMPLES))
    metrics = judge.merged(Alone()).metrics()
    assert set(metrics) == {metric.name for metric in METRICS} | {"loss"}
    for name in ("map", "map50", "map75", "map_small", "map_medium", "map_large", "recall"):
        assert metrics[name] == pytest.approx(100), name
    assert metrics["loss"] == pytest.approx(metrics["box_loss"] + metrics["class_loss"])


def test_priors_are_computed_once_for_all_batches_and_sets_of_weights() -> None:
    sizes = []

    class Counting(Priors):
        def priors(self, height: int, width: int) -> Tensor:
            sizes.append((height, width))
            return super().priors(height, width)

    objective = DetectionObjective(LossConfig(), "release", Counting(), Alone())
    for judge in (objective.evaluator(torch.device("cpu")) for _ in range(2)):
        for _ in range(2):
            judge.add(perfect(SAMPLES), batch(SAMPLES))
    assert sizes == [(SIDE, SIDE)]


def test_shifted_classes_have_a_precision_of_zero() -> None:
    offsets, logits = perfect(SAMPLES)
    judge = evaluator()
    judge.add((offsets, torch.cat((logits[..., :1], logits[..., 1:].roll(1, dims=2)), dim=2)), batch(SAMPLES))
    assert judge.metrics()["map"] < 1


def noisy() -> Predictions:
    offsets, logits = perfect(SAMPLES, certain=3.0)
    generator = torch.Generator().manual_seed(0)
    return (
        offsets + 0.3 * torch.randn(offsets.shape, generator=generator),
        logits + torch.randn(logits.shape, generator=generator),
    )


def evaluated(rows: Sequence[int], size: int) -> DetectionEvaluator:
    """Evaluator of these samples in batches of this size."""
    judge, (offsets, logits) = evaluator(), noisy()
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        judge.add((offsets[part], logits[part]), batch([SAMPLES[row] for row in part]))
    return judge


@pytest.mark.parametrize("shares", [[[0, 1], [2, 3, 4]], [[4, 2], [], [3, 0, 1]], [[0], [1], [2, 3], [4]]])
def test_ranks_agree_with_one_process(shares: list[list[int]]) -> None:
    """Precision to the bit. Losses are sums of float32, whose order differs."""
    expected = evaluated(range(5), 5).metrics()
    assert 0 < expected["map"] < 100

    def work(rank: int, ranks: Ranks) -> DetectionEvaluator:
        return evaluated(shares[rank], 2).merged(ranks)

    for merged in on_ranks(len(shares), work):
        metrics = merged.metrics()
        for name, value in metrics.items():
            if name.endswith("loss"):
                assert value == pytest.approx(expected[name], rel=1e-6)
            else:
                assert value == expected[name]
        assert merged.results.image_ids.tolist() == [0, 3, 5, 8, 902000103548]


def test_losses_are_those_of_the_whole_split_per_matched_prior() -> None:
    from mvlab.tasks.detection.loss import loss_sums

    boxes = [
        (torch.cat((each["boxes"][:, :2], each["boxes"][:, :2] + each["boxes"][:, 2:]), 1)
         / each["image_size"].repeat(2)).float()[~each["crowd"]]
        for each in SAMPLES
    ]  # fmt: skip
    categories = [each["categories"][~each["crowd"]] for each in SAMPLES]
    sums = loss_sums(noisy(), boxes, categories, priors(SIDE, SIDE), LossConfig())
    metrics = evaluated(range(5), 1).metrics()
    assert metrics["box_loss"] == pytest.approx(float(sums.boxes) / sums.positives, rel=1e-5)
    assert metrics["class_loss"] == pytest.approx(float(sums.classes) / sums.positives, rel=1e-5)


def test_a_non_finite_image_has_no_detections_and_others_keep_theirs() -> None:
    offsets, logits = perfect(SAMPLES)
    logits[1, 0, 0] = torch.nan
    judge = evaluator()
    judge.add((offsets, logits), batch(SAMPLES))
    counts = [len(judge.results.found_scores[row]) for row in range(5)]
    assert counts[1] == 0
    assert counts[0] >= 2
    assert judge.metrics()["map50"] == pytest.approx(100 * 2 / 3)


def test_detections_are_in_pixels_of_the_source_image() -> None:
    judge = evaluator()
    judge.add(perfect(SAMPLES[1:2]), batch(SAMPLES[1:2]))
    (box,) = judge.results.found_boxes[0].tolist()
    assert box == pytest.approx([0, 0, 200, 100], abs=1e-3)
    assert judge.results.found_boxes.values.dtype == "float64"


def test_images_without_objects_alone_have_losses_of_zero_and_no_precision() -> None:
    judge = evaluator()
    judge.add(perfect(SAMPLES[2:3]), batch(SAMPLES[2:3]))
    metrics = judge.metrics()
    assert metrics["loss"] == 0
    assert math.isnan(metrics["map"])


def test_without_samples_every_metric_is_nan() -> None:
    assert all(math.isnan(value) for value in evaluator().merged(Alone()).metrics().values())
