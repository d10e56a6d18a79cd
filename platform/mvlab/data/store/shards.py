"""Images <-> Parquet shards. Any tool can read the Parquet files. The index has each image's position in its shard.

Rows are read by position (`SplitReader`), not through Parquet's row groups. A batch draws its rows from many row
groups. Reading whole groups would read many times the bytes that are used.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.data.store.manifest import ROWS_PER_GROUP, Manifest, Shard, SplitRef, read_index, read_manifest
from mvlab.data.store.patience import patiently
from mvlab.data.store.schema import column_of, index_schema, shard_schema
from mvlab.data.store.storage import DataError, Folder, LocalFile, StoreError
from mvlab.targets import TargetField, Targets, take

SHARDS_OPEN = 128
"""Files that a reader process keeps open: enough for the rows of one window of the plan."""


T = TypeVar("T")


class CorruptRowError(DataError):
    """Row that is not what was ingested; the message names shard and row."""


Changed = dict[int, CorruptRowError]
"""Index of an image among those that were read -> its error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One sample in the form that is stored."""

    key: str
    """Key, unique within the set, e.g. the source file's name."""
    image: bytes
    """Encoded image: JPEG, PNG or any other format that Pillow reads."""
    targets: Mapping[str, Any]
    """Field name -> a value, an array of the field's shape, or a sequence of them."""
    width: int
    height: int
    tiled: bool
    """True if `image` is a JPEG whose crops can be decoded alone."""


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.parquet"


def write_shard(
    rows: Iterable[Row], folder: Folder, number: int, fields: Sequence[TargetField]
) -> tuple[Shard, pa.Table]:
    """Write a shard, one row group at a time, and publish it when it is complete. Also return its rows' index.

    Memory holds one row group of ROWS_PER_GROUP images, however large the shard.
    """
    file, schema = shard_name(number), shard_schema(fields)
    statistics = ["key", *(field.name for field in fields if field.kind == "scalar" and not field.shape)]
    partial = folder.partial(file)
    parts = []
    with folder.filesystem.open_output_stream(partial) as out:
        sink = _Sink(out)
        with pq.ParquetWriter(
            sink, schema, compression="none", use_dictionary=False, write_statistics=statistics
        ) as writer:
            remaining = iter(rows)
            while group := list(islice(remaining, ROWS_PER_GROUP)):
                start = sink.num_bytes
                sink.kept.clear()
                writer.write_table(pa.Table.from_pylist([_values(row) for row in group], schema=schema))
                parts.append(_index_of(group, number, b"".join(sink.kept), start, index_schema(fields)))
    folder.publish(partial, file)
    index = pa.concat_tables(parts) if parts else index_schema(fields).empty_table()
    return Shard(file, len(index), sink.num_bytes, sink.sha256.hexdigest()), index


