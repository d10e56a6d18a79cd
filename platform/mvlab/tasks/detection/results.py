"""Objects and detections of evaluated images, as columns of arrays, which are quick to join, to sort and to send."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mvlab.targets import Column, Ragged, take

Ints = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Objects and detections of I images. Boxes (.., 4) are left, top, width and height in pixels, float64."""

    image_ids: Ints
    """(I,) ids, each once."""
    boxes: Ragged
    """Boxes of each image's objects."""
    categories: Ragged
    """Classes of the objects, int64, from 0."""
    crowd: Ragged
    """True for a box around many objects."""
    areas: Ragged
    """Areas in square pixels, float64, by which objects are small, medium or large."""
    found_boxes: Ragged
    """Boxes of each image's detections."""
    found_scores: Ragged
    """Scores, float64."""
    found_categories: Ragged
    """Classes of the detections, int64, from 0."""

    @classmethod
    def empty(cls) -> "Results":
        """Return the results of no images."""
        boxes, numbers = np.zeros((0, 4)), np.zeros(0)
        return cls(
            image_ids=np.zeros(0, dtype=np.int64),
            boxes=ragged([], boxes),
            categories=ragged([], numbers.astype(np.int64)),
            crowd=ragged([], numbers.astype(np.bool_)),
            areas=ragged([], numbers),
            found_boxes=ragged([], boxes),
            found_scores=ragged([], numbers),
            found_categories=ragged([], numbers.astype(np.int64)),
        )


def ragged(parts: Sequence[NDArray[Any]], like: NDArray[Any]) -> Ragged:
    """Return a column of one part per sample. `like` (0, ...) gives type and shape, also if there are no parts."""
    values = np.concatenate([like, *parts]).astype(like.dtype, copy=False)
    return Ragged(values, np.cumsum([len(part) for part in parts], dtype=np.int64))


def joined(parts: Sequence[T]) -> T:
    """Return the rows of all parts, dataclasses of columns, in their order. There is at least one part."""
    first = parts[0]
    columns = {each.name: _joined([getattr(part, each.name) for part in parts]) for each in fields(first)}  # type: ignore[arg-type]
    return type(first)(**columns)


def taken(table: T, rows: Ints) -> T:
    """Return these rows of a dataclass of columns, in their order."""
    return type(table)(**{each.name: take(getattr(table, each.name), rows) for each in fields(table)})  # type: ignore[arg-type]


def _joined(columns: Sequence[Any]) -> Column:
    if not isinstance(columns[0], Ragged):
        return np.concatenate(columns)
    starts = np.cumsum([0, *(len(column.values) for column in columns[:-1])])
    return Ragged(
        np.concatenate([column.values for column in columns]),
        np.concatenate([column.ends + start for column, start in zip(columns, starts, strict=True)]),
    )
