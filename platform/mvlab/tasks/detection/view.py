"""Placement of images with objects: SSD's crops, flips and changes of colours. Imports no torch: readers run it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.pillow import Size
from mvlab.data.geometry import Geometry
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources.objects import BOXES, CATEGORIES, CROWD, corners_of
from mvlab.targets import Ragged, Targets, ragged
from mvlab.tasks.base import Bytes, ColoursAt, Ints
from mvlab.tasks.detection import colours
from mvlab.tasks.detection.config import AugmentationConfig
from mvlab.tasks.detection.crop import centred, overlapping_crops


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Augmentation of Appendix D, drawn from (seed, epoch, sample).

    Targets of a batch: "boxes", ragged (M, 4) float32, corners as shares of the output; "categories", ragged (M,)
    int64; "output_size" (B, 2) int64, height and width in pixels. Crowds are left out.
    """

    drops: ClassVar[bool] = False

    config: AugmentationConfig
    seed: int
    epoch: int

    @property
    def colours_at(self) -> ColoursAt:
        """Pixels whose colours change."""
        return self.config.colours_at

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None,
        *, compiled: bool = False,
    ) -> Geometry:  # fmt: skip
        """Return a crop, perhaps mirrored, of each image.

        Raises:
            ValueError: there are no targets, which decide the crops.
        """
        if targets is None:
            raise ValueError("crops of images with objects depend on the targets: pass them")
        config = self.config
        objects, images, crowd = _objects(targets)
        ends = _ends(images[~crowd], len(samples))
        overlaps, ranges = np.array(config.overlaps, np.float64), (config.crop_sides, config.crop_ratio)
        crops = overlapping_crops
        if compiled:
            from mvlab.tasks.detection import crop_kernels

            crops = crop_kernels.overlapping_crops
        sizes = np.stack([widths, heights], axis=1).astype(np.int64)
        rules, name = (
            (overlaps, ranges, config.trials, config.rounds),
            (self.seed, int(Stream.AUGMENTATION), self.epoch),
        )
        boxes, flips = crops(sizes, samples, objects[~crowd], ends, rules, name)
        return Geometry(boxes, flips < config.flip, size)

    def recolour(self, pixels: Bytes, samples: Ints) -> None:
        """Change brightness, contrast, saturation, hue and the order of channels."""
        if self.config.colours > 0:
            for image, sample in zip(pixels, samples.tolist(), strict=True):
                draws = generator(self.seed, Stream.COLOURS, self.epoch, sample).random(colours.NUM_DRAWS)
                colours.apply(colours.drawn(self.config, draws.tolist()), image)

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Return boxes and classes of the objects whose centre is in the crop."""
        corners, images, crowd = _objects(targets)
        placed, is_inside = geometry.place_boxes(corners, images)
        shares = (placed / np.tile(np.array(geometry.size[::-1], np.float64), 2)).astype(np.float32)
        kept = is_inside & ~crowd & centred(corners, geometry.boxes[images])
        kept &= (shares[:, :2] < shares[:, 2:]).all(axis=1)  # a sliver may have no width as float32
        ends = _ends(images[kept], len(geometry))
        return {
            "boxes": Ragged(shares[kept], ends),
            "categories": Ragged(ragged(targets[CATEGORIES.name]).values[kept], ends),
            "output_size": np.tile(np.array(geometry.size), (len(geometry), 1)),
        }

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Yield samples to train on in place of a corrupt one, in order of preference."""
        rng = generator(self.seed, Stream.SUBSTITUTE, self.epoch, sample)
        while True:
            yield int(rng.integers(num_samples))


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """Whole images, warped to the output.

    Targets of a batch: those of the data set; "image_size" (B, 2) int64, width and height of each image in pixels;
    "output_size" (B, 2) int64, height and width of the output in pixels.
    """

    drops: ClassVar[bool] = True
    colours_at: ClassVar[ColoursAt] = "output"

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None,
        *, compiled: bool = False,
    ) -> Geometry:  # fmt: skip
        """Return the whole of each image."""
        del samples, targets, compiled
        zeros = np.zeros(len(widths))
        return Geometry(np.stack([zeros, zeros, widths, heights], axis=1), zeros.astype(np.bool_), size)

    def recolour(self, pixels: Bytes, samples: Ints) -> None:
        """Leave the colours as they are."""
        del pixels, samples

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Return the targets as they are, and the size of each image."""
        sizes = geometry.boxes[:, 2:].astype(np.int64)
        return {**targets, "image_size": sizes, "output_size": np.tile(np.array(geometry.size), (len(sizes), 1))}

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Return no samples: a corrupt image is not evaluated."""
        del sample, num_samples
        return iter(())


def _objects(targets: Targets) -> tuple[NDArray[np.float64], Ints, NDArray[np.bool_]]:
    """Return corners (M, 4) of all objects, the index (M,) of each one's image, and which (M,) are crowds."""
    boxes = ragged(targets[BOXES.name])
    images = np.repeat(np.arange(len(boxes)), np.diff(boxes.ends, prepend=0))
    return corners_of(boxes.values), images, ragged(targets[CROWD.name]).values


def _ends(images: Ints, num_images: int) -> Ints:
    """Return the end (N,) of each image's objects, whose images are `images` (M,), in ascending order."""
    return np.cumsum(np.bincount(images, minlength=num_images), dtype=np.int64)


def caption(targets: Targets, number: int, classes: Sequence[str]) -> str:
    """Return the number of objects of each class in an image, e.g. "2 cat, 1 dog"."""
    counted = Counter(classes[category] for category in targets["categories"][number].tolist())
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "no objects"
