"""scikit-learn's handwritten digits: 1,797 grey 8x8 images in ten classes, inside the package, no download."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from mvlab.data.sources.sample import Sample
from mvlab.data.sources.splits import Split
from mvlab.targets import LABEL

CLASSES = tuple(str(digit) for digit in range(10))
VALIDATION_EVERY = 5
"""Every fifth image is for validation."""
NUM_SAMPLES: dict[Split, int] = {"train": 1_437, "val": 360}


def digits(split: Split) -> Iterator[Sample]:
    """Yield the images of a split, as PNG, in scikit-learn's order."""
    from sklearn.datasets import load_digits  # seconds to import

    images, labels = load_digits(return_X_y=True)
    for index, (flat, label) in enumerate(zip(images, labels, strict=True)):
        if (index % VALIDATION_EVERY == 0) == (split == "val"):
            grey = np.rint(flat.reshape(8, 8) * (255 / 16)).astype(np.uint8)
            encoded = io.BytesIO()
            Image.fromarray(grey).save(encoded, format="PNG")
            yield Sample(key=f"digits/{index:04d}", image=encoded.getvalue(), targets={LABEL.name: int(label)})