class SplitReader:
    """Reader of one split's images by row number. Each is checked against its checksum, taken at ingest."""

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self.uri, self.manifest = uri, manifest
        self.folder = Folder.of(uri, manifest.split)
        index = read_index(self.folder)
        self._targets = {field.name: column_of(index, field) for field in manifest.fields}
        self.widths, self.heights = _column(index, "width"), _column(index, "height")
        self.tiled = _column(index, "tiled")
        self._shards, self._offsets = _column(index, "shard"), _column(index, "offset")
        self.lengths, self._checksums = _column(index, "length"), _column(index, "checksum")
        self._open = lru_cache(maxsize=SHARDS_OPEN)(lambda number: self.folder.open(shard_name(number)))

    def __len__(self) -> int:
        return len(self.widths)

    def targets(self, rows: NDArray[np.int64]) -> Targets:
        """Return the targets of `rows` (N,), by field."""
        return {name: take(column, rows) for name, column in self._targets.items()}

    def read(self, row: int) -> bytes:
        """Return the encoded image of a row. Several threads may call this.

        Raises:
            CorruptRowError: the bytes are not those that were ingested.
            StoreError: the store has not answered for a long time, which says nothing about the row.
        """
        length, offset = int(self.lengths[row]), int(self._offsets[row])
        encoded: bytes = self._patiently(row, int(self._shards[row]), lambda shard: shard.read_at(length, offset))
        if len(encoded) != length or xxhash.xxh3_64_intdigest(encoded) != int(self._checksums[row]):
            raise self._changed(row)
        return encoded

    def read_all(self, rows: NDArray[np.int64], memory: NDArray[np.uint8]) -> tuple[EncodedImages, Changed]:
        """Read encoded images from a local disk into `memory`, from its start on. Also return the corrupt ones.

        Args:
            rows: (N,) row numbers.
            memory: at least as many bytes as the images have.

        Raises:
            StoreError: as for `read`.
        """
        ends, content, start = np.cumsum(self.lengths[rows], dtype=np.int64), memory.data, 0
        columns = rows, self._shards[rows], self._offsets[rows], self._checksums[rows], ends
        corrupt: Changed = {}
        of_each = zip(*(column.tolist() for column in columns), strict=True)
        for number, (row, shard, offset, checksum, end) in enumerate(of_each):
            image = content[start:end]
            num_bytes = self._patiently(row, shard, partial(LocalFile.read_into, memory=image, offset=offset))
            if num_bytes != len(image) or xxhash.xxh3_64_intdigest(image) != checksum:
                corrupt[number] = self._changed(row)
            start = end
        return EncodedImages(memory[:start], ends), corrupt

    def _patiently(self, row: int, shard: int, read: Callable[[Any], T]) -> T:
        """Return `read` of a shard's file. After an error, the file is opened anew: a handle may be stale for good."""

        def once() -> T:
            try:
                return read(self._open(shard))
            except OSError as error:
                self._open.cache_clear()
                raise StoreError(f"{self.where(row)} cannot be read: {error}") from error

        return patiently(once)

    def _changed(self, row: int) -> CorruptRowError:
        return CorruptRowError(
            f"{self.where(row)} is not what was ingested: its bytes changed. `mvlab inspect --verify` lists "
            "what else changed; copy the shard again, or skip such rows with --on-corrupt skip"
        )

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Ask a local disk to fetch `rows` into memory, without waiting. For a remote store, it does nothing."""
        columns = self._shards[rows], self.lengths[rows], self._offsets[rows]
        with suppress(OSError):  # `read_all` will retry, and report it
            for number, length, offset in zip(*(column.tolist() for column in columns), strict=True):
                shard = self._open(number)
                if isinstance(shard, LocalFile):
                    shard.expect(length, offset)

    def where(self, row: int) -> str:
        """Return the shard and the row within it, for people."""
        shard = int(self._shards[row])
        first = int(np.searchsorted(self._shards, shard))
        return f"{self.uri}/{self.manifest.split}/{shard_name(shard)}, row {row - first},"


@lru_cache(maxsize=8)
def open_split(ref: SplitRef) -> SplitReader:
    """Return the reader of a split, opened once per process. It waits for a store that does not answer.

    Raises:
        DataError: the split is gone, or is no longer the one that `ref` was made from.
        StoreError: the store has not answered for a long time.
    """

    def once() -> SplitReader:
        manifest = read_manifest(ref.uri, ref.split)
        if manifest.digest != ref.digest:
            raise DataError(f"{ref.uri}/{ref.split} was written anew while it was being read: start the run again")
        return SplitReader(ref.uri, manifest)

    return patiently(once)


class _Sink(io.RawIOBase):
    """Writer that passes bytes on, hashes and counts them. It keeps them until `kept` is cleared."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0
        self.kept: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        data = bytes(data)
        self.out.write(data)
        self.sha256.update(data)
        self.num_bytes += len(data)
        self.kept.append(data)
        return len(data)


def _values(row: Row) -> dict[str, Any]:
    """Return the columns of a row."""
    values = {each.name: getattr(row, each.name) for each in dataclass_fields(row) if each.name != "targets"}
    return {**values, **row.targets}


def _index_of(group: Sequence[Row], shard: int, written: bytes, start: int, schema: pa.Schema) -> pa.Table:
    """Return the index of a group of rows. Parquet stores an image as it is, so its bytes are found among those
    written."""
    position, entries = 0, []
    for row in group:
        position = written.index(row.image, position)
        entries.append(
            {
                "shard": shard,
                "offset": start + position,
                "length": len(row.image),
                **row.targets,
                "width": row.width,
                "height": row.height,
                "tiled": row.tiled,
                "checksum": xxhash.xxh3_64_intdigest(row.image),
            }
        )
        position += len(row.image)
    return pa.Table.from_pylist(entries, schema=schema)


def _column(index: pa.Table, name: str) -> NDArray[Any]:
    column: NDArray[Any] = index[name].combine_chunks().to_numpy(zero_copy_only=False)
    return column
