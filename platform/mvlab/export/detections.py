"""Detections of a package, compared with those of its model.

Non-maximum suppression (NMS) turns a difference in the last digit into another box. So a decision that hangs on less
than `BAND` of a score or an IoU counts neither for the package nor against it.

Shapes: N priors, K classes without the background, M candidates, D detections.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou  # type: ignore[import-untyped]

from mvlab.export.mil.suppression import Suppression
from mvlab.tasks.detection.coding import to_corners
from mvlab.tasks.detection.config import RULES

SCORE, IOU = RULES["release"].score, RULES["release"].iou
"""Least score of a detection and threshold of NMS, for packages without a stage that states them."""
BAND = 0.01
"""Largest difference of equal scores, and of decisions that are left open."""
SAME_BOX = 0.99
"""Least IoU of equal boxes."""
SAME_CORNERS = 1e-4
"""Largest difference of corners, as shares of the image, with which boxes are equal whatever their IoU.

Boxes beyond an edge are clipped to no area, and have no IoU.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Agreement of detections over all images of a size, with scores above the threshold by more than `BAND`."""

    function: str
    size: tuple[int, int]
    """Height and width of the images."""
    rule: str
    """Rule of suppression: "in each class", or "in each best class" if a box counts for its best class alone."""
    score: float
    """Least score of a detection."""
    num_model: int
    """Detections of the model."""
    num_found: int
    """Detections of the model that the package has."""
    num_package: int
    """Detections of the package."""
    num_known: int
    """Detections of the package that the model has, or may have."""
    num_open: int
    """Detections of the model that hang on less than `BAND`, and are not counted."""

    @property
    def agrees(self) -> bool:
        return self.num_found == self.num_model and self.num_known == self.num_package


def differing(agreement: Agreement) -> str:
    """Return a sentence about detections that do not agree."""
    a, (height, width) = agreement, agreement.size
    return (
        f"detections above {a.score:g} at {width}x{height} differ: {a.num_model - a.num_found:,} of the model's "
        f"{a.num_model:,} are not the package's, and {a.num_package - a.num_known:,} of the package's "
        f"{a.num_package:,} are not the model's (IoU {SAME_BOX:g} or more, scores within {BAND:g})"
    )


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes with a class and a score each."""

    corners: Tensor
    """(M, 4) shares of the image."""
    scores: Tensor
    categories: Tensor

    def __getitem__(self, chosen: Tensor) -> "Boxes":
        return Boxes(self.corners[chosen], self.scores[chosen], self.categories[chosen])

    def __len__(self) -> int:
        return len(self.scores)


def compare(
    ours: Iterator[tuple[Tensor, Tensor]],
    theirs: Iterator[tuple[Tensor, Tensor]],
    stage: Suppression | None,
    *,
    function: str,
    size: tuple[int, int],
) -> Agreement:
    """Compare the detections of a package, and of its stage of NMS, with those of its model.

    Args:
        ours: boxes (N, 4) and scores (N, K) of the package, for each image.
        theirs: those of the model. Its NMS is torchvision's.
        stage: the package's stage of NMS, with which boxes have centre form. None: torchvision's for both.
    """
    counts = torch.tensor([_counts(a, b, stage) for a, b in zip(ours, theirs, strict=True)]).sum(0).tolist()
    names = ("num_model", "num_found", "num_package", "num_known", "num_open")
    return Agreement(
        function=function,
        size=size,
        rule="in each class" if stage is None else "in each best class",
        score=SCORE if stage is None else stage.least_confidence,
        **dict(zip(names, counts, strict=True)),
    )


