"""Scenes: scikit-learn's handwritten digits, drawn on crops of its two photos or on noise. No download.

A scene has 0 to 6 digits of 48 to 160 pixels, lighter than what is behind them. Colours say nothing about classes, and
positions are random. Training and validation share neither digits nor parts of photos. Photos are turned, mirrored,
blurred and in other colours: a network would learn two photos by heart otherwise, and mistake others for digits.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mvlab.data.geometry import IGNORED
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources.digit_stamps import Stamp, draw_crowd, draw_digit
from mvlab.data.sources.sample import Sample
from mvlab.data.sources.splits import SPLITS, Split

Pixels = NDArray[np.uint8]

NUM_SAMPLES: dict[Split, int] = {"train": 600, "val": 150}
LONGER, SHORTER = 320, (240, 320)
"""Pixels of the longer side, and of the shorter one at least and at most."""
EMPTY, CROWDED = 0.10, 0.05
"""Shares of images without objects, and with a crowd."""
MOST_DIGITS = 6
LEAST_VISIBLE = 0.25
"""Least share of an object's strokes that later objects may leave visible. An object with less is not drawn."""
CONTRAST = 80
"""Least brightness of a digit above its surroundings, of 255."""
NOISE = 0.2
"""Share of backgrounds that are noise."""
BLUR = (2.0, 8.0)
"""Smallest and largest blur of a background: standard deviation in pixels."""
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])
FIRST_ID: dict[Split, int] = {"train": 1, "val": 100_001}
"""Id of the first image of a split. Ids differ between splits, as COCO's do."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """Visible part of a digit, or of a crowd of digits."""

    category: int
    """The digit."""
    is_crowd: bool
    box: tuple[float, float, float, float]
    """Left, top, width and height of the visible strokes, in pixels."""
    area: float
    """Number of visible pixels."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Image, its objects, and which object each pixel belongs to."""

    pixels: Pixels
    """(H, W, 3), RGB."""
    instances: Pixels
    """(H, W): 0 for the background, otherwise 1 + index of the object whose stroke is visible there."""
    objects: tuple[SceneObject, ...]
    """Objects from back to front."""

    @property
    def mask(self) -> Pixels:
        """Class of each pixel (H, W): 0 for the background, 1 + digit for strokes, `IGNORED` for a ring of one pixel
        around them. A ring lies on what is behind its object."""
        padded = np.pad(self.instances, 1)
        neighbours = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        classes = np.array([0, *(1 + each.category for each in self.objects)], np.uint8)[self.instances]
        classes[np.max(neighbours, axis=0) > self.instances] = IGNORED
        return classes


@dataclass(frozen=True, slots=True)
class _Layer:
    """Stamp at its place in an image."""

    stamp: Stamp
    left: int
    top: int

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the stamp covers."""
        height, width = self.stamp.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def scenes(split: Split) -> Iterator[Sample]:
    """Yield the images of a split, as JPEG, with targets as `OBJECT_FIELDS` describes them."""
    for index in range(NUM_SAMPLES[split]):
        scene, image_id = draw_scene(split, index), FIRST_ID[split] + index
        encoded = io.BytesIO()
        Image.fromarray(scene.pixels).save(encoded, format="JPEG", quality=95)
        targets = {
            "image_id": image_id,
            "boxes": [each.box for each in scene.objects],
            "categories": [each.category for each in scene.objects],
            "crowd": [each.is_crowd for each in scene.objects],
            "areas": [each.area for each in scene.objects],
            "annotation_ids": [10 * image_id + number for number in range(len(scene.objects))],
        }
        yield Sample(key=f"scenes/{split}/{index:04d}", image=encoded.getvalue(), targets=targets)


def draw_scene(split: Split, index: int) -> Scene:
    """Draw a scene of a split. The same split and index give the same bits."""
    rng = generator(0, Stream.SCENES, epoch=SPLITS.index(split), item=index)
    shorter = int(rng.integers(SHORTER[0], SHORTER[1] + 1))
    width, height = (LONGER, shorter) if rng.random() < 0.5 else (shorter, LONGER)
    image = _background(rng, split, width, height)
    layers = [_placed(rng, stamp, width, height) for stamp in _stamps(rng, split)]
    layers = _visible(layers, width, height)
    instances = np.zeros((height, width), np.uint8)
    for number, layer in enumerate(layers, 1):
        colour = _colour(rng, np.asarray(image)[layer.region][layer.stamp.strokes])
        image.paste(colour, (layer.left, layer.top), Image.fromarray(layer.stamp.alpha))
        instances[layer.region][layer.stamp.strokes] = number
    objects = tuple(_object(layer.stamp, instances == number) for number, layer in enumerate(layers, 1))
    return Scene(np.array(image), instances, objects)


@lru_cache(maxsize=2)
def photo_halves(split: Split) -> tuple[Image.Image, ...]:
    """Return the left halves of scikit-learn's two photos for training, the right ones for validation."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    middles = [photo.width // 2 for photo in photos]
    if split == "train":
        return tuple(photo.crop((0, 0, middle, photo.height)) for photo, middle in zip(photos, middles, strict=True))
    return tuple(
        photo.crop((middle, 0, photo.width, photo.height)) for photo, middle in zip(photos, middles, strict=True)
    )


