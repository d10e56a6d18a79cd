"""Columns of shards and of their index: those of every set, and those of its targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mvlab.targets import Column, Ragged, TargetField


def shard_schema(fields: Sequence[TargetField]) -> pa.Schema:
    """Return the columns of a shard, a row per sample."""
    return pa.schema(
        [
            ("key", pa.string()),
            ("image", pa.large_binary()),
            *_targets(fields),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("tiled", pa.bool_()),
        ]
    )


def index_schema(fields: Sequence[TargetField]) -> pa.Schema:
    """Return the columns of the index, a row per sample: all but the images, and the positions of these."""
    return pa.schema(
        [
            ("shard", pa.int32()),
            ("offset", pa.int64()),  # of the image's bytes in the shard's file
            ("length", pa.int32()),
            *_targets(fields),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("tiled", pa.bool_()),  # a tiled JPEG, of which a crop decodes alone
            ("checksum", pa.uint64()),  # xxh3-64 of the image's bytes
        ]
    )


def column_of(index: pa.Table, field: TargetField) -> Column:
    """Return the values of a target, of all samples."""
    column: Any = index[field.name].combine_chunks()
    if field.kind == "scalar":
        return _values(column, field)
    ends = column.offsets.to_numpy()[1:] - column.offsets[0].as_py()
    return Ragged(_values(column.flatten(), field), ends.astype(np.int64))


def _values(column: Any, field: TargetField) -> NDArray[Any]:
    """Return values (N,) or (N, K) of the field's type."""
    numbers = column.flatten() if field.shape else column
    values: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
    return values.reshape(-1, *field.shape).astype(field.dtype, copy=False)


def _targets(fields: Sequence[TargetField]) -> list[tuple[str, pa.DataType]]:
    columns = []
    for field in fields:
        value = pa.bool_() if field.stored_dtype == "bool" else pa.from_numpy_dtype(np.dtype(field.stored_dtype))
        if field.shape:
            value = pa.list_(value, *field.shape)
        columns.append((field.name, pa.list_(value) if field.kind == "ragged" else value))
    return columns
