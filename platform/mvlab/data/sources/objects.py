"""Targets of images with objects, as COCO annotates them."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.data.store.storage import DataError
from mvlab.targets import TargetField

IMAGE_ID = TargetField(name="image_id", dtype="int64")
"""Id of the image in its source."""
BOXES = TargetField(name="boxes", dtype="float64", kind="ragged", shape=(4,))
"""Left, top, width and height of each object, in pixels of the image, to the bit as the source has them."""
CATEGORIES = TargetField(name="categories", dtype="int64", stored="int16", kind="ragged")
"""Class of each object, as an index into the data set's class names, from 0."""
CROWD = TargetField(name="crowd", dtype="bool", kind="ragged")
"""True for a box around many objects, which is trained on by nobody and matches any number of detections."""
AREAS = TargetField(name="areas", dtype="float64", kind="ragged")
"""Area of each object in square pixels, as the source states it. Small, medium and large objects differ by it."""
ANNOTATION_IDS = TargetField(name="annotation_ids", dtype="int64", kind="ragged")
"""Id of each object in its source."""
OBJECT_FIELDS = (IMAGE_ID, BOXES, CATEGORIES, CROWD, AREAS, ANNOTATION_IDS)


def corners_of(boxes: NDArray[Any]) -> NDArray[Any]:
    """Return left, top, right and bottom (M, 4) of boxes (M, 4), which are left, top, width and height."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def require_objects(targets: Mapping[str, Any], num_classes: int, where: str) -> None:
    """Check the objects of a sample, whose targets are those of OBJECT_FIELDS.

    Args:
        where: name of the sample, with which messages begin.

    Raises:
        DataError: its lists differ in length, a category is no index of a class, a box has no extent, or a number is
            not finite.
    """
    lengths = {field.name: len(targets[field.name]) for field in OBJECT_FIELDS if field.kind == "ragged"}
    if len({*lengths.values()}) > 1:
        told = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise DataError(f"{where}: it has {told}: give one of each for each object")
    columns = (targets[field.name] for field in (CATEGORIES, BOXES, AREAS))
    for number, (category, box, area) in enumerate(zip(*columns, strict=True)):
        if fault := _fault(category, [*box], area, num_classes):
            raise DataError(f"{where}: object {number} has {fault}")


def _fault(category: float, box: list[float], area: float, num_classes: int) -> str | None:
    """Return what cannot be used of an object, and what to do."""
    if category not in range(num_classes):
        return f"category {category}, but there are {num_classes} classes: give the index of its class, from 0"
    if len(box) != 4 or not all(map(isfinite, box)) or min(box[2:]) <= 0:
        return (
            f"box {box}: left, top, width and height are needed, four finite numbers, width and height above 0: "
            "mend it, or leave the object out"
        )
    if not isfinite(area) or area < 0:
        return f"area {area}: a finite number from 0 is needed, e.g. width x height of its box"
    return None