def _background(rng: np.random.Generator, split: Split, width: int, height: int) -> Image.Image:
    """Draw a blurred crop of a photo, or noise, in other colours, another brightness and another orientation."""
    turned = rng.random() < 0.5
    size = (height, width) if turned else (width, height)
    if rng.random() < NOISE:
        coarse = rng.integers(0, 256, (*rng.integers(4, 25, 2), 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    else:
        photo = photo_halves(split)[rng.integers(2)]
        zoom = rng.uniform(0.5, 1) * min(photo.width / size[0], photo.height / size[1])
        left, top = rng.random() * (photo.width - zoom * size[0]), rng.random() * (photo.height - zoom * size[1])
        box = (left, top, left + zoom * size[0], top + zoom * size[1])
        image = photo.resize(size, Image.Resampling.BICUBIC, box=box)
    gains, offset, is_negative = rng.uniform(0.3, 0.6, 3), rng.uniform(-30, 20), rng.random() < 0.5
    levels = np.arange(256)[::-1] if is_negative else np.arange(256)
    tables = np.clip(levels * gains[:, None] + offset, 0, 255).astype(np.uint8)
    pixels = np.asarray(image.point(tables.ravel().tolist()))[:, :, rng.permutation(3)]
    pixels = pixels.transpose(1, 0, 2) if turned else pixels
    rows, columns = (slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(2))
    return Image.fromarray(np.ascontiguousarray(pixels[rows, columns])).filter(
        ImageFilter.GaussianBlur(rng.uniform(*BLUR))
    )


def _stamps(rng: np.random.Generator, split: Split) -> list[Stamp]:
    """Draw the objects of a scene, before they are placed."""
    kind = rng.random()
    if kind < EMPTY:
        return []
    stamps = [draw_digit(rng, split) for _ in range(rng.integers(1, MOST_DIGITS + 1))]
    if kind < EMPTY + CROWDED:
        stamps[rng.integers(len(stamps))] = draw_crowd(rng, split)
    return stamps


def _placed(rng: np.random.Generator, stamp: Stamp, width: int, height: int) -> _Layer:
    """Put a stamp anywhere inside of an image."""
    rows, columns = stamp.alpha.shape
    return _Layer(stamp, int(rng.integers(width - columns + 1)), int(rng.integers(height - rows + 1)))


def _visible(layers: list[_Layer], width: int, height: int) -> list[_Layer]:
    """Return the layers of which enough is visible. Those that are left out hide nothing."""
    hidden, kept = np.zeros((height, width), np.bool_), list[_Layer]()
    for layer in reversed(layers):
        strokes = layer.stamp.strokes
        if (strokes & ~hidden[layer.region]).sum() >= LEAST_VISIBLE * strokes.sum():
            hidden[layer.region] |= strokes
            kept.insert(0, layer)
    return kept


def _colour(rng: np.random.Generator, behind: Pixels) -> tuple[int, int, int]:
    """Draw a colour that is lighter than the pixels (M, 3) behind it; the lightest of them if none is enough so."""
    colours = rng.integers(0, 256, (64, 3))
    contrasts = colours @ _BRIGHTNESS - behind.mean(axis=0) @ _BRIGHTNESS
    enough = contrasts >= CONTRAST
    red, green, blue = colours[enough.argmax() if enough.any() else contrasts.argmax()].tolist()
    return red, green, blue


def _object(stamp: Stamp, visible: NDArray[np.bool_]) -> SceneObject:
    """Describe an object by its visible pixels (H, W)."""
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    left, top = float(columns[0]), float(rows[0])
    box = (left, top, columns[-1] + 1 - left, rows[-1] + 1 - top)
    return SceneObject(stamp.category, stamp.is_crowd, box, float(visible.sum()))
