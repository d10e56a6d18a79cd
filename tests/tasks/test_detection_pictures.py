"""Pictures of detections: boxes where they are, labels that can be read, truth beside prediction."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shared_data import SHARED_DATA

from mvlab.tasks.detection.pictures import (
    CROWD,
    GAP,
    HEADER,
    PANEL,
    Boxes,
    Picture,
    class_colour,
    draw_boxes,
    draw_detections,
    sheet,
)

COCO = SHARED_DATA / "coco-38"
CLASSES = ("ant", "bee", "cat")
NOTHING = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def extent(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(image) == colour).all(axis=-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def one(*corners: float, category: int = 0, score: float | None = None) -> Boxes:
    scores = None if score is None else np.array([score])
    return Boxes(np.array([corners]), np.array([category]), scores)


def test_a_box_is_drawn_on_its_outermost_pixels() -> None:
    image = Image.new("RGB", (300, 200))
    draw_boxes(image, one(50, 60, 250, 180, category=1), ("ant", ""))
    left, top, right, bottom = extent(image, class_colour(1))
    assert (left, right, bottom) == (50, 250, 180)
    assert top <= 60, "a label stands on the box"
    assert image.getpixel((50, 100)) == image.getpixel((249, 100)) == image.getpixel((150, 60)) == class_colour(1)
    assert image.getpixel((150, 120)) == (0, 0, 0), "the inside stays"


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    corners=st.lists(st.tuples(*[st.floats(-500, 900) | st.sampled_from([np.inf, -np.inf, np.nan])] * 4), max_size=12),
    name=st.sampled_from(["", "a", "Zürich", "a name that is longer than most images are wide " * 3]),
)
def test_any_box_can_be_drawn(
    size: tuple[int, int], corners: list[tuple[float, float, float, float]], name: str
) -> None:
    """Beyond the image, without extent, upside down, or no number: a network's predictions are no better at first."""
    image = Image.new("RGB", size)
    count = len(corners)
    boxes = Boxes(np.array(corners).reshape(-1, 4), np.zeros(count, np.int64), None, np.arange(count) % 3 == 0)
    draw_boxes(image, boxes, (name,))
    assert image.size == size
    assert np.asarray(image).any() == (count > 0)


def test_crowds_are_grey_and_dashed() -> None:
    image = Image.new("RGB", (300, 200))
    boxes = one(50, 60, 250, 180)
    draw_boxes(image, Boxes(boxes.corners, boxes.categories, crowd=np.array([True])), ("",))
    bottom = [image.getpixel((x, 179)) for x in range(50, 250)]
    assert set(bottom) == {CROWD, (0, 0, 0)}
    assert 0.3 < np.mean([pixel == CROWD for pixel in bottom]) < 0.7


def test_labels_cover_no_other_label() -> None:
    """Thirty detections at the same place have as many labels as fit, those of the highest scores first."""
    image = Image.new("RGB", (200, 200))
    boxes = Boxes(np.tile([60.0, 60.0, 160.0, 160.0], (30, 1)), np.arange(30) % 2, np.linspace(0.4, 0.9, 30))
    draw_boxes(image, boxes.above(0.3), CLASSES)
    best = Image.new("RGB", (200, 200))
    draw_boxes(best, one(60, 60, 160, 160, category=29 % 2, score=0.9), CLASSES)
    above = (60, 40, 90, 60)  # the first place of a label
    assert np.asarray(best.crop(above)).any()
    assert image.crop(above).tobytes() == best.crop(above).tobytes()


def test_each_of_80_classes_has_a_colour_of_its_own() -> None:
    colours = np.array([class_colour(category) for category in range(80)])
    distances = np.abs(colours[:, None] - colours).max(axis=-1)
    assert distances[~np.eye(80, dtype=bool)].min() >= 8
    near = [distances[category, category + 1] for category in range(79)]
    assert min(near) > 80, "neighbours in a list of classes are often alike"


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (64, 64), (2_000, 30)])
def test_truth_is_left_and_detections_are_right(size: tuple[int, int]) -> None:
    corners = (size[0] / 4, size[1] / 4, size[0], size[1])
    picture = Picture(Image.new("RGB", size), one(*corners, category=0), one(*corners, category=2, score=0.8))
    drawn = draw_detections(picture, CLASSES)
    width = (drawn.width - GAP) // 2
    assert max(width, drawn.height - HEADER) == PANEL, "all images are about as large"
    truth, found = extent(drawn, class_colour(0)), extent(drawn, class_colour(2))
    assert truth[2] <= width
    assert found[0] >= width + GAP
    assert abs(truth[0] - width / 4) <= 1
    assert truth[2] == width
    assert [found[0] - width - GAP, found[2] - width - GAP] == [truth[0], truth[2]]


def test_detections_below_the_least_score_are_not_drawn() -> None:
    scores = np.array([0.29, 0.9, 0.3])
    found = Boxes(np.tile([10.0, 10.0, 50.0, 50.0], (3, 1)), np.arange(3), scores)
    assert found.above(0.3).categories.tolist() == [2, 1], "the best is drawn last, so nothing covers it"
    drawn = np.asarray(draw_detections(Picture(Image.new("RGB", (64, 64)), NOTHING, found), CLASSES))
    shown = [bool((drawn == class_colour(category)).all(axis=-1).any()) for category in range(3)]
    assert shown == [False, True, True]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_sheet_shows_all_pictures(count: int) -> None:
    colours = [(10 + 40 * number, 0, 200) for number in range(count)]
    pictures = [Picture(Image.new("RGB", (40, 30), colour), NOTHING, NOTHING) for colour in colours]
    drawn = sheet(pictures, CLASSES, title="epoch 12: mAP 24.8%")
    for colour in colours:
        left, _, right, bottom = extent(drawn, colour)
        assert right - left == 2 * PANEL + GAP
        assert right + GAP <= drawn.width
        assert bottom + GAP <= drawn.height
    title = np.asarray(drawn.crop((0, 0, 200, 25)))
    assert (title < 100).any()


@pytest.mark.skipif(not COCO.is_dir(), reason=f"needs {COCO} (or MVLAB_SHARED_DATA)")
def test_real_images_grey_ones_too() -> None:
    source = json.loads((COCO / "annotations" / "instances_val2017.json").read_text())
    categories = {each["id"]: index for index, each in enumerate(source["categories"])}
    names = [each["name"] for each in source["categories"]]
    pictures = []
    for entry in source["images"]:
        objects = [each for each in source["annotations"] if each["image_id"] == entry["id"]]
        boxes = np.array([each["bbox"] for each in objects], np.float64).reshape(-1, 4)
        truth = Boxes(
            np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
            np.array([categories[each["category_id"]] for each in objects], np.int64),
            crowd=np.array([bool(each["iscrowd"]) for each in objects], np.bool_),
        )
        with Image.open(COCO / "val2017" / entry["file_name"]) as image:
            pictures.append(Picture(image.convert("L"), truth, NOTHING))
    drawn = sheet(pictures, names, title="coco-38")
    assert drawn.size == sheet(pictures, names, title="").size
    used = {int(category) for each in pictures for category in each.truth.categories}
    assert all(extent(drawn, class_colour(category)) for category in used)


def test_reports_draw_without_torch() -> None:
    code = "import sys, mvlab.tasks.detection.pictures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split() == [b"False"]
