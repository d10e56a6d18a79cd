"""Tensors in a package's weight file.

The file (MILBlob's storage format, version 2) has a header of 64 bytes. For each tensor follow 64 bytes of metadata and
the data. The program points to the metadata, and the metadata to the data.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvlab.export.errors import PackageError

MARK = 0xDEADBEEF
METADATA = struct.Struct("<IIQQQ")
"""Fields: mark, type, size in bytes, offset of the data, bits of padding at its end."""
BLOB_TYPES = {
    **{1: "FLOAT16", 2: "FLOAT32", 3: "UINT8", 4: "INT8", 6: "INT16", 7: "UINT16", 8: "INT4", 9: "UINT1"},
    **{10: "UINT2", 11: "UINT4", 12: "UINT3", 13: "UINT6", 14: "INT32", 15: "UINT32"},
}


class BlobFile:
    """Weight file in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = path.read_bytes()
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror or error}; export the package anew") from error

    def read(self, offset: int, *, dtype: str, name: str) -> NDArray[np.uint8]:
        """Return the bytes of the tensor with metadata at `offset`. `name` is for messages.

        Raises:
            PackageError: there is no tensor of this type, or the file ends within it.
        """
        if offset + METADATA.size > len(self._bytes):
            raise self._broken(name, f"it has {len(self._bytes)} bytes, and the tensor begins at {offset}")
        mark, stored, size, start, _ = METADATA.unpack_from(self._bytes, offset)
        if mark != MARK:
            raise self._broken(name, f"at {offset} there is no tensor")
        if BLOB_TYPES.get(stored) != dtype:
            raise self._broken(name, f"it is stored as {BLOB_TYPES.get(stored, stored)}, and declared as {dtype}")
        if start + size > len(self._bytes):
            raise self._broken(name, f"it has {len(self._bytes)} bytes, and the tensor ends at {start + size}")
        return np.frombuffer(self._bytes, np.uint8, size, start)

    def _broken(self, name: str, what: str) -> PackageError:
        return PackageError(f"{self.path}: constant {name!r}: {what}; the file is damaged: export the package anew")
