"""A small source of pictures to ingest, and what tests of it share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mvlab.data.ingest.job import Progress, ingest
from mvlab.data.ingest.parts import PARTS
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.folders import list_images
from mvlab.data.store.manifest import Manifest

CLASSES = ("ant", "bee", "cat")
RECIPE = Recipe(name="insects", split="train", shard_mb=0.1)
SMALL_SHARDS = replace(RECIPE, shard_mb=0.004)
"""A few files each, so that an ingest has a middle to be killed in."""
NUM_FILES = 150


def draw(path: Path, number: int) -> None:
    """A small picture of waves, in one of the forms that ImageNet has."""
    y, x = np.mgrid[: 32 + number % 7, : 40 + number % 5]
    waves = [127 + 120 * np.sin(x / (2 + number % 9) + y / 4 + channel + number) for channel in range(3)]
    image = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    if number % 10 == 0:
        image.save(path, "PNG")
    elif number % 10 == 1:
        image.save(path, "JPEG", progressive=True)
    else:
        image.convert(("RGB", "RGB", "L", "CMYK")[number % 4]).save(path, "JPEG", quality=90)


def run(
    source: Path, out: Path | str, recipe: Recipe = RECIPE, *, max_bad: float = 0.0, told: list[Progress] | None = None
) -> Manifest:
    listing = list_images(str(source), recipe.split)
    return ingest(listing, recipe, str(out), max_bad=max_bad, on_progress=(told if told is not None else []).append)


def tables(folder: Path) -> Iterator[pa.Table]:
    """The shards, as anybody reads them."""
    for path in sorted(folder.glob("*.parquet")):
        yield pq.read_table(path)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finished(out: Path) -> dict[str, int]:
    """When each shard that is known to be whole was written."""
    numbers = [path.stem.removeprefix("part-") for path in (out / "train" / PARTS).glob("part-*.arrow")]
    paths = [out / "train" / f"shard-{number}.parquet" for number in numbers]
    return {path.name: path.stat().st_mtime_ns for path in paths}
