"""Description of a split's objects as text: sizes of boxes and frequency of classes."""

import numpy as np
from numpy.typing import NDArray

from mvlab.data.sources.objects import AREAS, BOXES, CATEGORIES, CROWD
from mvlab.data.store.manifest import Manifest
from mvlab.markdown import markdown_table
from mvlab.targets import Targets, ragged

MEDIUM, LARGE = 32.0**2, 96.0**2
"""Areas in square pixels from which COCO calls an object medium and large."""
MOST_CLASSES = 20
"""With more classes, the most and least frequent ones are shown, half of this each."""

Rows = list[list[str]]


def describe_objects(manifest: Manifest, targets: Targets) -> str:
    """Return two markdown tables, of box sizes and of classes. Crowds count in neither.

    Args:
        targets: targets of all samples of the split.
    """
    boxes, categories, areas, crowd = (ragged(targets[field.name]) for field in (BOXES, CATEGORIES, AREAS, CROWD))
    single = ~crowd.values
    images = np.repeat(np.arange(len(boxes)), np.diff(boxes.ends, prepend=0))
    sizes = _sizes(boxes.values[single, 2:], areas.values[single])
    classes = _classes(manifest, categories.values[single], images[single])
    title = f"{manifest.name}, {manifest.split}"
    return "\n\n".join(
        [
            markdown_table([f"{title}: objects", "number", "share", "median width, px", "median height, px"], sizes),
            markdown_table([f"{title}: class", "id", "objects", "share", "images"], classes),
        ]
    )


def _sizes(sides: NDArray[np.float64], areas: NDArray[np.float64]) -> Rows:
    chosen = {
        "all": np.ones(len(areas), np.bool_),
        f"small: area below {MEDIUM**0.5:.0f}\u00b2 px": areas < MEDIUM,
        "medium": (areas >= MEDIUM) & (areas < LARGE),
        f"large: from {LARGE**0.5:.0f}\u00b2 px": areas >= LARGE,
    }
    return [
        [name, f"{mask.sum():,}", _share(mask.sum(), len(areas)), *(_median(side[mask]) for side in sides.T)]
        for name, mask in chosen.items()
    ]


def _classes(manifest: Manifest, categories: NDArray[np.int64], images: NDArray[np.int64]) -> Rows:
    num_classes = len(manifest.classes)
    objects = np.bincount(categories, minlength=num_classes)
    pairs = np.unique(np.stack([categories, images]), axis=1)
    with_class = np.bincount(pairs[0], minlength=num_classes)
    ids = manifest.source_ids
    rows = [
        [manifest.classes[c], str(ids[c]), f"{objects[c]:,}", _share(objects[c], len(categories)), f"{with_class[c]:,}"]
        for c in np.argsort(-objects, kind="stable")
    ]
    return _ends(rows)


def _ends(rows: Rows) -> Rows:
    """Return the first and last rows, and between them one that stands for all others."""
    if len(rows) <= MOST_CLASSES:
        return rows
    half = MOST_CLASSES // 2
    between = rows[half:-half]
    return [*rows[:half], [f"... {len(between):,} more", *[""] * (len(rows[0]) - 1)], *rows[-half:]]


def _median(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):,.1f}" if len(values) else "-"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
