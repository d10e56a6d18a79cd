"""Scenes: drawn for the purpose."""

from collections.abc import Iterator

from mvlab.data.sources.sample import Sample
from mvlab.data.sources.splits import Split

NUM_SAMPLES: dict[Split, int] = {"train": 600, "val": 150}


def scenes(split: Split) -> Iterator[Sample]:
    """Yield the images of a split."""
    raise NotImplementedError
