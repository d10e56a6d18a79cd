"""One geometry for pixels, boxes and masks: what torchvision makes of an image, its boxes and its mask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded, pixels, tiled
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import decode_image, resize_box
from mvlab.data.feed.render import render
from mvlab.data.geometry import Geometry

MARGIN = 90
"""Pixels by which a box may leave its image, each way."""
FILL = (123, 117, 104)
sides = st.integers(1, 90)


@st.composite
def geometries(draw: st.DrawFn, width: int, height: int, *, margin: int = MARGIN) -> Geometry:
    """Crop with padding where it leaves the image, resize, flip: of one image."""
    left, top = draw(st.integers(-margin, width + margin - 1)), draw(st.integers(-margin, height + margin - 1))
    right, bottom = draw(st.integers(left + 1, width + margin)), draw(st.integers(top + 1, height + margin))
    size = draw(sides), draw(sides)
    if draw(st.booleans()):  # no resize
        size = bottom - top, right - left
    box = np.array([(left, top, right, bottom)], np.float64)
    return Geometry(box, np.array([draw(st.booleans())]), size, padding=FILL)


def by_torchvision(geometry: Geometry, value, *, fill=None, across_first: bool = False):
    """Pad, crop, resize and flip, by its functional API."""
    left, top, right, bottom = (int(side) for side in geometry.boxes[0])
    padded = F.pad(value, [MARGIN] * 4, fill=fill)
    value = F.crop(padded, top + MARGIN, left + MARGIN, bottom - top, right - left)
    steps = [(bottom - top, geometry.size[1]), geometry.size] if across_first else [geometry.size]
    for size in steps:
        value = F.resize(value, list(size), antialias=True)
    return F.horizontal_flip(value) if geometry.mirrored[0] else value


def rendered(image: bytes, geometry: Geometry, *, is_tiled: bool = False) -> np.ndarray:
    out = np.empty((1, 3, *geometry.size), np.uint8)
    render(EncodedImages.of([image]), geometry, out, tiled=np.array([is_tiled]))
    return out[0]


@settings(max_examples=300)
@given(data=st.data(), width=sides, height=sides)
def test_pixels_are_torchvisions(data: st.DataObject, width: int, height: int) -> None:
    """Equal to the bit for PIL images that are resized across, then down; for tensors within a level for each pass.

    Torch's weights for tensors have fewer bits.
    """
    geometry = data.draw(geometries(width, height))
    jpeg = tiled(encoded(pixels(width, height), data.draw(st.sampled_from(["444", "420", "Gray"]))))
    image = decode_image(jpeg)
    ours = rendered(jpeg, geometry)
    assert np.array_equal(rendered(jpeg, geometry, is_tiled=True), ours)
    theirs = by_torchvision(geometry, image, fill=FILL, across_first=True)
    assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))
    tensor = by_torchvision(geometry, tv_tensors.Image(F.pil_to_tensor(image)), fill=FILL)
    assert np.abs(ours.astype(int) - tensor.numpy()).max() <= 2


@settings(max_examples=300)
@given(data=st.data(), width=sides, height=sides, mode=st.sampled_from(["hard", None]))
def test_boxes_are_torchvisions(data: st.DataObject, width: int, height: int, mode: str | None) -> None:
    """Clipped, or not clipped at all: within 1e-4 pixels, and in the type that they had."""
    geometry = data.draw(geometries(width, height))
    corners = data.draw(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5))
    ends = np.sort(np.array(corners, np.float32).reshape(-1, 2, 2), axis=1) * np.float32([width, height])
    boxes = ends.reshape(-1, 4).astype(np.float64)  # exact in both types
    images = np.zeros(len(boxes), np.int64)
    theirs = by_torchvision(
        geometry,
        tv_tensors.BoundingBoxes(
            torch.from_numpy(boxes), format="XYXY", canvas_size=(height, width), clamping_mode=mode
        ),
    ).numpy()
    for kind in (np.float64, np.float32):
        placed, is_inside = geometry.place_boxes(boxes.astype(kind), images, clip=mode is not None)
        assert placed.dtype == kind
        assert np.allclose(placed, theirs, rtol=1e-6, atol=1e-4)  # torchvision's factors are of float32
        clipped, _ = geometry.place_boxes(boxes.astype(kind), images)
        assert is_inside.tolist() == ((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])).tolist()


@settings(max_examples=300)
@given(data=st.data(), width=sides, height=sides)
def test_masks_are_torchvisions(data: st.DataObject, width: int, height: int) -> None:
    geometry = data.draw(geometries(width, height))
    mask = np.random.default_rng(0).integers(0, 21, (height, width), dtype=np.uint8)
    theirs = by_torchvision(geometry, tv_tensors.Mask(torch.from_numpy(mask)), fill=255)
    assert np.array_equal(geometry.place_mask(mask, 0), theirs.numpy())


def test_boxes_of_a_batch_go_with_their_images() -> None:
    sources = np.array([(0.0, 0, 10, 10), (-5, 2, 15, 12)])
    batch = Geometry(sources, np.array([False, True]), (20, 30))
    boxes, images = np.array([(1.0, 2, 3, 4), (0, 0, 9, 9), (40, 40, 50, 50)]), np.array([1, 0, 1])
    placed, is_inside = batch.place_boxes(boxes, images)
    assert placed[0].tolist() == [30 - 12, 0, 30 - 9, 4]
    assert placed[1].tolist() == [0, 0, 27, 18]
    assert is_inside.tolist() == [True, True, False]


def test_a_box_of_fractions_that_leaves_its_image_shows_padding() -> None:
    """The same as the box of an image that had the padding from the start."""
    image, size, box = Image.fromarray(pixels(40, 30)), (24, 32), (-3.5, 4.25, 20.0, 33.5)
    padded = Image.new("RGB", (60, 50), FILL)
    padded.paste(image, (10, 10))
    inside = (box[0] + 10, box[1] + 10, box[2] + 10, box[3] + 10)
    ours = resize_box(image, box, size, is_whole=False, padding=FILL)
    assert np.array_equal(ours, resize_box(padded, inside, size, is_whole=False))


def test_a_mask_of_a_box_of_fractions_is_looked_up_where_the_box_is() -> None:
    mask = np.random.default_rng(0).integers(0, 21, (30, 40), dtype=np.uint8)
    box = 2.5, -1.25, 42.5, 18.75
    geometry = Geometry(np.array([box]), np.array([False]), (8, 16), are_whole=False)
    padded = np.full((60, 60), 255, np.uint8)
    padded[10:40, 10:50] = mask
    expected = [[padded[int(10 - 1.25 + 2.5 * y), int(10 + 2.5 + 2.5 * x)] for x in range(16)] for y in range(8)]
    assert geometry.place_mask(mask, 0).tolist() == expected


@pytest.mark.parametrize("box", [(5, 0, 5, 9), (0, 9, 5, 9), (0, 0, 4.5, 9)])
def test_boxes_without_pixels_or_with_parts_of_them_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="boxes"):
        Geometry(np.array([box], np.float64), np.array([False]), (8, 8))
