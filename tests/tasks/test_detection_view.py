"""Augmentation of images with objects: SSD's crops, and boxes that go where the pixels go."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded, pixels, tiled
from torchvision import tv_tensors
from torchvision.ops import box_iou
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import decode_image
from mvlab.data.feed.render import render
from mvlab.targets import Ragged, Targets
from mvlab.tasks.detection.config import AugmentationConfig
from mvlab.tasks.detection.view import TrainingView

SIZE = (96, 128)
sides = st.integers(1, 400)


@st.composite
def objects(draw: st.DrawFn, width: int, height: int) -> list[list[float]]:
    """Boxes within the image, as left, top, width and height."""
    shares = st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4)
    corners = np.sort(np.array(draw(shares)).reshape(-1, 2, 2), axis=1) * [width, height]
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
    return boxes[(boxes[:, 2:] > 0).all(axis=1)].tolist()


@st.composite
def images(draw: st.DrawFn) -> tuple[int, int, int, list[list[float]]]:
    """Width, height, sample and boxes of an image."""
    width, height = draw(sides), draw(sides)
    return width, height, draw(st.integers(0, 2**40)), draw(objects(width, height))


batches = st.lists(images(), min_size=1, max_size=5)
configs = st.sampled_from(
    [
        AugmentationConfig(),
        AugmentationConfig(flip=0.1, trials=3, rounds=2, crop_sides=(0.01, 1.0), crop_ratio=(0.1, 9.0)),
        AugmentationConfig(overlaps=()),
    ]
)


def targets_of(boxes: list[list[list[float]]], crowd: bool = False) -> Targets:
    """Targets of images with these boxes. Categories count the boxes of the batch."""
    ends = np.cumsum([len(each) for each in boxes])
    values = np.array([box for each in boxes for box in each], np.float64).reshape(-1, 4)
    count = len(values)
    return {
        "boxes": Ragged(values, ends),
        "categories": Ragged(np.arange(count), ends),
        "crowd": Ragged(np.full(count, crowd), ends),
    }


def columns(batch: list[tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.array(column) for column in list(zip(*batch, strict=True))[:3])


def whole(batch: list[tuple]) -> list[list[float]]:
    return [[0, 0, width, height] for width, height, *_ in batch]


def iou(crop: np.ndarray, box: list[float]) -> float:
    x, y, w, h = box
    ours = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64)
    return float(box_iou(torch.from_numpy(crop[None]), ours))


@given(batch=batches, seed=st.integers(0, 2**32 - 1), config=configs)
def test_compiled_crops_are_the_same(batch: list, seed: int, config: AugmentationConfig) -> None:
    view, targets = TrainingView(config, seed, 3), targets_of([boxes for *_, boxes in batch])
    plain = view.place(*columns(batch), SIZE, targets)
    compiled = view.place(*columns(batch), SIZE, targets, compiled=True)
    assert np.array_equal(plain.boxes, compiled.boxes)
    assert np.array_equal(plain.mirrored, compiled.mirrored)


@given(batch=batches, seed=st.integers(0, 2**32 - 1))
def test_a_crop_overlaps_an_object_and_keeps_one(batch: list, seed: int) -> None:
    """Or is the whole image."""
    view = TrainingView(AugmentationConfig(overlaps=(0.4,)), seed, 0)
    targets = targets_of([boxes for *_, boxes in batch])
    geometry = view.place(*columns(batch), SIZE, targets, compiled=True)
    placed = view.targets(targets, geometry)
    for number, (width, height, _, boxes) in enumerate(batch):
        crop = geometry.boxes[number]
        if crop.tolist() == [0, 0, width, height]:
            continue
        assert 0 <= crop[0] < crop[2] <= width
        assert 0 <= crop[1] < crop[3] <= height
        assert max(iou(crop, box) for box in boxes) >= 0.4 - 1e-9
        assert len(placed["boxes"][number]) >= 1


@settings(max_examples=200)
@given(batch=batches, seed=st.integers(0, 2**32 - 1))
def test_boxes_are_torchvisions(batch: list, seed: int) -> None:
    """Boxes whose centre is in the crop, cropped, flipped and resized by its functional API."""
    view, targets = TrainingView(AugmentationConfig(), seed, 0), targets_of([boxes for *_, boxes in batch])
    geometry = view.place(*columns(batch), SIZE, targets, compiled=True)
    ours = view.targets(targets, geometry)
    assert ours["output_size"].tolist() == [list(SIZE)] * len(batch)
    number = 0
    for index, (width, height, _, boxes) in enumerate(batch):
        left, top, right, bottom = (int(side) for side in geometry.boxes[index])
        mine = dict(zip(ours["categories"][index].tolist(), ours["boxes"][index], strict=True))
        for box in boxes:
            value = tv_tensors.BoundingBoxes(
                torch.tensor([box], dtype=torch.float64), format="XYWH", canvas_size=(height, width)
            )
            value = F.convert_bounding_box_format(value, new_format="XYXY")
            (x, y) = (value[0, :2] + value[0, 2:]).numpy() * 0.5
            value = F.resize(F.crop(value, top, left, bottom - top, right - left), list(SIZE))
            value = F.horizontal_flip(value) if geometry.mirrored[index] else value
            shares = value[0].numpy() / np.tile(SIZE[::-1], 2)
            assert (number in mine) <= (left < x < right and top < y < bottom)
            if number in mine:
                assert np.allclose(mine[number], shares, atol=1e-5)
                assert (mine[number][:2] < mine[number][2:]).all()
            else:
                is_sliver = (np.diff(shares.reshape(2, 2), axis=0) < 1e-6).any()
                assert is_sliver or not (left < x < right and top < y < bottom)
            number += 1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), is_tiled=st.booleans())
def test_pixels_are_torchvisions(seed: int, is_tiled: bool) -> None:
    """Within a level for each of the two passes of the resize. Boxes and pixels have one geometry."""
    jpeg = tiled(encoded(pixels(150, 110), "420"))
    targets, view = targets_of([[[30.0, 20.0, 60.0, 50.0]]]), TrainingView(AugmentationConfig(), seed, 0)
    geometry = view.place(np.array([150]), np.array([110]), np.array([7]), SIZE, targets)
    out = np.empty((1, 3, *SIZE), np.uint8)
    render(EncodedImages.of([jpeg]), geometry, out, tiled=np.array([is_tiled]))
    left, top, right, bottom = (int(side) for side in geometry.boxes[0])
    theirs = F.crop(F.pil_to_tensor(decode_image(jpeg)), top, left, bottom - top, right - left)
    theirs = F.resize(theirs, list(SIZE), antialias=True)
    theirs = F.horizontal_flip(theirs) if geometry.mirrored[0] else theirs
    assert np.abs(out[0].astype(int) - theirs.numpy()).max() <= 2


def placed(config: AugmentationConfig, boxes: list, count: int = 2_000, width: int = 400, height: int = 300):
    view, targets = TrainingView(config, 0, 0), targets_of([boxes] * count)
    sizes = np.full(count, width), np.full(count, height)
    return view.place(*sizes, np.arange(count), SIZE, targets, compiled=True)


def test_crops_are_distributed_as_torchvisions() -> None:
    """Means of position and size over 2,000 draws, within three and a half standard errors.

    The whole image is one of torchvision's options too. Its crops begin and end at whole pixels, ours are rounded to
    them: half a pixel is allowed. It asks only objects with their centre in the crop; a single object makes no
    difference.
    """
    box = [120.0, 80.0, 160.0, 130.0]
    image = tv_tensors.Image(torch.zeros(3, 300, 400, dtype=torch.uint8))
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[120.0, 80, 280, 210]]), format="XYXY", canvas_size=(300, 400))
    overlaps = (0.1, 0.3, 0.5, 0.7, 0.9)
    theirs, crop = [], v2.RandomIoUCrop(sampler_options=[*overlaps, 2.0])
    torch.manual_seed(0)
    for _ in range(2_000):
        found = crop.make_params([image, boxes])
        theirs.append([found[name] for name in ("left", "top", "width", "height")] if found else [0, 0, 400, 300])
    mine = placed(AugmentationConfig(overlaps=overlaps), [box]).boxes
    mine[:, 2:] -= mine[:, :2]
    other = np.array(theirs, float)
    error = np.sqrt(mine.var(axis=0) / len(mine) + other.var(axis=0) / len(other))
    assert (np.abs(mine.mean(axis=0) - other.mean(axis=0)) < 3.5 * error + 0.5).all()


def test_images_stay_whole_where_nothing_guides_a_crop() -> None:
    """Without objects, with crowds alone, and with an overlap that no crop reaches: after a bounded number of draws."""
    no_objects = placed(AugmentationConfig(), [])
    assert (no_objects.boxes == [0, 0, 400, 300]).all()
    view = TrainingView(AugmentationConfig(), 0, 0)
    crowds = targets_of([[[50.0, 50.0, 100.0, 100.0]]] * 20, crowd=True)
    among_crowds = view.place(np.full(20, 400), np.full(20, 300), np.arange(20), SIZE, crowds)
    assert (among_crowds.boxes == [0, 0, 400, 300]).all()
    assert len(view.targets(crowds, among_crowds)["boxes"].values) == 0
    tiny = placed(AugmentationConfig(overlaps=(1.0,)), [[5.0, 5.0, 2.0, 2.0]], count=200)
    assert (tiny.boxes == [0, 0, 400, 300]).all()


def test_whole_images_are_as_frequent_as_drawn() -> None:
    """One option of two, where any crop with the object's centre fits."""
    config = AugmentationConfig(overlaps=(0.0,))
    is_whole = (placed(config, [[190.0, 140.0, 20.0, 20.0]]).boxes == [0, 0, 400, 300]).all(axis=1)
    assert is_whole.mean() == pytest.approx(0.5, abs=0.05)


