"""Previews show what a network is trained on: images, and their targets where these are."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mvlab.data.feed.batch import Batch
from mvlab.report.preview import draw_batch
from mvlab.targets import Ragged, Targets
from mvlab.tasks.base import Task
from mvlab.tasks.classification.task import Classification
from mvlab.tasks.detection.pictures import CROWD, class_colour
from mvlab.tasks.detection.task import Detection

CLASSES = ("ant", "bee", "cat")
BLUE = (0, 0, 90)
SIDE = 320


def drawn(task: Task, targets: Targets, count: int = 2) -> list[NDArray[np.uint8]]:
    """Images (320, 320, 3) of a preview of `count` blue ones side by side."""
    pixels = np.empty((count, 3, SIDE, SIDE), np.uint8)
    pixels[:] = np.array(BLUE, np.uint8)[:, None, None]
    sheet = draw_batch(Batch(0, pixels, targets), task, CLASSES, title="two", most=count)
    array = np.asarray(sheet)
    rows = np.flatnonzero((array == BLUE).all(axis=-1).any(axis=1))
    columns = np.flatnonzero((array == BLUE).all(axis=-1).any(axis=0))
    top, left = rows[0], columns[0]
    right = columns[-1] + 1 - SIDE
    return [array[top : top + SIDE, start : start + SIDE] for start in (left, right)]


def sides(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Left, right and bottom of a colour. At the top there is a label."""
    rows, columns = np.nonzero((image == colour).all(axis=-1))
    return int(columns.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_boxes_of_a_training_batch_are_shares_of_its_images() -> None:
    boxes = np.array([[0.25, 0.25, 0.75, 0.5], [0.5, 0.5, 1, 1], [0.1, 0.2, 0.6, 0.9]], np.float32)
    targets: Targets = {
        "boxes": Ragged(boxes, np.array([1, 3])),
        "categories": Ragged(np.array([0, 1, 2]), np.array([1, 3])),
        "output_size": np.array([[SIDE, SIDE]] * 2),
    }
    first, second = drawn(Detection(), targets)
    assert sides(first, class_colour(0)) == (80, 240, 160)
    assert sides(second, class_colour(1)) == (160, 320, 320)
    assert sides(second, class_colour(2)) == (32, 192, 288)


def test_boxes_of_an_evaluation_batch_are_in_pixels_of_the_source() -> None:
    targets: Targets = {
        "image_id": np.array([7, 9]),
        "boxes": Ragged(np.array([[64.0, 48.0, 320.0, 240.0], [16.0, 16.0, 64.0, 128.0]]), np.array([1, 2])),
        "categories": Ragged(np.array([0, 1]), np.array([1, 2])),
        "crowd": Ragged(np.array([False, True]), np.array([1, 2])),
        "image_size": np.array([[640, 480], [160, 320]]),
        "output_size": np.array([[SIDE, SIDE]] * 2),
    }
    first, second = drawn(Detection(), targets)
    assert sides(first, class_colour(0)) == (32, 192, 192)
    left, right, bottom = sides(second, CROWD)
    assert (left, bottom) == (32, 144)
    assert 150 <= right <= 160, "dashes may end before the corner"


def test_images_without_objects_stay_as_they_are() -> None:
    ends = np.zeros(2, np.int64)
    targets: Targets = {
        "boxes": Ragged(np.zeros((0, 4), np.float32), ends),
        "categories": Ragged(np.zeros(0, np.int64), ends),
        "output_size": np.array([[SIDE, SIDE]] * 2),
    }
    assert all((image == BLUE).all() for image in drawn(Detection(), targets))


def test_nothing_is_drawn_on_images_with_labels() -> None:
    assert all((image == BLUE).all() for image in drawn(Classification(), {"label": np.array([0, 2])}))


@pytest.mark.parametrize("count", [1, 60])
def test_small_images_have_their_boxes_too(count: int) -> None:
    pixels = np.zeros((count, 3, SIDE, SIDE), np.uint8)
    targets: Targets = {
        "boxes": Ragged(np.tile(np.array([0.1, 0.1, 0.9, 0.9], np.float32), (count, 1)), np.arange(1, count + 1)),
        "categories": Ragged(np.full(count, 1), np.arange(1, count + 1)),
        "output_size": np.array([[SIDE, SIDE]] * count),
    }
    sheet = draw_batch(Batch(0, pixels, targets), Detection(), CLASSES, title="many", most=count)
    assert isinstance(sheet, Image.Image)
    assert (np.asarray(sheet) == class_colour(1)).all(axis=-1).sum() > count * 4 * 100
