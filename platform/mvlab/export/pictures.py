"""Images for verification, from a folder, a split or a seed. uint8 (N, 3, H, W), RGB."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvlab.codecs.pillow import SUFFIXES, decode_image
from mvlab.data.sources.left_out import Reason, summary
from mvlab.data.sources.tree import Tree, walk
from mvlab.data.store.shards import CorruptRowError, SplitReader
from mvlab.data.store.storage import Folder
from mvlab.export.errors import PicturesError
from mvlab.models.plausible import clouds

Pictures = Callable[[int, int], Tensor]
"""Function (height, width) -> images of that size."""
T = TypeVar("T")


def synthetic(count: int = 8, seed: int = 0) -> Pictures:
    """Return random images that depend only on the seed."""
    return lambda height, width: (255 * clouds(count, height, width, seed=seed)).byte()


def images_in(folder: Path) -> tuple[list[Path], str]:
    """Return all image files in a folder, at any depth, and a line about those left out.

    Raises:
        PicturesError: there are none.
    """
    root = Folder.of(str(folder))
    tree = walk(root) if root.exists() else Tree()
    files = [folder / path for path, _ in tree.files if Path(path).suffix.lower() in SUFFIXES]
    others = summary(each for each in tree.left_out if each.reason is not Reason.TEXT)
    left_out = f"; left out: {others}" if others else ""
    if not files:
        raise PicturesError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}){left_out}")
    return files, left_out


def spread_over(images: Sequence[T], at_most: int) -> list[T]:
    """Return at most this many at even distances, since a folder often has its classes one after the other."""
    count = min(at_most, len(images))
    return [images[place * len(images) // count] for place in range(count)]


def from_files(files: Sequence[Path]) -> Pictures:
    """Return the largest centred part of each image that has the requested shape, resized. All are in memory at once.

    Loading raises a PicturesError that names an unreadable file.
    """

    def pictures(height: int, width: int) -> Tensor:
        return torch.stack([_fitted(_opened(file), height, width) for file in files])

    return pictures


def from_split(reader: SplitReader, at_most: int = 8) -> Pictures:
    """Return images that are spread over a split, fitted as those of `from_files` are. All are in memory at once.

    A row that is not what was ingested is left out.

    Raises:
        PicturesError: no row is left.
        StoreError: the store has not answered for a long time.
    """
    encoded = []
    for row in spread_over(range(len(reader)), at_most):
        with suppress(CorruptRowError):
            encoded.append(reader.read(row))
    if not encoded:
        raise PicturesError(f"{reader.uri}/{reader.manifest.split} has no images that are what was ingested")

    def pictures(height: int, width: int) -> Tensor:
        return torch.stack([_fitted(decode_image(image), height, width) for image in encoded])

    return pictures


def _opened(file: Path) -> Image.Image:
    try:
        return decode_image(file.read_bytes())
    except OSError as error:
        raise PicturesError(f"{file} cannot be read as an image: {error}") from error


def _fitted(image: Image.Image, height: int, width: int) -> Tensor:
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