def _counts(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], stage: Suppression | None
) -> tuple[int, int, int, int, int]:
    """Return the counts of `Agreement` for one image."""
    least, iou = (SCORE, IOU) if stage is None else (stage.least_confidence, stage.iou)
    corners, scores = theirs if stage is None else (to_corners(theirs[0]), theirs[1])
    known, is_open = candidates(corners, scores, least - BAND, best_only=stage is not None)
    kept, dropped = settled(known, is_open, iou)
    detected = torchvisions(corners, scores, least + BAND, iou, best_only=stage is not None)
    expected = known[kept & (known.scores > least + BAND)]
    found = _package_detections(ours, stage)
    certain = found[found.scores > least + BAND]
    return (
        len(expected),
        int(_has(found, expected).sum()),
        len(certain),
        int(_has(known[~dropped], certain).sum()),
        len(detected) - len(expected),
    )


def _package_detections(outputs: tuple[Tensor, Tensor], stage: Suppression | None) -> Boxes:
    """Return a package's detections; its stage gives a box for its best class."""
    boxes, scores = outputs
    if stage is None:
        return torchvisions(boxes, scores, SCORE, IOU, best_only=False)
    rows = stage.kept(boxes, scores)
    return Boxes(to_corners(boxes[rows]), *scores[rows].max(dim=1))


def torchvisions(corners: Tensor, scores: Tensor, least: float, iou: float, *, best_only: bool) -> Boxes:
    """Return what torchvision's NMS keeps in each class of the boxes with scores above `least`."""
    passes = scores > least
    if best_only:
        passes &= torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).bool()
    rows, categories = passes.nonzero(as_tuple=True)
    all_boxes = Boxes(corners[rows], scores[rows, categories], categories)
    return all_boxes[batched_nms(all_boxes.corners.double(), all_boxes.scores.double(), categories, iou)]


def candidates(corners: Tensor, scores: Tensor, least: float, *, best_only: bool) -> tuple[Boxes, Tensor]:
    """Return boxes with scores above `least`, and a mask (M,) of those whose class is open.

    With `best_only`, a box is of its best class. Other classes within `BAND` of it are open, and so is the best one.
    """
    passes = scores > least
    if best_only:
        passes &= scores >= scores.amax(dim=1, keepdim=True) - BAND
    rows, categories = passes.nonzero(as_tuple=True)
    is_open = passes.sum(1)[rows] > 1 if best_only else torch.zeros(len(rows), dtype=torch.bool)
    return Boxes(corners[rows], scores[rows, categories], categories), is_open


def settled(boxes: Boxes, is_open: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Return masks (M,) of the boxes that NMS keeps, and of those that it drops, whatever differences within `BAND`."""
    kept, dropped = (torch.zeros(len(boxes), dtype=torch.bool) for _ in range(2))
    for category in boxes.categories.unique():
        rows = (boxes.categories == category).nonzero().flatten()
        kept[rows], dropped[rows] = _settled(boxes[rows], is_open[rows], iou)
    return kept, dropped


def _settled(boxes: Boxes, is_open: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Do so for boxes of one class: a box is dropped by one that is kept, and kept if all that may drop it are not."""
    overlaps = box_iou(boxes.corners, boxes.corners).fill_diagonal_(0)
    ahead = boxes.scores - boxes.scores[:, None]  # how much the column's score is higher than the row's
    may_drop = (overlaps > iou - BAND) & (ahead > -BAND)
    must_drop = (overlaps > iou + BAND) & (ahead > BAND)
    kept, dropped = torch.zeros_like(is_open), torch.zeros_like(is_open)
    while True:
        now_dropped = (must_drop & kept).any(dim=1)
        now_kept = ~is_open & ~(may_drop & ~now_dropped).any(dim=1)
        if torch.equal(now_kept, kept) and torch.equal(now_dropped, dropped):
            return kept, dropped
        kept, dropped = now_kept, now_dropped


def _has(boxes: Boxes, wanted: Boxes) -> Tensor:
    """Tell for each wanted box whether an equal one is among `boxes`."""
    close = (wanted.scores[:, None] - boxes.scores).abs() <= BAND
    close &= wanted.categories[:, None] == boxes.categories
    same = box_iou(wanted.corners, boxes.corners) >= SAME_BOX
    close &= same | (torch.cdist(wanted.corners, boxes.corners, p=torch.inf) <= SAME_CORNERS)
    return close.any(dim=1)
