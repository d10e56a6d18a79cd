"""Sample stream <-> Parquet shards and their manifest.

A data set is a folder `URI/<split>/` of `shard-00000.parquet ...` and `manifest.json`. The manifest is written
last: a folder without one is no data set. `URI` is a local path or anything that pyarrow's filesystems open.
"""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from mvlab.data.randomness import Stream, generator

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ROWS_PER_GROUP = 32
ROWS_PER_SHARD = 4_096
GROUPS_KEPT = 64
"""Row groups that a reader process remembers: neighbouring batches draw from the same ones."""
SCHEMA = pa.schema([("key", pa.string()), ("image", pa.large_binary()), ("label", pa.int64())])


class DataError(ValueError):
    """A data set that cannot be read as one; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image as it is stored."""

    key: str
    """Unique within the set, e.g. the source file's name."""
    image: bytes
    """JPEG or PNG."""
    label: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file."""

    file: str
    group_rows: tuple[int, ...]
    """Rows of each row group."""
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a split holds. `digest` covers classes and every byte of every shard."""

    name: str
    split: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    digest: str
    format_version: int = FORMAT_VERSION

    def ref(self, uri: str) -> "SplitRef":
        """Of this split, which lies at `uri`."""
        return SplitRef(uri, self.split, self.digest)

    def require_same_classes(self, other: "Manifest") -> None:
        """Raises DataError unless both splits name the same classes in the same order."""
        if self.classes != other.classes:
            raise DataError(
                f"{self.split} has {len(self.classes)} classes, {other.split} has {len(other.classes)}, "
                "or they differ in name or order: write both splits from one class list"
            )

    @property
    def group_rows(self) -> list[int]:
        """Rows of each row group, over all shards in order."""
        return [rows for shard in self.shards for rows in shard.group_rows]

    @property
    def num_samples(self) -> int:
        return sum(self.group_rows)


def write_split(
    samples: Iterable[Sample], uri: str, *, name: str, split: str, classes: Sequence[str], seed: int
) -> Manifest:
    """Shuffles `samples` once, globally, and writes them as shards and manifest; holds them in memory.

    Raises:
        DataError: a class name occurs twice, or a label is no index of `classes`.
    """
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise DataError(f"{split}: class names must differ, but {twice[0]!r} occurs twice")
    rows = list(samples)
    for row in rows:
        if not 0 <= row.label < len(classes):
            raise DataError(f"{split}: sample {row.key} has label {row.label}, but there are {len(classes)} classes")
    order = generator(seed, Stream.INGEST).permutation(len(rows))
    filesystem, root = open_filesystem(uri)
    folder = posixpath.join(root, split)
    filesystem.create_dir(folder, recursive=True)
    if filesystem.get_file_info(posixpath.join(folder, MANIFEST)).type == fs.FileType.File:
        filesystem.delete_file(posixpath.join(folder, MANIFEST))  # it would name shards that are replaced
    shuffled = (rows[i] for i in order)
    shards: list[Shard] = []
    while chunk := list(islice(shuffled, ROWS_PER_SHARD)):
        shards.append(_write_shard(chunk, filesystem, folder, f"shard-{len(shards):05d}.parquet"))
    manifest = Manifest(
        name=name, split=split, classes=tuple(classes), shards=tuple(shards), digest=_digest(classes, shards)
    )
    with filesystem.open_output_stream(posixpath.join(folder, MANIFEST)) as file:
        file.write(json.dumps(asdict(manifest), indent=1).encode())
    return manifest


def read_manifest(uri: str, split: str) -> Manifest:
    """The manifest of `URI/<split>`.

    Raises:
        DataError: there is none, or it is not one of ours, or shards that it names are missing.
    """
    filesystem, root = open_filesystem(uri)
    folder = posixpath.join(root, split)
    try:
        with filesystem.open_input_stream(posixpath.join(folder, MANIFEST)) as file:
            fields = json.loads(file.read())
        if fields["format_version"] != FORMAT_VERSION:
            raise DataError(
                f"{uri}/{split} has shard format {fields['format_version']}; this version reads {FORMAT_VERSION}: "
                "write the shards again"
            )
        fields["shards"] = tuple(
            Shard(shard["file"], tuple(shard["group_rows"]), shard["sha256"]) for shard in fields["shards"]
        )
        manifest = Manifest(**(fields | {"classes": tuple(fields["classes"])}))
    except OSError as error:
        raise DataError(
            f"{uri} holds no {split} split: {split}/{MANIFEST} cannot be read ({error}). "
            "A data set is a folder with train/ and val/, each with Parquet shards and a manifest"
        ) from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"{uri}/{split}/{MANIFEST} is no manifest of this platform: {error!r}") from error
    _require_shards(manifest, filesystem, folder)
    return manifest


