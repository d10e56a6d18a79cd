"""Placement of images with objects: SSD's crops, flips and changes of colours. Imports no torch: readers run it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mvlab.codecs.pillow import Size
from mvlab.data.geometry import Geometry
from mvlab.data.randomness import Stream, generator
from mvlab.targets import Targets
from mvlab.tasks.base import Bytes, Ints
from mvlab.tasks.detection.config import AugmentationConfig


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

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None,
        *, compiled: bool = False,
    ) -> Geometry:  # fmt: skip
        """Return a crop, perhaps mirrored, of each image."""
        raise NotImplementedError

    def recolour(self, pixels: Bytes, samples: Ints) -> None:
        """Change brightness, contrast, saturation, hue and the order of channels."""
        raise NotImplementedError

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Return boxes and classes of the objects whose centre is in the crop."""
        raise NotImplementedError

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


def caption(targets: Targets, number: int, classes: Sequence[str]) -> str:
    """Return the number of objects of each class in an image, e.g. "2 cat, 1 dog"."""
    counted = Counter(classes[category] for category in targets["categories"][number].tolist())
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "no objects"
