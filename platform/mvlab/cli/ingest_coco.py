"""`mvlab ingest coco`: its options, checked, and the listings of its splits."""

import argparse
import sys
from collections.abc import Mapping

from mvlab.data.sources.coco import Categories, CocoSplit, list_coco, split_of_files, splits_of_coco
from mvlab.data.sources.listing import Listing
from mvlab.data.sources.splits import SPLITS
from mvlab.data.store.manifest import MANIFEST, read_manifest
from mvlab.data.store.storage import DataError, Folder

ABOUT_COCO = (
    "coco: --src has COCO's own layout (annotations/instances_train2017.json and train2017/, any year or none), or "
    "--annotations and --images name one split of any set in COCO's format. In train, images without any annotation "
    "are left out; val keeps them. Boxes are kept to the bit; one that reaches more than 0.01 px beyond its image is "
    "clipped, one without an area is dropped. All of these are counted."
)


def places_of_coco(parsed: argparse.Namespace) -> dict[str, CocoSplit]:
    """Return the places of each split that is to be ingested.

    Raises:
        DataError: options are missing or do not go together, or there are no annotations of a split.
    """
    _require_options(parsed)
    if parsed.annotations:
        return {parsed.split: split_of_files(parsed.annotations, parsed.images)}
    return splits_of_coco(parsed.src, parsed.split)


def coco_listings(parsed: argparse.Namespace, places: Mapping[str, CocoSplit]) -> list[Listing]:
    """Return the listings of all splits. They share the categories of the split that is already written, or of the
    first one."""
    categories = _written(parsed.out)
    listings = []
    for split, where in places.items():
        print(f"reading {where.folder.at(where.file)}", file=sys.stderr)
        listing = list_coco(where, split, categories=categories)
        listing.require_files(parsed.max_bad)
        listings.append(listing)
        categories = list(zip(listing.class_ids, listing.classes, strict=True))
    return listings


def _require_options(parsed: argparse.Namespace) -> None:
    if bool(parsed.src) == bool(parsed.annotations or parsed.images):
        raise DataError("coco: name the source as --src, or as --annotations and --images")
    if bool(parsed.annotations) != bool(parsed.images):
        raise DataError("coco: --annotations and --images go together: a file and the folder of its images")
    if parsed.annotations and not parsed.split:
        raise DataError(f"--annotations {parsed.annotations}: say with --split whether they are of train or val")
    if parsed.max_side is not None:
        raise DataError(f"--max-side {parsed.max_side}: coco keeps images as they are, since boxes are in their pixels")
    if parsed.ground_truth:
        raise DataError(f"--ground-truth {parsed.ground_truth}: coco has its classes in the annotations")


def _written(out: str) -> Categories | None:
    """Return the categories of a split that is already at `out`."""
    for split in SPLITS:
        if MANIFEST in Folder.of(out, split).sizes():
            manifest = read_manifest(out, split)
            if manifest.task != "detection":
                raise DataError(f"`out` {out} holds a {split} split for {manifest.task}: choose another `out`")
            return list(zip(manifest.source_ids, manifest.classes, strict=True))
    return None
