"""Targets of samples: the annotations of an image, as columns of shards and of batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mvlab.checks import require, require_fields

RESERVED = ("key", "image", "width", "height", "tiled", "shard", "offset", "length", "checksum")
"""Names of columns that every data set has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetField:
    """One target of a sample.

    Raises:
        ValueError: the name is taken or no identifier, the shape is not () or (K,), or the type is none of NUMBERS.
    """

    name: str
    dtype: str
    """numpy's name of the type in a batch, e.g. "int64"."""
    kind: Literal["scalar", "ragged"] = "scalar"
    """scalar: one value of the same shape for every sample. ragged: any number of such values."""
    shape: tuple[int, ...] = ()
    """Shape of one value: () or (K,)."""
    stored: str | None = None
    """Type in shards, if a smaller one than `dtype`. None: `dtype`."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.name.isidentifier(), f"target field {self.name!r}: its name must be an identifier")
        require(self.name not in RESERVED, f"target field {self.name!r}: every data set has a column of that name")
        require(len(self.shape) <= 1, f"target field {self.name!r}: shape={self.shape} must be () or (K,)")
        for kind in (self.dtype, self.stored_dtype):
            require(kind in NUMBERS, f"target field {self.name!r}: {kind!r} is none of {', '.join(NUMBERS)}")

    @property
    def stored_dtype(self) -> str:
        """numpy's name of the type in shards."""
        return self.stored or self.dtype


NUMBERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
"""Types of target values, by numpy's names, which are pyarrow's too."""
LABEL = TargetField(name="label", dtype="int64", stored="int32")
"""Class of an image, as an index into the data set's class names."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Values of a batch in which each sample has any number of them."""

    values: NDArray[Any]
    """(M, ...) values of all samples, concatenated."""
    ends: NDArray[np.int64]
    """(B,) end of each sample's values in `values`."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.ends)

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Return the values of one sample."""
        return self.values[self.ends[number - 1] if number else 0 : self.ends[number]]


Column = NDArray[Any] | Ragged
Targets = Mapping[str, Column]
"""Field name -> (B, ...) values, or `Ragged` ones, of the samples of a batch."""


def ragged(column: Column) -> Ragged:
    """Return the column of a ragged target as such.

    Raises:
        TypeError: it has the same number of values for every sample.
    """
    if not isinstance(column, Ragged):
        raise TypeError(f"the target must be ragged: {column.dtype} {column.shape} has as many values for every sample")
    return column


ENDS = ".ends"
"""Suffix of the name of a ragged target's second array."""


def arrays_of(targets: Targets) -> dict[str, NDArray[Any]]:
    """Return the arrays of all targets by name. A ragged one has two, `name` and `name.ends`."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in targets.items():
        if isinstance(column, Ragged):
            arrays |= {name: column.values, f"{name}{ENDS}": column.ends}
        else:
            arrays[name] = column
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Column]:
    """Return the targets of these arrays: the inverse of `arrays_of`."""
    return {
        name: Ragged(array, arrays[f"{name}{ENDS}"]) if f"{name}{ENDS}" in arrays else array
        for name, array in arrays.items()
        if not name.endswith(ENDS)
    }


def take(column: Column, rows: NDArray[np.int64]) -> Column:
    """Return the column of the chosen samples, in their order."""
    if not isinstance(column, Ragged):
        return column[rows]
    starts = np.concatenate([[0], column.ends[:-1]])[rows] if len(column) else column.ends[:0]
    counts = column.ends[rows] - starts
    ends = np.cumsum(counts, dtype=np.int64)
    places = np.repeat(starts - (ends - counts), counts) + np.arange(int(counts.sum()))
    return Ragged(column.values[places], ends)