def absolute_uri(uri: str) -> str:
    """`uri`, or the `file://` URI of a local path: workers have other working directories.

    Raises:
        DataError: it holds a password, which would end up in logs and records.
    """
    if not re.match(r"^[a-z0-9]+://", uri):
        return Path(uri).expanduser().absolute().as_uri()
    if "@" in urlsplit(uri).netloc:
        raise DataError(
            "a data URI with credentials in it would be logged: leave them out, and set the store's own "
            "environment variables (AWS_ACCESS_KEY_ID and so on)"
        )
    return uri


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a URI or local path, and the path within it."""
    uri = absolute_uri(uri)
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{uri} cannot be opened: {error}") from error
    return filesystem, path


@dataclass(frozen=True, slots=True)
class SplitRef:
    """Names a split and its exact content; small enough to travel with every read task."""

    uri: str
    split: str
    digest: str


@lru_cache(maxsize=8)
def open_split(ref: SplitRef) -> "ShardReader":
    """The reader of a split, once a process.

    Raises:
        DataError: the split is gone, or is no longer the one that `ref` was made from.
    """
    manifest = read_manifest(ref.uri, ref.split)
    if manifest.digest != ref.digest:
        raise DataError(f"{ref.uri}/{ref.split} was written anew while it was being read: start the run again")
    return ShardReader(ref.uri, manifest)


class ShardReader:
    """Rows of one split by number."""

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self.uri = uri
        self.split = manifest.split
        self.places = [(shard.file, group) for shard in manifest.shards for group in range(len(shard.group_rows))]
        self.ends = np.cumsum(manifest.group_rows)

    def rows(self, samples: NDArray[np.int64]) -> Iterator[tuple[bytes, int]]:
        """(encoded image, label) of each row number, in the order given; each row group is read once."""
        groups = np.searchsorted(self.ends, samples, side="right")
        tables = {int(group): self._read_group(int(group)) for group in np.unique(groups)}
        for sample, group in zip(samples.tolist(), groups.tolist(), strict=True):
            table = tables[group]
            row = sample - (int(self.ends[group]) - table.num_rows)
            yield table["image"][row].as_py(), table["label"][row].as_py()

    def where(self, sample: int) -> str:
        """The shard and the row within it, for people."""
        group = int(np.searchsorted(self.ends, sample, side="right"))
        file, _ = self.places[group]
        first = self.places.index((file, 0))
        return f"{self.uri}/{self.split}/{file}, row {sample - (int(self.ends[first - 1]) if first else 0)},"

    def _read_group(self, group: int) -> pa.Table:
        file, index = self.places[group]
        return _read_group(self.uri, self.split, file, index)


@lru_cache(maxsize=GROUPS_KEPT)
def _read_group(uri: str, split: str, file: str, index: int) -> pa.Table:
    shard = _open_shard(uri, split, file)
    return shard.read_row_group(index, columns=["image", "label"], use_threads=False)


@lru_cache(maxsize=8)
def _open_shard(uri: str, split: str, file: str) -> pq.ParquetFile:
    filesystem, root = open_filesystem(uri)
    return pq.ParquetFile(posixpath.join(root, split, file), filesystem=filesystem, pre_buffer=False)


def _write_shard(rows: list[Sample], filesystem: fs.FileSystem, folder: str, file: str) -> Shard:
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS_PER_GROUP, compression="none", use_dictionary=False)
    content = sink.getvalue()
    with filesystem.open_output_stream(posixpath.join(folder, file)) as out:
        out.write(content)
    starts = range(0, len(rows), ROWS_PER_GROUP)
    group_rows = tuple(min(ROWS_PER_GROUP, len(rows) - start) for start in starts)
    return Shard(file, group_rows, hashlib.sha256(content).hexdigest())


def _digest(classes: Sequence[str], shards: Sequence[Shard]) -> str:
    text = json.dumps([list(classes), [shard.sha256 for shard in shards]])
    return hashlib.sha256(text.encode()).hexdigest()


def _require_shards(manifest: Manifest, filesystem: fs.FileSystem, folder: str) -> None:
    paths = [posixpath.join(folder, shard.file) for shard in manifest.shards]
    missing = [info.path for info in filesystem.get_file_info(paths) if info.type != fs.FileType.File]
    if missing:
        raise DataError(f"{folder}: its manifest names shards that are not there: {', '.join(missing[:3])}")
    if manifest.num_samples == 0:
        raise DataError(f"{folder} is empty: a split needs at least one sample")
