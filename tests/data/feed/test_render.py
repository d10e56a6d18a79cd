"""Pixels: those of torchvision's reference pipeline, however an image is stored."""

import io
import math
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from shared_data import SHARED_DATA
from torch.nn import functional as F
from torchvision.transforms import v2

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import decode_image, resize_box
from mvlab.data.feed.render import render
from mvlab.data.geometry import Geometry
from mvlab.data.ingest.image_check import take_in
from mvlab.tasks.base import View
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.classification.view import EvaluationView, TrainingView

sides = st.integers(1, 700)


def photo(width: int = 97, height: int = 61) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def cut_of(view: View, width: int, height: int, sample: int, resolution: int) -> Geometry:
    """Geometry of a single image."""
    return view.place(*(np.array([number]) for number in (width, height, sample)), (resolution, resolution))


def test_substitutes_of_a_corrupt_sample_are_the_same_on_every_machine() -> None:
    view = TrainingView(AugmentationConfig(), seed=5, epoch=2)
    first, again, other = (list(islice(view.substitutes(sample, 1_000), 8)) for sample in (3, 3, 4))
    assert first == again != other
    assert all(0 <= sample < 1_000 for sample in first)
    assert list(EvaluationView(EvaluationConfig()).substitutes(3, 1_000)) == [], "what is evaluated is what is there"


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG", **options)
    return file.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """Image without noise from pixel to pixel, as photos are."""
    return photo(width // 8 + 2, height // 8 + 2).resize((width, height), Image.Resampling.BICUBIC)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


@settings(max_examples=40)
@given(
    width=st.integers(33, 400),
    height=st.integers(33, 400),
    sample=st.integers(0, 10**6),
    resolution=st.sampled_from([32, 160, 224]),
    subsampling=st.sampled_from([0, 1, 2]),
)
def test_tiles_give_the_pixels_of_a_full_decode(width, height, sample, resolution, subsampling) -> None:
    """Against Pillow's full decode, crop and antialiased bilinear resize, which is torchvision's reference."""
    stored = take_in(jpeg(smooth(width, height), quality=90, subsampling=subsampling))
    assert stored.tiled
    cut = cut_of(TrainingView(AugmentationConfig(), 0, 0), width, height, sample, resolution)
    assert np.array_equal(rendered(stored.image, cut, tiled=True), by_pillow(stored.image, cut))


def rendered(encoded: bytes, cut: Geometry, *, tiled: bool) -> np.ndarray:
    out = np.empty((1, 3, *cut.size), np.uint8)
    render(EncodedImages.of([encoded]), cut, out, tiled=np.array([tiled]))
    return out[0]


def by_pillow(encoded: bytes, cut: Geometry) -> np.ndarray:
    """Resized across, then down: Pillow 13 would choose which comes first, one below it and torchvision do not."""
    box = decode_image(encoded).crop(tuple(int(side) for side in cut.boxes[0]))
    for size in [(cut.size[1], box.height), cut.size[::-1]]:
        box = box.resize(size, Image.Resampling.BILINEAR)
    mirrored = box.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if cut.mirrored[0] else box
    return np.asarray(mirrored).transpose(2, 0, 1)


@settings(max_examples=40)
@given(width=sides, height=sides, sample=st.integers(0, 10**6), resolution=st.sampled_from([8, 33, 160]))
def test_pixels_do_not_depend_on_how_an_image_is_stored(width, height, sample, resolution) -> None:
    encoded = jpeg(smooth(width, height), quality=90)
    stored = take_in(encoded)
    cut = cut_of(TrainingView(AugmentationConfig(), 0, 0), width, height, sample, resolution)
    whole = rendered(encoded, cut, tiled=False)
    assert np.array_equal(rendered(stored.image, cut, tiled=stored.tiled), whole)
    assert np.array_equal(whole, by_pillow(encoded, cut))


def differences_from_torch(width: int, height: int, resolution: int, *, mirrored: bool) -> NDArray[np.int_]:
    """Levels between our pixels and torch's, of a whole image that is resized."""
    stored = take_in(jpeg(smooth(width, height), quality=90))
    pixels = torch.from_numpy(np.array(decode_image(stored.image))).permute(2, 0, 1)
    theirs = F.interpolate(pixels[None], size=(resolution, resolution), mode="bilinear", antialias=True)[0].numpy()
    whole = Geometry(np.array([(0.0, 0, width, height)]), np.array([mirrored]), (resolution, resolution))
    ours = rendered(stored.image, whole, tiled=stored.tiled)
    return np.abs(ours[..., :: -1 if mirrored else 1].astype(int) - theirs)


@settings(max_examples=40)
@example(width=336, height=336, resolution=321, mirrored=False)
@example(width=132, height=2, resolution=7, mirrored=False)
@given(width=sides, height=sides, resolution=st.sampled_from([7, 32, 160, 321]), mirrored=st.booleans())
def test_the_resize_of_tiles_is_torchs_too(width, height, resolution, mirrored) -> None:
    """Both directions of a resize, from 1 pixel on; Pillow's versions differ in their order of steps.

    Torch's weights have fewer bits. Each of the two passes can round to the next level.
    """
    assert differences_from_torch(width, height, resolution, mirrored=mirrored).max() <= 2


def test_the_resize_of_tiles_hardly_ever_rounds_as_torch_does_not() -> None:
    """One pixel in fifty, over images of many sizes: a bound on the mean of one image would not be true for all."""
    sizes = np.random.default_rng(0).integers(1, 400, (40, 2))
    found = [differences_from_torch(width, height, 160, mirrored=False) for width, height in sizes]
    assert np.mean(found) < 0.02


def test_pixels_of_photos_are_those_of_pillow() -> None:
    """Those that go across first to the bit, and 55 dB in the mean, 50 dB at least, of those of Pillow 13's order."""
    files = sorted((SHARED_DATA / "imagenet-160").glob("train/*/*.JPEG"))
    if not files:
        pytest.skip(f"{SHARED_DATA / 'imagenet-160'} is not there")
    view, values = TrainingView(AugmentationConfig(), 0, 0), []
    for sample, file in enumerate(files):
        stored = take_in(file.read_bytes())
        cut = cut_of(view, stored.width, stored.height, sample, 224)
        ours = rendered(stored.image, cut, tiled=stored.tiled)
        assert np.array_equal(ours, by_pillow(file.read_bytes(), cut))
        box = decode_image(file.read_bytes()).crop(tuple(int(side) for side in cut.boxes[0]))
        theirs = np.asarray(box.resize((224, 224), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        values.append(psnr(ours, theirs[..., :: -1 if cut.mirrored[0] else 1]))
    assert np.mean(values) >= 55
    assert np.min(values) >= 50


def test_evaluation_is_resize_and_centre_crop() -> None:
    """Against torchvision's two steps; only the rounding of the box differs."""
    image = photo(400, 300).resize((40, 30)).resize((400, 300), Image.Resampling.BICUBIC)  # smooth, as photos are
    cut = cut_of(EvaluationView(EvaluationConfig(resize=288, crop=256)), 400, 300, 0, 256)
    ours = resize_box(image, cut.boxes[0].tolist(), cut.size, is_whole=False)
    theirs = v2.Compose([v2.Resize(288), v2.CenterCrop(256), v2.PILToTensor()])(image).numpy()
    assert ours.shape == theirs.shape == (3, 256, 256)
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 1.0
