"""scikit-learn's handwritten digits: 1,797 grey 8x8 images in ten classes, inside the package, no download."""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvlab.data.sources.sample import Sample
from mvlab.data.sources.splits import Split
from mvlab.targets import LABEL

CLASSES = tuple(str(digit) for digit in range(10))
VALIDATION_EVERY = 5
"""Every fifth image is for validation."""
NUM_SAMPLES: dict[Split, int] = {"train": 1_437, "val": 360}


def load(split: Split) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return positions in scikit-learn's set (N,), grey images (N, 8, 8) with strokes in white, and labels (N,)."""
    from sklearn.datasets import load_digits  # seconds to import

    flat, labels = load_digits(return_X_y=True)
    positions = np.arange(len(labels))
    positions = positions[(positions % VALIDATION_EVERY == 0) == (split == "val")]
    grey = np.rint(flat[positions].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return positions, grey, labels[positions].astype(np.int64)


def digits(split: Split) -> Iterator[Sample]:
    """Yield the images of a split, as PNG, in scikit-learn's order."""
    for position, grey, label in zip(*load(split), strict=True):
        encoded = io.BytesIO()
        Image.fromarray(grey).save(encoded, format="PNG")
        yield Sample(key=f"digits/{position:04d}", image=encoded.getvalue(), targets={LABEL.name: int(label)})
