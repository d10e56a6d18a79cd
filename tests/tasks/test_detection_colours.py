"""Changes of colours: as other implementations make them, and as often as configured."""

import colorsys
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from mvlab.data.randomness import Stream, generator
from mvlab.tasks.detection.colours import NUM_DRAWS, Change, apply, drawn
from mvlab.tasks.detection.config import AugmentationConfig
from mvlab.tasks.detection.view import TrainingView

CONFIG = AugmentationConfig()
seeds = st.integers(0, 2**32 - 1)


def image(seed: int, height: int = 32, width: int = 40) -> np.ndarray:
    """Random colours, a row of greys, and a row of colours without a channel."""
    out = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    out[:, 0] = out[0, 0]
    out[seed % 3, 1] = 0
    return out


def changed(pixels: np.ndarray, change: Change) -> np.ndarray:
    out = pixels.copy()
    apply(change, out)
    return out


def error(ours: np.ndarray, theirs: torch.Tensor) -> int:
    return int(np.abs(ours.astype(int) - theirs.numpy().astype(int)).max())


@given(seed=seeds, factor=st.floats(0, 3))
def test_contrast_multiplies_all_channels(seed: int, factor: float) -> None:
    """torchvision calls that brightness. It drops fractions of levels; we round."""
    theirs = F.adjust_brightness(torch.from_numpy(image(seed)), factor)
    assert error(changed(image(seed), Change(contrast=factor)), theirs) <= 1
    assert error(changed(image(seed), Change(late_contrast=factor)), theirs) <= 1


@given(seed=seeds, shift=st.floats(-1, 1), factor=st.floats(0.5, 1.5))
def test_brightness_is_added_after_contrast(seed: int, shift: float, factor: float) -> None:
    expected = np.clip(image(seed) * np.float64(factor) + 255 * shift, 0, 255)
    ours = changed(image(seed), Change(brightness=shift, contrast=factor))
    assert np.abs(ours - expected).max() <= 0.5 + 1e-4


@given(seed=seeds, shift=st.floats(-0.5, 0.5))
def test_hue_is_torchvisions(seed: int, shift: float) -> None:
    assert error(changed(image(seed), Change(hue=shift)), F.adjust_hue(torch.from_numpy(image(seed)), shift)) <= 1


@given(seed=seeds, shift=st.floats(-0.5, 0.5), factor=st.floats(0, 2))
def test_saturation_and_hue_are_those_of_hsv(seed: int, shift: float, factor: float) -> None:
    """As Python's own colorsys computes them."""
    pixels = image(seed, 4, 8)

    def turned(red: int, green: int, blue: int) -> tuple[float, float, float]:
        hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        return colorsys.hsv_to_rgb((hue + shift) % 1, min(saturation * factor, 1), value)

    expected = np.array([turned(*colour) for colour in pixels.reshape(3, -1).T.tolist()]).T * 255
    ours = changed(pixels, Change(hue=shift, saturation=factor)).reshape(3, -1)
    assert np.abs(ours - expected).max() <= 0.51


@pytest.mark.parametrize("order", permutations(range(3)))
def test_channels_are_permuted_as_by_torchvision(order: tuple[int, int, int]) -> None:
    theirs = F.permute_channels(torch.from_numpy(image(0)), list(order))
    assert error(changed(image(0), Change(order=order)), theirs) == 0


def all_colours() -> np.ndarray:
    levels = np.arange(256, dtype=np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij")).reshape(3, 4096, 4096)


def test_every_colour_stays_where_nothing_changes_and_turns_by_thirds() -> None:
    """All 16.8 million. A third of the circle moves red to green, green to blue, and blue to red."""
    from mvlab.tasks.detection.colour_kernels import turn

    colours = all_colours()
    same = colours.copy()
    turn(*same.reshape(3, -1), np.float32(1), np.float32(0))
    assert np.array_equal(same, colours)
    for shift in (1 / 3, -2 / 3):
        assert np.array_equal(changed(colours, Change(hue=shift)), colours[[2, 0, 1]])


def changes(config: AugmentationConfig, count: int = 4_000) -> Iterator[Change]:
    for sample in range(count):
        yield drawn(config, generator(0, Stream.COLOURS, 0, sample).random(NUM_DRAWS).tolist())


def test_changes_are_as_frequent_as_in_the_release() -> None:
    """Each has one half, and contrast another half of what is left, after saturation and hue."""
    found, none = list(changes(CONFIG)), Change()
    names = ("contrast", "brightness", "saturation", "hue", "late_contrast")
    shares = {name: np.mean([getattr(each, name) != getattr(none, name) for each in found]) for name in names}
    assert shares == pytest.approx(dict(zip(names, (0.5, 0.5, 0.5, 0.5, 0.25), strict=True)), abs=0.03)
    assert not any(each.contrast != 1 and each.late_contrast != 1 for each in found)
    is_permuted = [each.order != none.order for each in found]
    assert np.mean(is_permuted) == pytest.approx(0.5 * 5 / 6, abs=0.03)  # one of six orders changes nothing


def test_changes_fill_their_ranges() -> None:
    found = list(changes(replace(CONFIG, colours=1.0, contrast=(0.8, 1.0), hue=0.5)))
    for name, low, high in [("contrast", 0.8, 1.0), ("brightness", -0.2, 0.2), ("hue", -0.5, 0.5)]:
        values = [getattr(each, name) for each in found]
        assert min(values) == pytest.approx(low, abs=0.01 * (high - low) + 1e-3)
        assert max(values) == pytest.approx(high, abs=0.01 * (high - low) + 1e-3)
        assert low <= min(values)
        assert max(values) <= high


def test_a_sample_has_its_colours_in_whatever_batch() -> None:
    view, samples = TrainingView(CONFIG, 3, 1), np.arange(6)
    pixels = np.stack([image(number) for number in range(6)])
    together, alone = pixels.copy(), pixels[4:5].copy()
    view.recolour(together, samples)
    view.recolour(alone, samples[4:5])
    assert np.array_equal(together[4:5], alone)
    assert any(not np.array_equal(one, other) for one, other in zip(together, pixels, strict=True))
    later = pixels.copy()
    TrainingView(CONFIG, 3, 2).recolour(later, samples)
    assert not np.array_equal(later, together)


def test_colours_stay_where_none_change() -> None:
    pixels = image(0)[None]
    TrainingView(replace(CONFIG, colours=0.0), 0, 0).recolour(pixels, np.array([0]))
    assert np.array_equal(pixels[0], image(0))


def test_pixels_that_are_not_contiguous_are_refused() -> None:
    """A change of a copy would be lost."""
    with pytest.raises(ValueError, match="copy"):
        apply(Change(contrast=0.5), image(0)[:, :, 1:])
