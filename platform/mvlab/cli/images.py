"""Images for verification, as options of a command."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mvlab.export.errors import PicturesError

if TYPE_CHECKING:
    from mvlab.export.pictures import Pictures

NUM_SYNTHETIC = 8
MAX_IMAGES = 64


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add --images and --max-images."""
    parser.add_argument(
        "--images",
        metavar="DIR",
        help=f"folder of images for the comparison (default: {NUM_SYNTHETIC} synthetic ones, always the same)",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=MAX_IMAGES,
        metavar="N",
        help="images to take from DIR, evenly spread; all are in memory, and run at every size (default: %(default)s)",
    )


def pictures_of(parsed: argparse.Namespace) -> "tuple[Pictures, str]":
    """Return the images to run, and a description of them.

    Raises:
        PicturesError: the folder holds none, or none are asked for.
    """
    if parsed.max_images < 1:
        raise PicturesError(f"--max-images {parsed.max_images}: at least one is needed")
    from mvlab.export.pictures import from_files, images_in, spread_over, synthetic  # torch: seconds to import

    if parsed.images is None:
        return synthetic(NUM_SYNTHETIC), "synthetic images, always the same"
    files, left_out = images_in(Path(parsed.images))
    chosen = spread_over(files, parsed.max_images)
    which = f"images of {parsed.images}"
    if len(chosen) < len(files):
        which = f"of the {len(files):,} {which}, spread evenly"
    return from_files(chosen), which + left_out
