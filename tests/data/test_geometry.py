"""Crops: the boxes that torchvision would draw, and the same ones whoever draws them, compiled or not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from mvlab.data.geometry import Geometry, centre_crop
from mvlab.data.geometry_kernels import fill
from mvlab.data.randomness import Stream, generator
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView

sides = st.integers(1, 700)
images = st.lists(st.tuples(sides, sides, st.integers(0, 2**40)), min_size=1, max_size=20)
SIZE = (224, 224)
seeds, epochs = st.integers(0, 2**32 - 1), st.integers(0, 300)


def of_many(count: int, width: int, height: int, config: AugmentationConfig) -> Geometry:
    sizes = np.full(count, width), np.full(count, height)
    return TrainingView(config, 0, 0).place(*sizes, np.arange(count), SIZE)


ratios = st.sampled_from([AugmentationConfig().crop_ratio, (0.01, 0.01), (100.0, 100.0), (0.01, 100.0)])


@given(width=sides, height=sides, sample=st.integers(0, 2**40), ratio=ratios)
def test_a_crop_lies_within_the_image(width: int, height: int, sample: int, ratio: tuple[float, float]) -> None:
    """And has a pixel, however small the image and narrow the crop."""
    view = TrainingView(AugmentationConfig(crop_ratio=ratio), 0, 0)
    left, top, right, bottom = view.place(np.array([width]), np.array([height]), np.array([sample]), SIZE).boxes[0]
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_crops_are_distributed_as_torchvisions() -> None:
    """Means of position and size over 4,000 draws, within three and a half standard errors."""
    image, count = torch.empty(3, 300, 400), 4_000
    torch.manual_seed(0)
    boxes = [v2.RandomResizedCrop.make_params(v2.RandomResizedCrop(224), [image]) for _ in range(count)]
    theirs = np.array([[b["left"], b["top"], b["width"], b["height"]] for b in boxes], dtype=float)
    mine = of_many(count, 400, 300, AugmentationConfig()).boxes
    mine[:, 2:] -= mine[:, :2]
    error = np.sqrt(mine.var(axis=0) / count + theirs.var(axis=0) / count)
    assert (np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 3.5 * error).all()


def test_flips_come_as_often_as_configured() -> None:
    assert of_many(3_000, 50, 50, AugmentationConfig(flip=0.3)).mirrored.mean() == pytest.approx(0.3, abs=0.03)


def test_a_sample_is_cut_the_same_whoever_cuts_it_in_whatever_order() -> None:
    view, sizes = TrainingView(AugmentationConfig(), seed=5, epoch=2), (np.full(5, 97), np.full(5, 61))
    forth, back = view.place(*sizes, np.arange(5), SIZE), view.place(*sizes, np.arange(5)[::-1], SIZE)
    assert np.array_equal(forth.boxes, back.boxes[::-1])
    assert np.array_equal(forth.mirrored, back.mirrored[::-1])
    assert (forth.boxes[0] != forth.boxes[1]).any()
    later = TrainingView(AugmentationConfig(), seed=5, epoch=3).place(*sizes, np.arange(5), SIZE)
    assert (forth.boxes[0] != later.boxes[0]).any()


@given(
    images=images,
    seed=seeds,
    epoch=epochs,
    config=st.sampled_from(
        [AugmentationConfig(), AugmentationConfig(flip=0.1, crop_scale=(0.9, 1.0), crop_ratio=(2.0, 2.0))]
    ),
)
def test_compiled_crops_are_the_same(images, seed, epoch, config) -> None:
    """Also where no try fits, as of a square with twice as wide boxes of nine tenths of its area."""
    view, columns = TrainingView(config, seed, epoch), np.array(images).T
    plain, compiled = view.place(*columns, SIZE), view.place(*columns, SIZE, compiled=True)
    assert np.array_equal(plain.boxes, compiled.boxes)
    assert np.array_equal(plain.mirrored, compiled.mirrored)


@given(seed=seeds, stream=st.sampled_from(Stream), epoch=epochs, item=st.integers(0, 2**62), count=st.integers(0, 50))
def test_the_compiled_generator_is_numpys(seed, stream, epoch, item, count) -> None:
    draws = np.empty(count)
    fill((seed, int(stream), epoch), item, draws)
    assert draws.tolist() == generator(seed, stream, epoch, item).random(count).tolist()


def test_the_centre_box_of_a_square_without_margin_is_the_whole() -> None:
    assert centre_crop(8, 8, crop=64, resize=64) == (0, 0, 8, 8)
