"""Placement of images in classification: which part is looked at. Imports no torch: it runs in every reader process."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mvlab.data.geometry import NUM_DRAWS, Cut, Cuts, centre_crop, random_resized_crop
from mvlab.data.randomness import Stream, generator
from mvlab.targets import Targets
from mvlab.tasks.base import Ints
from mvlab.tasks.classification.task import AugmentationConfig, EvaluationConfig


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Section 4.1's augmentation, drawn from (seed, epoch, sample): any reader makes the same pixels."""

    drops: ClassVar[bool] = False

    config: AugmentationConfig
    seed: int
    epoch: int

    def cuts(self, widths: Ints, heights: Ints, samples: Ints, *, compiled: bool = False) -> Cuts:
        """A random resized crop, perhaps mirrored, of each image."""
        config, name = self.config, (self.seed, int(Stream.AUGMENTATION), self.epoch)
        ranges = config.crop_scale, config.crop_ratio, config.flip
        if compiled:
            from mvlab.data.geometry_kernels import random_crops

            return Cuts(*random_crops(widths, heights, samples, name, *ranges))
        draws = (
            generator(self.seed, Stream.AUGMENTATION, self.epoch, sample).random(NUM_DRAWS).tolist()
            for sample in samples.tolist()
        )
        sizes = zip(widths.tolist(), heights.tolist(), draws, strict=True)
        return Cuts.of([Cut(*random_resized_crop(w, h, *ranges, drawn)) for w, h, drawn in sizes])

    def targets(self, targets: Targets, cuts: Cuts) -> Targets:
        """Labels, which no placement changes."""
        del cuts
        return targets

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Samples to train on where `sample` is corrupt, in order of preference: the same on every machine."""
        rng = generator(self.seed, Stream.SUBSTITUTE, self.epoch, sample)
        while True:
            yield int(rng.integers(num_samples))


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """A single centre crop."""

    drops: ClassVar[bool] = True

    config: EvaluationConfig

    def cuts(self, widths: Ints, heights: Ints, samples: Ints, *, compiled: bool = False) -> Cuts:
        """The centre crop of each image."""
        del samples, compiled  # every view has one signature; this one draws nothing
        sizes = zip(widths.tolist(), heights.tolist(), strict=True)
        boxes = (centre_crop(width, height, self.config.crop, self.config.resize) for width, height in sizes)
        return Cuts.of([Cut(box) for box in boxes], are_whole=False)

    def targets(self, targets: Targets, cuts: Cuts) -> Targets:
        """Labels, which no placement changes."""
        del cuts
        return targets

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """None: a corrupt image is not evaluated."""
        del sample, num_samples
        return iter(())
