"""Images to verify packages with: from a folder, or made from a seed. uint8 (N, 3, H, W), RGB."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvlab.data.images import decode
from mvlab.export.errors import PicturesError
from mvlab.models.plausible import clouds

Pictures = Callable[[int, int], Tensor]
"""(height, width) -> images of that size."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def synthetic(count: int = 8, seed: int = 0) -> Pictures:
    """The same for the same seed."""
    return lambda height, width: (255 * clouds(count, height, width, seed=seed)).byte()


def images_in(folder: Path) -> list[Path]:
    """All image files in it, however deep.

    Raises:
        PicturesError: there is none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise PicturesError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})")
    return files


def spread_over(files: Sequence[Path], at_most: int) -> list[Path]:
    """As many of them, at even distances: a folder often has its classes one after the other."""
    count = min(at_most, len(files))
    return [files[place * len(files) // count] for place in range(count)]


def from_files(files: Sequence[Path]) -> Pictures:
    """The largest centred part of each image that has the shape, resized; all at once are in memory.

    A PicturesError names a file that cannot be read.
    """

    def pictures(height: int, width: int) -> Tensor:
        return torch.stack([_fitted(file, height, width) for file in files])

    return pictures


def _fitted(file: Path, height: int, width: int) -> Tensor:
    try:
        image = decode(file.read_bytes())
    except OSError as error:
        raise PicturesError(f"{file} cannot be read as an image: {error}") from error
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
