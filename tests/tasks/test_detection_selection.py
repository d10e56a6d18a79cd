"""Detections among predictions: those of torchvision by its rule, and the limits of the other rules."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from mvlab.models.heads.ssdlite import priors
from mvlab.tasks.detection.coding import decode, to_corners
from mvlab.tasks.detection.config import RULES, Rule, Selection
from mvlab.tasks.detection.selection import select

CLASSES = 7


def predictions(images: int, num_priors: int, classes: int = CLASSES, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images * num_priors)
    offsets = torch.randn((images, num_priors, 4), generator=generator)
    return offsets, spread * torch.randn((images, num_priors, classes), generator=generator)


def by_torchvision(outputs: tuple[Tensor, Tensor], priors_N4: Tensor, rule: Selection) -> Sequence[dict[str, Tensor]]:
    """Boxes as shares of the image, by torchvision's own code, for an image of one pixel."""
    ssd = SSD(
        torch.nn.Identity(), DefaultBoxGenerator([[2]]), (1, 1), outputs[1].shape[2], head=torch.nn.Identity(),
        score_thresh=rule.score, nms_thresh=rule.iou, detections_per_img=rule.most, topk_candidates=rule.candidates,
    )  # fmt: skip
    anchors, images = to_corners(priors_N4), len(outputs[0])
    head = {"bbox_regression": outputs[0], "cls_logits": outputs[1]}
    return ssd.postprocess_detections(head, [anchors] * images, [(1, 1)] * images)


@pytest.mark.parametrize(
    ("images", "side", "spread"), [(3, 64, 2.0), (2, 320, 0.1), (1, 160, 4.0)], ids=["small", "untrained", "sharp"]
)
def test_torchvisions_rule_selects_what_torchvision_selects(images: int, side: int, spread: float) -> None:
    priors_N4, rule = priors(side, side), RULES["torchvision"]
    outputs = predictions(images, len(priors_N4), spread=spread)
    for ours, theirs in zip(select(outputs, priors_N4, rule), by_torchvision(outputs, priors_N4, rule), strict=True):
        assert len(theirs["scores"]) > 0
        torch.testing.assert_close(ours.boxes, theirs["boxes"], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.scores, theirs["scores"], atol=1e-6, rtol=0)
        assert ours.categories.equal(theirs["labels"] - 1)


def test_numbers_of_torchvisions_rule_are_those_of_its_model() -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    model, rule = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None), RULES["torchvision"]
    numbers = (model.score_thresh, model.nms_thresh, model.detections_per_img, model.topk_candidates)
    assert numbers == (rule.score, rule.iou, rule.most, rule.candidates)


def plainly(outputs: tuple[Tensor, Tensor], priors_N4: Tensor, rule: Selection) -> list[list[tuple[int, int]]]:
    """(class, prior) of each detection, written as loops over images, classes and detections."""
    selected = []
    for offsets, logits in zip(*outputs, strict=True):
        boxes, scores = decode(offsets, priors_N4).clamp(0, 1), logits.softmax(dim=1)[:, 1:]
        overlaps = box_iou(boxes.double(), boxes.double())
        kept: list[tuple[int, int]] = []
        for category in range(scores.shape[1]):
            order = scores[:, category].argsort(descending=True, stable=True)
            order = [int(prior) for prior in order if scores[prior, category] > rule.score][: rule.candidates]
            chosen: list[int] = []
            for prior in order:
                if not any(overlaps[prior, other] > rule.iou for other in chosen):
                    chosen.append(prior)
            kept += [(category, prior) for prior in chosen[: rule.most_per_class]]
        kept.sort(key=lambda each: -float(scores[each[1], each[0]]))
        selected.append(kept[: rule.most])
    return selected


