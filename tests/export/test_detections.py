"""Detections of package and model are compared by what is certain of them; CoreML's suppression is as documented."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvlab.export.description import _detections
from mvlab.export.detections import (
    BAND,
    IOU,
    SCORE,
    Agreement,
    Boxes,
    candidates,
    compare,
    differing,
    settled,
    torchvisions,
)
from mvlab.export.detector import scores_of
from mvlab.export.mil.suppression import Suppression
from mvlab.tasks.detection.coding import decode, to_centres
from mvlab.tasks.detection.config import RULES
from mvlab.tasks.detection.selection import select

STAGE = Suppression(
    coordinates="boxes", confidence="scores", iou=0.5, least_confidence=0.05, per_class=True, labels=("a", "b", "c")
)
SIZE = (64, 64)


def outputs(seed: int, count: int, spread: float = 0.02) -> tuple[Tensor, Tensor]:
    """Corners (count, 4) in crowds around a few centres, and scores (count, 3) with a sum below 1."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(max(1, count // 6), 2, generator=generator) * 0.6 + 0.2
    chosen = centres[torch.randint(len(centres), (count,), generator=generator)]
    low = chosen - 0.1 + spread * torch.randn(count, 2, generator=generator)
    high = chosen + 0.1 + spread * torch.randn(count, 2, generator=generator)
    logits = 2 * torch.randn(count, 4, generator=generator)
    return torch.cat((low, high), dim=1).clamp(0, 1), logits.softmax(1)[:, 1:]


def pairs(boxes: Boxes) -> set[tuple[float, ...]]:
    return {(*box, category) for box, category in zip(boxes.corners.tolist(), boxes.categories.tolist(), strict=True)}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), iou=st.sampled_from([0.3, 0.5, 0.8]))
def test_coremls_suppression_keeps_what_torchvisions_keeps_of_each_best_class(
    seed: int, count: int, iou: float
) -> None:
    corners, scores = outputs(seed, count)
    rows = replace(STAGE, iou=iou).kept(to_centres(corners.double()), scores)
    expected = torchvisions(corners, scores, STAGE.least_confidence, iou, best_only=True)
    assert torch.equal(scores[rows].amax(1), expected.scores)
    assert torch.equal(corners[rows], expected.corners)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60))
def test_a_models_detections_are_those_of_its_evaluation(seed: int, count: int) -> None:
    """Detections by the release's rule, up to its limit of 200 detections of a class."""
    generator = torch.Generator().manual_seed(seed)
    priors = torch.rand(count, 4, generator=generator) * 0.5 + 0.2
    offsets, logits = (2 * torch.randn(1, count, 4, generator=generator) for _ in range(2))
    (expected,) = select((offsets, logits), priors, RULES["release"])
    boxes = decode(offsets[0], priors).clamp(0, 1)
    found = torchvisions(boxes, scores_of(logits[0]), SCORE, IOU, best_only=False)
    assert pairs(found) == pairs(Boxes(expected.boxes, expected.scores, expected.categories))


def test_suppression_across_classes_drops_boxes_of_other_classes_too() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.51, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1]])
    scores = torch.tensor([[0.6, 0.1, 0.0], [0.1, 0.7, 0.0], [0.01, 0.02, 0.03]])
    assert STAGE.kept(boxes, scores).tolist() == [1, 0]
    assert replace(STAGE, per_class=False).kept(boxes, scores).tolist() == [1]
    assert replace(STAGE, least_confidence=0.65).kept(boxes, scores).tolist() == [1]
    assert replace(STAGE, least_confidence=0.0).kept(boxes, scores).tolist() == [1, 0, 2]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), best_only=st.booleans())
def test_what_is_settled_holds_whatever_changes_within_the_band(seed: int, count: int, best_only: bool) -> None:
    corners, scores = outputs(seed, count)
    known, is_open = candidates(corners, scores, 0.05 - BAND, best_only=best_only)
    kept, dropped = settled(known, is_open, 0.5)
    assert not (kept & dropped).any()
    noise = torch.Generator().manual_seed(seed + 1)
    changed = scores + 0.4 * BAND * (2 * torch.rand(scores.shape, generator=noise) - 1)
    for given_scores in (scores, changed):
        found = pairs(torchvisions(corners, given_scores, 0.05, 0.5, best_only=best_only))
        assert pairs(known[kept & (known.scores > 0.05 + BAND)]) <= found
        assert not pairs(known[dropped]) & found


def test_most_decisions_are_settled() -> None:
    known, is_open = candidates(*outputs(0, 60), 0.05 - BAND, best_only=True)
    kept, dropped = settled(known, is_open, 0.5)
    assert int(kept.sum()) > 5
    assert int(dropped.sum()) > 5
    assert float((kept | dropped).double().mean()) > 0.6


def moved(corners: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    return corners + 0.01, scores


def surer(corners: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    return corners, scores + 2 * BAND


def relabelled(corners: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    return corners, scores.roll(1, dims=1)


def blind(corners: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    return corners, torch.zeros_like(scores)


@pytest.mark.parametrize("stage", [None, STAGE], ids=["program", "pipeline"])
@pytest.mark.parametrize("change", [moved, surer, relabelled, blind])
def test_other_boxes_scores_and_classes_differ(stage: Suppression | None, change) -> None:
    def form(corners: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return (corners, scores) if stage is None else (to_centres(corners), scores)

    theirs = [outputs(seed, 40) for seed in range(3)]
    right = compare(iter([form(*each) for each in theirs]), iter([form(*each) for each in theirs]), stage,
                    function="main", size=SIZE)  # fmt: skip
    assert right.agrees
    assert right.num_model == right.num_found > 20
    assert right.num_package == right.num_known >= right.num_model
    wrong = compare(iter([form(*change(*each)) for each in theirs]), iter([form(*each) for each in theirs]), stage,
                    function="main", size=SIZE)  # fmt: skip
    assert not wrong.agrees
    assert f"{wrong.num_model - wrong.num_found} of the model's {right.num_model}" in differing(wrong)


def test_a_box_that_is_clipped_to_no_area_is_itself() -> None:
    beyond = torch.tensor([[1.0, 0.2, 1.0, 0.4]]), torch.tensor([[0.5, 0.1, 0.0]])
    found = compare(iter([beyond]), iter([beyond]), None, function="main", size=SIZE)
    assert found.agrees
    assert (found.num_model, found.num_package) == (2, 2)


def test_scores_at_the_threshold_are_open() -> None:
    box = torch.tensor([[0.1, 0.1, 0.3, 0.3]])
    ours, theirs = (box, torch.tensor([[0.047, 0.0, 0.0]])), (box, torch.tensor([[0.053, 0.0, 0.0]]))
    found = compare(iter([ours]), iter([theirs]), None, function="main", size=SIZE)
    assert found.agrees
    assert (found.num_model, found.num_package) == (0, 0)


def test_where_neither_detects_anything_the_report_says_that_nothing_was_compared() -> None:
    counts = dict.fromkeys(("num_model", "num_found", "num_package", "num_known", "num_open"), 0)
    none = Agreement(function="main", size=(64, 64), rule="in each class", score=0.05, **counts)
    said = "no detection was compared"
    assert said in _detections([none, none])[-1]
    assert said not in _detections([none, replace(none, num_package=1)])[-1], "the package's own are a difference"
