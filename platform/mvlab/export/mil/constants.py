"""Values in a program's text: MIL's types as torch tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from coremltools.proto import MIL_pb2
from numpy.typing import NDArray

from mvlab.export.errors import PackageError
from mvlab.export.mil.blobs import BlobFile
from mvlab.export.mil.program import Value

NUMPY_TYPES: dict[str, Any] = {
    **{"BOOL": np.bool_, "FLOAT16": np.float16, "FLOAT32": np.float32},
    **{f"{sign}INT{bits}": np.dtype(f"{sign}int{bits}".lower()) for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
BITS = {"UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6, "INT4": 4}
"""Bits of types smaller than a byte, which are packed."""


def type_name(value_type: Any) -> str:
    """Return MIL's name of a value's type."""
    if value_type.WhichOneof("type") == "tensorType":
        return str(MIL_pb2.DataType.Name(value_type.tensorType.dataType))
    return str(value_type.WhichOneof("type")).removesuffix("Type").upper()


def declared_shape(value_type: Any) -> tuple[int | None, ...]:
    """Return a shape; None for a dimension that is known only at run time."""
    dimensions = value_type.tensorType.dimensions
    return tuple(int(each.constant.size) if each.HasField("constant") else None for each in dimensions)


def read_value(value: Any, blobs: Callable[[str], BlobFile], *, name: str) -> Value:
    """Read a constant of the program. `blobs` opens a weight file by name, `name` is for messages.

    Raises:
        PackageError: its type is unknown, or it is not at its place.
    """
    if value.WhichOneof("value") == "blobFileValue":
        dtype = type_name(value.type)
        stored = value.blobFileValue
        return _tensor(blobs(stored.fileName).read(stored.offset, dtype=dtype, name=name), value.type, name)
    if value.immediateValue.WhichOneof("value") == "list":
        return [str(read_value(each, blobs, name=name)) for each in value.immediateValue.list.values]
    if value.immediateValue.WhichOneof("value") != "tensor":
        raise PackageError(f"constant {name!r} is a {value.immediateValue.WhichOneof('value')}: not known to mvlab")
    tensor = value.immediateValue.tensor
    held = tensor.WhichOneof("value")
    if held == "bytes":
        return _tensor(np.frombuffer(tensor.bytes.values, np.uint8), value.type, name)
    if held == "strings":
        return str(tensor.strings.values[0])
    values = np.asarray(getattr(tensor, held).values, dtype=_numpy_type(type_name(value.type), name))
    return _as_torch(values, value.type, name)


def _tensor(raw: NDArray[np.uint8], value_type: Any, name: str) -> torch.Tensor:
    dtype = type_name(value_type)
    if dtype in BITS:
        count = int(np.prod([size or 0 for size in declared_shape(value_type)]))
        return _as_torch(unpack(raw, bits=BITS[dtype], count=count, signed=dtype == "INT4"), value_type, name)
    return _as_torch(raw.view(_numpy_type(dtype, name)), value_type, name)


def unpack(raw: NDArray[np.uint8], *, bits: int, count: int, signed: bool = False) -> NDArray[np.int64]:
    """Unpack `count` integers of `bits` bits, lowest bit of the first byte first; `signed` in two's complement."""
    unpacked = np.unpackbits(raw, bitorder="little")[: bits * count].reshape(-1, bits).astype(np.int64)
    values: NDArray[np.int64] = unpacked @ (1 << np.arange(bits))
    return np.where(values >= 1 << (bits - 1), values - (1 << bits), values) if signed else values


def _numpy_type(dtype: str, name: str) -> Any:
    if dtype not in NUMPY_TYPES:
        raise PackageError(f"constant {name!r} is of type {dtype}: not known to mvlab")
    return NUMPY_TYPES[dtype]


def _as_torch(values: NDArray[Any], value_type: Any, name: str) -> torch.Tensor:
    """Convert small integers to int32 and large ones to int64, since torch computes with few other types."""
    shape = [size or 0 for size in declared_shape(value_type)]
    if values.size != int(np.prod(shape)):
        raise PackageError(f"constant {name!r} has {values.size} elements, and is declared as {shape}")
    if values.dtype.kind in "iu":
        values = values.astype(np.int64 if values.dtype.itemsize >= 8 or values.dtype == np.uint32 else np.int32)
    return torch.from_numpy(values.copy()).reshape(shape)