LIMITS = st.none() | st.integers(1, 12)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([0.3, 0.5]), LIMITS, LIMITS, LIMITS, st.integers(0, 4))
def test_any_rule_selects_what_plain_loops_select(
    score: float, iou: float, candidates: int | None, most_per_class: int | None, most: int | None, images: int
) -> None:
    rule = Selection(score=score, candidates=candidates, iou=iou, most_per_class=most_per_class, most=most)
    priors_N4 = priors(32, 32)
    outputs = predictions(images, len(priors_N4))
    found = select(outputs, priors_N4, rule)
    expected = plainly(outputs, priors_N4, rule)
    assert len(found) == images
    for each, pairs, offsets in zip(found, expected, outputs[0], strict=True):
        assert each.categories.tolist() == [category for category, _ in pairs]
        boxes = decode(offsets, priors_N4).clamp(0, 1)
        assert each.boxes.equal(boxes[[prior for _, prior in pairs]].reshape(-1, 4))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("output", [0, 1], ids=["offsets", "logits"])
def test_an_image_with_a_non_finite_output_has_no_detections(value: float, output: int) -> None:
    priors_N4 = priors(64, 64)
    outputs = predictions(3, len(priors_N4))
    before = select(outputs, priors_N4, RULES["release"])
    outputs[output][1, 5, 2] = value
    first, broken, last = select(outputs, priors_N4, RULES["release"])
    assert len(broken.scores) == 0
    assert first.boxes.equal(before[0].boxes)
    assert last.boxes.equal(before[2].boxes)


def test_an_overflowing_offset_gives_a_box_inside_the_image() -> None:
    priors_N4 = priors(64, 64)
    offsets, logits = predictions(1, len(priors_N4))
    (found,) = select((offsets * 1e4, logits), priors_N4, RULES["last"])
    assert len(found.boxes) > 0
    assert found.boxes.isfinite().all()
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 1


def test_no_score_above_the_threshold_gives_no_detections() -> None:
    priors_N4 = priors(64, 64)
    offsets, logits = predictions(2, len(priors_N4))
    logits[..., 0] += 100
    for found in select((offsets, logits), priors_N4, RULES["release"]):
        assert (found.boxes.shape, found.scores.shape, found.categories.dtype) == ((0, 4), (0,), torch.int64)


def test_half_precision_is_selected_from_in_single() -> None:
    priors_N4 = priors(64, 64)
    halves = tuple(each.bfloat16() for each in predictions(2, len(priors_N4)))
    singles = tuple(each.float() for each in halves)
    for half, single in zip(*(select(each, priors_N4, RULES["release"]) for each in (halves, singles)), strict=True):
        assert half.boxes.dtype == torch.float32
        assert half.boxes.equal(single.boxes)


@pytest.mark.parametrize("together", [1, 500, 1 << 14])
@pytest.mark.parametrize("rule", ["release", "last"])
def test_calls_of_torchvision_over_many_classes_select_the_same(
    rule: Rule, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: a call has the candidates of several classes and images."""
    from mvlab.tasks.detection import selection

    generator, chosen = torch.Generator().manual_seed(1), replace(RULES[rule], most_per_class=5)
    groups = torch.randint(40, (2_000,), generator=generator).sort().values
    boxes = torch.rand((2_000, 4), generator=generator)
    boxes = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1).clamp(0, 1)
    scores = torch.randint(1, 50, (2_000,), generator=generator) / 50
    ends = groups.unique_consecutive(return_counts=True)[1].cumsum(0)
    monkeypatch.setattr(selection, "TOGETHER", together)
    kept = selection._suppressed(boxes, scores, groups, chosen)
    assert len(kept) == 5 * 40
    assert kept.equal(selection._suppressed_by_torchvision(boxes, scores, groups, ends, chosen))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_an_accelerator_selects_the_same() -> None:
    priors_N4 = priors(320, 320)
    outputs = predictions(2, len(priors_N4))
    on_cpu = select(outputs, priors_N4, RULES["release"])
    on_gpu = select((outputs[0].cuda(), outputs[1].cuda()), priors_N4.cuda(), RULES["release"])
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(ours.boxes.cpu(), theirs.boxes, atol=1e-5, rtol=0)
        assert ours.categories.cpu().equal(theirs.categories)


@pytest.mark.usefixtures("one_thread")
def test_selection_leaves_the_number_of_threads() -> None:
    """Ranks compute with one thread. With another number, sums have other bits, and ranks wait for each other's
    threads."""
    select((torch.zeros(2, 50, 4), torch.randn(2, 50, 4)), torch.full((50, 4), 0.5), RULES["release"])
    assert torch.get_num_threads() == 1
