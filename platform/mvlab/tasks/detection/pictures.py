"""Pictures of objects and detections, as in Figures 14 to 16: boxes with names, in a colour for each class."""

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mvlab.data.sources.objects import corners_of
from mvlab.targets import Targets

LEAST_SCORE = 0.3
"""Detections with a lower score are not drawn."""
PANEL = 560
"""Pixels of the longer side of an image in a sheet."""
GAP, HEADER, TITLE = 8, 20, 30
BACKGROUND, INK, CROWD = "white", "black", (160, 160, 160)
_GOLDEN = 0.618034
"""Share of the colour circle between the colours of consecutive classes. No two of 80 classes have the same hue."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Objects of an image, or detections in it."""

    corners: NDArray[np.floating[Any]]
    """(M, 4): left, top, right and bottom, in pixels of the image."""
    categories: NDArray[np.integer[Any]]
    """(M,) class indices from 0."""
    scores: NDArray[np.floating[Any]] | None = None
    """(M,) scores of detections; None for objects."""
    crowd: NDArray[np.bool_] | None = None
    """(M,), true for boxes around many objects. None: there are none."""

    def __len__(self) -> int:
        return len(self.corners)

    def resized(self, source: tuple[float, float], size: tuple[float, float]) -> "Boxes":
        """Return the boxes in an image resized from `source` to `size`, each width and height."""
        factors = np.array([size[0] / source[0], size[1] / source[1]] * 2)
        return replace(self, corners=self.corners * factors)

    def above(self, score: float) -> "Boxes":
        """Return the detections with at least this score, the highest last. Without scores, return all."""
        if self.scores is None:
            return self
        order = np.argsort(self.scores, kind="stable")
        order = order[self.scores[order] >= score]
        crowd = None if self.crowd is None else self.crowd[order]
        return Boxes(self.corners[order], self.categories[order], self.scores[order], crowd)

    def labels(self, classes: Sequence[str]) -> Iterator[tuple[Rectangle, str, tuple[int, int, int], bool]]:
        """Yield corners, text, colour and whether it is a crowd, for each box."""
        for number, (corners, category) in enumerate(zip(self.corners.tolist(), self.categories.tolist(), strict=True)):
            is_crowd = self.crowd is not None and bool(self.crowd[number])
            text = classes[category] if self.scores is None else f"{classes[category]} {self.scores[number]:.2f}"
            yield corners, text, CROWD if is_crowd else class_colour(category), is_crowd


@dataclass(frozen=True, slots=True)
class Picture:
    """Image with its objects and the detections in it."""

    image: Image.Image
    truth: Boxes
    found: Boxes


def sheet(pictures: Sequence[Picture], classes: Sequence[str], *, title: str) -> Image.Image:
    """Return all pictures below a title, two in a row. Each is drawn by `draw_detections`."""
    drawn = [draw_detections(picture, classes) for picture in pictures]
    rows = [drawn[start : start + 2] for start in range(0, len(drawn), 2)]
    width = max([2 * PANEL, *(sum(each.width + 2 * GAP for each in row) for row in rows)])
    height = sum(max(each.height for each in row) + 2 * GAP for row in rows)
    out = Image.new("RGB", (width, TITLE + height), BACKGROUND)
    ImageDraw.Draw(out).text((GAP, GAP), title, INK, ImageFont.load_default(17))
    top = TITLE + GAP
    for row in rows:
        left = GAP
        for each in row:
            out.paste(each, (left, top))
            left += each.width + 2 * GAP
        top += max(each.height for each in row) + 2 * GAP
    return out


