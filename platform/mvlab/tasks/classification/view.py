"""Placement of images in classification: the crop of each image. Imports no torch: it runs in every reader process."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mvlab.codecs.pillow import Size
from mvlab.data.geometry import NUM_DRAWS, Geometry, centre_crop, random_resized_crop
from mvlab.data.randomness import Stream, generator
from mvlab.targets import Targets
from mvlab.tasks.base import Bytes, ColoursAt, Ints
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig


class _Labelled:
    """View of images with labels, which no placement changes, in their own colours."""

    __slots__ = ()
    colours_at: ClassVar[ColoursAt] = "output"

    def recolour(self, pixels: Bytes, samples: Ints) -> None:
        """Leave the colours as they are."""
        del pixels, samples

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Return the targets as they are."""
        del geometry
        return targets


@dataclass(frozen=True, slots=True)
class TrainingView(_Labelled):
    """Augmentation of section 4.1, drawn from (seed, epoch, sample). Every reader makes the same pixels."""

    drops: ClassVar[bool] = False

    config: AugmentationConfig
    seed: int
    epoch: int

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None,
        *, compiled: bool = False,
    ) -> Geometry:  # fmt: skip
        """Return a random resized crop, perhaps mirrored, of each image."""
        del targets
        config, name = self.config, (self.seed, int(Stream.AUGMENTATION), self.epoch)
        ranges = config.crop_scale, config.crop_ratio, config.flip
        if compiled:
            from mvlab.data.geometry_kernels import random_crops

            return Geometry(*random_crops(widths, heights, samples, name, *ranges), size)
        draws = (
            generator(self.seed, Stream.AUGMENTATION, self.epoch, sample).random(NUM_DRAWS).tolist()
            for sample in samples.tolist()
        )
        sizes = zip(widths.tolist(), heights.tolist(), draws, strict=True)
        crops = [random_resized_crop(w, h, *ranges, drawn) for w, h, drawn in sizes]
        boxes = np.array([box for box, _ in crops], np.float64).reshape(-1, 4)
        return Geometry(boxes, np.array([mirrored for _, mirrored in crops], np.bool_), size)

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Yield samples to train on in place of a corrupt one, in order of preference. The order is the same on every
        machine."""
        rng = generator(self.seed, Stream.SUBSTITUTE, self.epoch, sample)
        while True:
            yield int(rng.integers(num_samples))


@dataclass(frozen=True, slots=True)
class EvaluationView(_Labelled):
    """A single centre crop."""

    drops: ClassVar[bool] = True

    config: EvaluationConfig

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None,
        *, compiled: bool = False,
    ) -> Geometry:  # fmt: skip
        """Return the centre crop of each image."""
        del samples, targets, compiled  # all views have the same signature; this one draws nothing
        sizes = zip(widths.tolist(), heights.tolist(), strict=True)
        crops = [centre_crop(width, height, self.config.crop, self.config.resize) for width, height in sizes]
        boxes = np.array(crops, np.float64).reshape(-1, 4)
        return Geometry(boxes, np.zeros(len(boxes), np.bool_), size, are_whole=False)

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Return no samples: a corrupt image is not evaluated."""
        del sample, num_samples
        return iter(())