def test_flips_do_not_depend_on_the_trials() -> None:
    boxes = [[120.0, 80.0, 160.0, 130.0]]
    many, few = placed(AugmentationConfig(flip=0.3), boxes), placed(AugmentationConfig(flip=0.3, trials=1), boxes)
    assert np.array_equal(many.mirrored, few.mirrored)
    assert many.mirrored.mean() == pytest.approx(0.3, abs=0.04)


def test_a_sample_is_cut_the_same_in_whatever_batch() -> None:
    view, boxes = TrainingView(AugmentationConfig(), 5, 2), [[[10.0 + i, 20, 50, 40]] for i in range(5)]
    sizes = np.full(5, 97), np.full(5, 101)
    forth = view.place(*sizes, np.arange(5), SIZE, targets_of(boxes), compiled=True)
    back = view.place(*sizes, np.arange(5)[::-1], SIZE, targets_of(boxes[::-1]), compiled=True)
    assert np.array_equal(forth.boxes, back.boxes[::-1])
    assert np.array_equal(forth.mirrored, back.mirrored[::-1])
    later = TrainingView(AugmentationConfig(), 5, 3).place(*sizes, np.arange(5), SIZE, targets_of(boxes))
    assert (forth.boxes != later.boxes).any()


def test_crops_without_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="targets"):
        TrainingView(AugmentationConfig(), 0, 0).place(np.array([9]), np.array([9]), np.array([0]), SIZE)


def test_crops_and_colours_never_change() -> None:
    """Golden: other values would silently change every published run."""
    view, targets = TrainingView(AugmentationConfig(), 1, 2), targets_of([[[120.0, 80.0, 160.0, 130.0]]] * 3)
    geometry = view.place(np.full(3, 400), np.full(3, 300), np.arange(3), SIZE, targets)
    assert geometry.boxes.tolist() == [[0, 0, 400, 300], [3, 41, 388, 263], [0, 0, 400, 300]]
    assert geometry.mirrored.tolist() == [False, True, False]
    colours = np.full((3, 3, 1, 1), [[[[200]], [[120]], [[40]]]], np.uint8)
    view.recolour(colours, np.arange(3))
    assert colours.reshape(3, 3).tolist() == [[187, 123, 59], [0, 225, 113], [0, 158, 31]]