def draw_detections(picture: Picture, classes: Sequence[str], *, least_score: float = LEAST_SCORE) -> Image.Image:
    """Return the image twice, side by side: with its objects, and with the detections of at least a score."""
    source = picture.image.size
    size = (max(1, source[0] * PANEL // max(source)), max(1, source[1] * PANEL // max(source)))
    image = picture.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    found = picture.found.above(least_score)
    out = Image.new("RGB", (2 * size[0] + GAP, HEADER + size[1]), BACKGROUND)
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(13)
    headers = (
        _counted(len(picture.truth), "object"),
        f"{_counted(len(found), 'detection')}, score from {least_score:g}",
    )
    for left, boxes, header in zip((0, size[0] + GAP), (picture.truth, found), headers, strict=True):
        panel = image.copy()
        draw_boxes(panel, boxes.resized(source, size), classes)
        out.paste(panel, (left, HEADER))
        draw.text((left, 2), header, INK, font)
    return out


def draw_targets(image: Image.Image, targets: Targets, number: int, classes: Sequence[str]) -> None:
    """Draw the objects of a sample onto its image, whose size may differ from the batch's.

    Args:
        image: the sample's image, as the network sees it.
        targets: targets of a batch of `TrainingView` or `EvaluationView`.
        number: number of the sample in the batch.
        classes: names of classes.
    """
    boxes, categories = np.asarray(targets["boxes"][number], np.float64), targets["categories"][number]
    if "image_size" not in targets:  # of a training view
        draw_boxes(image, Boxes(boxes, categories).resized((1, 1), image.size), classes)
        return
    width, height = targets["image_size"][number].tolist()
    in_source = Boxes(corners_of(boxes), categories, crowd=targets["crowd"][number])
    draw_boxes(image, in_source.resized((width, height), image.size), classes)


def draw_boxes(image: Image.Image, boxes: Boxes, classes: Sequence[str]) -> None:
    """Draw boxes onto an image: crowds in grey and dashed, others in the colour of their class.

    Later boxes are drawn over earlier ones, and their labels are placed first. A label that would cover another one is
    left out.
    """
    draw, longer = ImageDraw.Draw(image), max(image.size)
    line, font = max(1, round(longer / 280)), ImageFont.load_default(max(9, round(longer / 42)))
    for corners, _, colour, is_crowd in boxes.labels(classes):
        left, top, right, bottom = _inside(corners, image)
        if is_crowd:
            _draw_dashed(draw, (left, top, right, bottom), line)
        else:
            draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    taken: list[Rectangle] = []
    for corners, text, colour, _ in reversed(list(boxes.labels(classes))):
        size = draw.textbbox((0, 0), text, font)[2:]
        place = _free_place(size, _inside(corners, image), image.size, taken)
        if place is not None:
            taken.append(place)
            draw.rectangle(place, fill=colour)
            middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
            draw.text(middle, text, _ink(colour), font, "mm")


def class_colour(category: int) -> tuple[int, int, int]:
    """Return the colour of a class, the same in all pictures."""
    saturation, value = ((0.9, 1.0), (0.55, 1.0), (0.9, 0.7))[category % 3]
    red, green, blue = colorsys.hsv_to_rgb(category * _GOLDEN % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(colour: tuple[int, int, int]) -> str:
    """Return black or white, whichever is readable on a colour."""
    red, green, blue = colour
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 128 else "white"


def _inside(corners: Rectangle, image: Image.Image) -> Rectangle:
    """Return the outermost pixels of a box that are inside of the image. A corner that is no number becomes 0."""
    left, right = (round(min(max(0, x), image.width - 1)) for x in (corners[0], corners[2] - 1))
    top, bottom = (round(min(max(0, y), image.height - 1)) for y in (corners[1], corners[3] - 1))
    return left, top, max(left, right), max(top, bottom)


def _free_place(
    text: tuple[float, float], box: Rectangle, size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle | None:
    """Return a place for a label at its box that is inside of the image and covers no other label, if there is one."""
    width, height = text[0] + 4, text[1] + 3
    left, top, right, bottom = box
    corners = (
        (left, top - height),
        (left, top),
        (right - width, bottom - height),
        (left, bottom),
        (right - width, top),
    )
    for x, y in corners:
        x, y = max(0, min(x, size[0] - 1 - width)), max(0, min(y, size[1] - 1 - height))
        place = (x, y, x + width, y + height)
        if not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _draw_dashed(draw: ImageDraw.ImageDraw, box: Rectangle, line: int) -> None:
    left, top, right, bottom = box
    dash = 4 * line + 2
    for x in np.arange(left, right, 2 * dash).tolist():
        for y in (top, bottom):
            draw.line((x, y, min(x + dash, right), y), CROWD, line)
    for y in np.arange(top, bottom, 2 * dash).tolist():
        for x in (left, right):
            draw.line((x, y, x, min(y + dash, bottom)), CROWD, line)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
