"""Pixels: the boxes that torchvision would draw, and the same ones whoever draws them."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from mvlab.config import AugmentationConfig, EvaluationConfig
from mvlab.data.images import EvaluationView, TrainingView, centre_crop, decode, random_resized_crop
from mvlab.data.randomness import Stream, generator

sides = st.integers(1, 700)


def photo(width: int = 97, height: int = 61) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@given(width=sides, height=sides, sample=st.integers(0, 2**40))
def test_a_crop_lies_within_the_image_and_its_ratio_within_bounds(width: int, height: int, sample: int) -> None:
    rng = generator(0, Stream.AUGMENTATION, 0, sample)
    (left, top, right, bottom), _ = random_resized_crop(width, height, AugmentationConfig(), rng)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_crops_are_distributed_as_torchvisions() -> None:
    """Means of area share, ratio and position over 4,000 draws, within three standard errors."""
    image, count = torch.empty(3, 300, 400), 4_000
    torch.manual_seed(0)
    boxes = [v2.RandomResizedCrop.make_params(v2.RandomResizedCrop(224), [image]) for _ in range(count)]
    theirs = np.array([[b["left"], b["top"], b["width"], b["height"]] for b in boxes], dtype=float)
    ours = []
    for sample in range(count):
        rng = generator(0, Stream.AUGMENTATION, 0, sample)
        (left, top, right, bottom), _ = random_resized_crop(400, 300, AugmentationConfig(), rng)
        ours.append([left, top, right - left, bottom - top])
    mine = np.array(ours)
    error = np.sqrt(mine.var(axis=0) / count + theirs.var(axis=0) / count)
    assert (np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 3.5 * error).all()


def test_flips_come_as_often_as_configured() -> None:
    flips = [
        random_resized_crop(50, 50, AugmentationConfig(flip=0.3), generator(0, Stream.AUGMENTATION, 0, i))[1]
        for i in range(3_000)
    ]
    assert np.mean(flips) == pytest.approx(0.3, abs=0.03)


def test_a_sample_has_the_same_pixels_whoever_renders_it_in_whatever_order() -> None:
    view = TrainingView(AugmentationConfig(), seed=5, epoch=2)
    forth = [view.render(photo(), sample, 64) for sample in range(5)]
    back = [view.render(photo(), sample, 64) for sample in reversed(range(5))]
    assert all(np.array_equal(a, b) for a, b in zip(forth, reversed(back), strict=True))
    assert not np.array_equal(forth[0], forth[1])
    other_epoch = TrainingView(AugmentationConfig(), seed=5, epoch=3)
    assert not np.array_equal(forth[0], other_epoch.render(photo(), 0, 64))


def test_evaluation_is_resize_and_centre_crop() -> None:
    """Against torchvision's two steps; only the rounding of the box differs."""
    image = photo(400, 300).resize((40, 30)).resize((400, 300), Image.Resampling.BICUBIC)  # smooth, as photos are
    ours = EvaluationView(EvaluationConfig(resize=288, crop=256)).render(image, 0, 256)
    theirs = v2.Compose([v2.Resize(288), v2.CenterCrop(256), v2.PILToTensor()])(image).numpy()
    assert ours.shape == theirs.shape == (3, 256, 256)
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 1.0


def test_the_centre_box_of_a_square_without_margin_is_the_whole() -> None:
    assert centre_crop(8, 8, EvaluationConfig(resize=64, crop=64)) == (0, 0, 8, 8)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB"])
def test_every_mode_decodes_to_rgb(mode: str) -> None:
    file = io.BytesIO()
    photo().convert(mode).save(file, format="TIFF" if mode == "CMYK" else "PNG")
    assert decode(file.getvalue()).mode == "RGB"


@pytest.mark.parametrize("broken", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_raises_oserror(broken: bytes) -> None:
    with pytest.raises(OSError, match="cannot identify image"):
        decode(broken)


def test_a_truncated_jpeg_raises_oserror() -> None:
    file = io.BytesIO()
    photo().save(file, format="JPEG")
    with pytest.raises(OSError, match="truncated"):
        decode(file.getvalue()[:-400])
