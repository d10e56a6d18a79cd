"""Matching agrees with loops written from the paper, and with torchvision's."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import plain_ssd
from torch import Tensor
from torchvision.models.detection._utils import SSDMatcher
from torchvision.ops import box_iou

from mvlab.models.heads.ssdlite import priors
from mvlab.tasks.detection.coding import to_centres, to_corners
from mvlab.tasks.detection.matching import iou, match

PRIORS = priors(320, 320)
GRID = 8
"""Sides of boxes are multiples of 1 / GRID, so that equal IoUs are equal to the bit."""


@st.composite
def boxes_on_a_grid(draw: st.DrawFn, least: int, most: int) -> Tensor:
    """Boxes (n, 4) in corner form, many of which are alike."""
    side = st.tuples(st.integers(0, GRID), st.integers(0, GRID)).filter(lambda ends: ends[0] != ends[1]).map(sorted)
    sides = draw(st.lists(st.tuples(side, side), min_size=least, max_size=most))
    return torch.tensor([(x0, y0, x1, y1) for (x0, x1), (y0, y1) in sides]).reshape(-1, 4) / GRID


def some_boxes(seed: int, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    low, high = torch.rand(2, count, 2, generator=draw).sort(dim=0).values * 0.98
    return torch.cat((low, high + 0.02), dim=1)


def matched(boxes: Sequence[Tensor], priors_N4: Tensor, least_iou: float = 0.5) -> list[plain_ssd.Match]:
    """The object of each prior, counted within its image."""
    matches = match(boxes, priors_N4, least_iou)
    found: list[plain_ssd.Match] = [[None] * len(priors_N4) for _ in boxes]
    firsts = np.cumsum([0, *map(len, boxes)])
    for image, prior, number in torch.stack((matches.images, matches.priors, matches.objects), dim=1).tolist():
        found[image][prior] = number - int(firsts[image])
    return found


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_it_is_the_papers_for_any_boxes_and_priors(data: st.DataObject) -> None:
    priors_N4 = to_centres(data.draw(boxes_on_a_grid(1, 20)))
    boxes = data.draw(st.lists(boxes_on_a_grid(0, 8), min_size=1, max_size=4))
    least_iou = data.draw(st.sampled_from([0.25, 0.5, 0.75]))
    expected = [plain_ssd.match(each.numpy(), priors_N4.numpy(), least_iou) for each in boxes]
    assert matched(boxes, priors_N4, least_iou) == expected


@pytest.mark.parametrize("counts", [(1,), (0, 3, 9, 1, 0), (100, 2)], ids=str)
def test_it_is_the_papers_for_ssds_priors(counts: tuple[int, ...]) -> None:
    boxes, fewer = [some_boxes(seed, count) for seed, count in enumerate(counts)], priors(160, 96)
    assert matched(boxes, fewer) == [plain_ssd.match(each.numpy(), fewer.numpy(), 0.5) for each in boxes]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 100))
def test_it_is_torchvisions(seed: int, count: int) -> None:
    """Objects that take the same prior are left out: torchvision assigns them in no certain order."""
    boxes = some_boxes(seed, count)
    ious = box_iou(boxes, to_corners(PRIORS))
    _, firsts = np.unique(ious.argmax(dim=1).numpy(), return_index=True)
    alone = torch.from_numpy(np.sort(firsts))
    theirs = SSDMatcher(0.5)(ious[alone])
    ours = matched([boxes[alone]], PRIORS)[0]
    assert [-1 if each is None else each for each in ours] == theirs.tolist()


def test_iou_is_torchvisions() -> None:
    boxes, corners = some_boxes(1, 50), to_corners(PRIORS)
    torch.testing.assert_close(iou(boxes, corners), box_iou(boxes, corners), atol=1e-6, rtol=0)


def test_a_box_like_a_prior_takes_it() -> None:
    """Priors of a border are clipped, so that some are alike: the first of them is taken."""
    numbers = torch.arange(0, len(PRIORS), 97)
    found = matched([to_corners(PRIORS[each : each + 1]) for each in numbers], PRIORS)
    for number, of_priors in zip(numbers.tolist(), found, strict=True):
        assert of_priors[number] == 0


def test_the_last_of_the_objects_that_take_one_prior_gets_it() -> None:
    priors_N4 = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    near = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.9, 0.9], [0.0, 0.0, 0.8, 0.8]])
    assert matched([near], priors_N4) == [[2, None]]
    assert matched([near.flip(0)], priors_N4) == [[2, None]]


def test_an_iou_of_the_threshold_is_enough() -> None:
    """As in the release and in torchvision; the paper says higher."""
    priors_N4 = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.75]])
    assert matched([torch.tensor([[0.0, 0.0, 1.0, 1.0]])], priors_N4) == [[0, 0, None]]


def test_an_object_far_from_all_priors_has_one_nevertheless() -> None:
    """An object of one pixel, and one that no prior touches: for that, all are equal."""
    priors_N4 = torch.tensor([[0.25, 0.25, 0.2, 0.2], [0.75, 0.75, 0.2, 0.2]])
    assert matched([torch.tensor([[0.75, 0.75, 0.751, 0.751]])], priors_N4) == [[None, 0]]
    assert matched([torch.tensor([[0.45, 0.0, 0.55, 0.1]])], priors_N4) == [[0, None]]


def test_without_objects_there_are_no_matches() -> None:
    assert matched([torch.empty(0, 4)] * 3, PRIORS) == [[None] * len(PRIORS)] * 3


@settings(deadline=None, max_examples=30)
@given(st.lists(boxes_on_a_grid(0, 8), min_size=1, max_size=6))
def test_images_are_matched_as_if_each_were_alone(boxes: list[Tensor]) -> None:
    assert matched(boxes, PRIORS) == [matched([each], PRIORS)[0] for each in boxes]
