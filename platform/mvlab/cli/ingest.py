"""`mvlab ingest`: write folders of images, or sets in COCO's format, as Parquet shards."""

import argparse
import json
import math
import sys
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from mvlab.cli.ingest_coco import ABOUT_COCO, coco_listings, places_of_coco
from mvlab.cli.progress import ProgressLine
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.folders import is_flat, list_images
from mvlab.data.sources.listing import Listing
from mvlab.data.sources.splits import SPLITS, beside, folder_of, refuse_overlap, splits_in
from mvlab.data.store.manifest import MANIFEST, QUARANTINE, Manifest, read_manifest
from mvlab.data.store.storage import DataError, Folder, absolute_uri
from mvlab.durations import clock
from mvlab.report.data import describe_manifest
from mvlab.report.listing import describe_listings, describe_quarantine

GROUND_TRUTHS = ("LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt", "val_annotations.txt")
"""Files that are looked for in the source, and in the folder of its validation images."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes train and val (or the one that is named) of a folder of images as shards. Runs as a Ray Data job: on "
        "the cluster that it is submitted to, or on this machine. If it was interrupted, the same command resumes it. "
        f"{ABOUT_COCO}"
    )
    parser.add_argument(
        "kind",
        choices=("imagenet", "folder", "coco"),
        help="layout of the source; imagenet, folder: [split/]class/image; coco: annotations/ and images of each split",
    )
    parser.add_argument("--src", metavar="DIR", help="folder or URI of the images")
    parser.add_argument("--annotations", metavar="FILE", help="coco, instead of --src: annotations of one --split")
    parser.add_argument("--images", metavar="DIR", help="coco, with --annotations: folder or URI of the images")
    parser.add_argument("--out", required=True, metavar="URI", help="target of the shards: a folder, s3://, gs://")
    parser.add_argument("--split", choices=SPLITS, help="only this split (default: all that --src has)")
    parser.add_argument("--name", help="name of the data set (default: that of the source's folder)")
    parser.add_argument("--ground-truth", metavar="FILE", help="labels of a flat val/ (default: a known file in --src)")
    parser.add_argument(
        "--shuffle-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the images' order (default: %(default)s)",
    )
    parser.add_argument(
        "--shard-mb", type=float, default=256, metavar="MB", help="size of a shard (default: %(default)s)"
    )
    parser.add_argument(
        "--max-side", type=int, metavar="PX", help="shrink images with a longer side; the only lossy option; not coco"
    )
    parser.add_argument(
        "--max-bad",
        type=_share,
        default=0.001,
        metavar="SHARE",
        help="stop if a larger share of the files cannot be read (default: 0.1%%)",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    places = places_of_coco(parsed) if parsed.kind == "coco" else {}
    src = _src(parsed)
    name = parsed.name or PurePosixPath(unquote(urlsplit(absolute_uri(src)).path)).name or "images"
    recipes = [
        Recipe(
            name=name,
            split=split,
            shuffle_seed=parsed.shuffle_seed,
            shard_mb=parsed.shard_mb,
            max_side=parsed.max_side,
        )
        for split in places or _splits(parsed)
    ]
    splits = [recipe.split for recipe in recipes]
    refuse_overlap(src, parsed.out, splits)
    listings, labels = (coco_listings(parsed, places), []) if places else _listings(parsed, splits)
    try:
        manifests = _ingest_all(list(zip(listings, recipes, strict=True)), parsed)
    except _Stopped as stopped:
        print("\nstopped: finished shards are kept, and the same command resumes from there", file=sys.stderr)
        return 128 + stopped.signum
    account = describe_listings(
        dict(zip(splits, listings, strict=True)),
        [] if places else beside(src, splits, labels),
        {manifest.split: manifest.num_samples for manifest in manifests},
    )
    tables = [*map(describe_manifest, manifests), account, *_bad(parsed.out, manifests)]
    print("\n\n".join(tables))
    return 0


def _src(parsed: argparse.Namespace) -> str:
    """Return the folder or URI of the images."""
    if parsed.kind != "coco" and (parsed.annotations or parsed.images):
        raise DataError(f"--annotations and --images are of `mvlab ingest coco`, not of {parsed.kind}")
    if not (parsed.src or parsed.images):
        raise DataError(f"{parsed.kind}: the following arguments are required: --src")
    return str(parsed.src or parsed.images)


def _bad(out: str, manifests: list[Manifest]) -> list[str]:
    """Return a table of quarantined files, if there are any."""
    bad = {}
    for manifest in manifests:
        if manifest.num_quarantined:
            lines = Folder.of(out, manifest.split).read(QUARANTINE).to_pybytes().splitlines()
            bad[manifest.split] = [json.loads(line) for line in lines]
    return [describe_quarantine(bad)] if bad else []


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _ingest_all(work: list[tuple[Listing, Recipe]], parsed: argparse.Namespace) -> list[Manifest]:
    from mvlab.data.ingest.job import ingest  # Ray: seconds to import
    from mvlab.sweep import cluster
    from mvlab.sweep.interrupts import interruptible

    cluster.connect()
    with interruptible() as stop:
        try:
            return [
                ingest(listing, recipe, parsed.out, max_bad=parsed.max_bad, on_progress=_Told(recipe.split))
                for listing, recipe in work
            ]
        except KeyboardInterrupt:
            raise _Stopped(stop.signum) from None
        finally:
            cluster.disconnect()


class _Told:
    """Progress of a split, on standard error."""

    def __init__(self, split: str) -> None:
        self.split, self.line = split, ProgressLine()

    def __call__(self, now: Any) -> None:
        left = f" | left {clock((now.num_files - now.files) / now.files_per_s)}" if now.files_per_s else ""
        self.line.show(
            f"{self.split}: shards {now.shards}/{now.num_shards} | files {now.files:,}/{now.num_files:,} "
            f"| {now.files_per_s:,.0f} files/s | {now.quarantined:,} quarantined{left}",
            last=now.shards == now.num_shards,
        )


def _splits(parsed: argparse.Namespace) -> list[str]:
    if parsed.split:
        return [parsed.split]
    splits = splits_in(parsed.src)
    if not splits:
        raise DataError(f"{parsed.src} has neither train/ nor val/: say with --split which of them its images are")
    return list(splits)


def _listings(parsed: argparse.Namespace, splits: list[str]) -> tuple[list[Listing], list[str]]:
    """Listings of all splits, and the names of the files that hold their labels.

    All splits share one class list: that of the split that is already written, or of the first one.
    """
    written = (split for split in SPLITS if MANIFEST in Folder.of(parsed.out, split).sizes())
    classes = next((read_manifest(parsed.out, split).classes for split in written), None)
    flat = [split for split in splits if split == "val" and is_flat(parsed.src, split)]
    if parsed.ground_truth and not flat:
        raise DataError(f"--ground-truth {parsed.ground_truth}: {parsed.src} has no flat val/ that would need it")
    print(f"listing {absolute_uri(parsed.src)}", file=sys.stderr)
    listings: list[Listing] = []
    truths = []
    for split in splits:
        truth = _ground_truth(parsed) if split in flat else None
        listing = list_images(parsed.src, split, classes=classes, ground_truth=truth)
        listing.require_files(parsed.max_bad)
        if truth:
            truths.append(PurePosixPath(truth.source).name)
            if truth.is_numbered(classes):
                print(f"{truth.source}: numbers are taken as places in the sorted class list, from 0", file=sys.stderr)
        listings.append(listing)
        classes = listing.classes
    return listings, truths


def _ground_truth(parsed: argparse.Namespace) -> Any:
    from mvlab.data.sources.ground_truth import read_ground_truth

    if parsed.ground_truth:
        return read_ground_truth(Path(parsed.ground_truth))
    source = Folder.of(parsed.src)
    places = [source, source.sub(folder_of(parsed.src, "val"))] if source.is_local else []
    found = [path for place in places for name in GROUND_TRUTHS if (path := Path(place.path, name)).exists()]
    return read_ground_truth(found[0]) if found else None


def _share(text: str) -> float:
    """ "0.5%" or "0.005"."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: e.g. 0.1% or 0.001")
    return value
