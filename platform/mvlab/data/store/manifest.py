"""Content of a split, in two files beside its shards: `manifest.json` for people; `index.arrow`, a row per sample.

A data set is a folder `URI/<split>/` of `shard-00000.parquet ...`, index and manifest. The manifest is written last: a
folder without one is no data set.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mvlab.data.store.storage import DataError, Folder, MissingDataError, store_errors
from mvlab.targets import LABEL, TargetField

FORMAT_VERSION = 3
WITHOUT_TARGETS = 2
"""Older format, of sets that hold one label per image without recording it as a target."""
MANIFEST = "manifest.json"
INDEX = "index.arrow"
QUARANTINE = "quarantine.jsonl"
"""File of a line for each file that is no readable image or is missing, with the reason."""
ROWS_PER_GROUP = 32


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file."""

    file: str
    rows: int
    """Rows, in row groups of ROWS_PER_GROUP. The last group has the rest."""
    num_bytes: int
    sha256: str

    @property
    def group_rows(self) -> list[int]:
        full, rest = divmod(self.rows, ROWS_PER_GROUP)
        return [ROWS_PER_GROUP] * full + ([rest] if rest else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Content of a split. `digest` covers classes, index and every byte of every shard."""

    name: str
    split: str
    classes: tuple[str, ...]
    """Names of classes; empty for a task without classes."""
    shards: tuple[Shard, ...]
    index_sha256: str
    digest: str
    image_sizes: dict[str, list[int]]
    """Smallest, median and largest value: "width" and "height" in pixels, "bytes" as stored."""
    num_tiled: int
    """Images stored as tiled JPEGs, so that a crop decodes alone."""
    num_quarantined: int = 0
    """Files of the source that are no readable images or are missing. quarantine.jsonl lists them."""
    source: dict[str, Any] = field(default_factory=dict)
    """Origin of the content: seed of the shuffle, and everything else that decided it."""
    rows_per_group: int = ROWS_PER_GROUP
    task: str = "classification"
    """Kind of task that the set was made for."""
    fields: tuple[TargetField, ...] = (LABEL,)
    """Targets of each sample."""
    class_ids: tuple[int, ...] = ()
    """Id of each class in its source; empty: its index + 1. `source_ids` has them in both cases."""
    counts: dict[str, int] = field(default_factory=dict)
    """Numbers that were counted at ingest, by name, e.g. "objects"."""
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(
        cls, name: str, split: str, classes: Sequence[str], shards: Sequence[Shard], index: pa.Table, **how: Any
    ) -> "Manifest":
        """Return the manifest of shards and index as written. `how`: `task`, `fields`, `class_ids`, `counts`,
        `num_quarantined` and `source`."""
        index_sha256 = hashlib.sha256(index_bytes(index)).hexdigest()
        return cls(
            name=name,
            split=split,
            classes=tuple(classes),
            shards=tuple(shards),
            index_sha256=index_sha256,
            digest=digest_of(classes, shards, index_sha256, how.get("class_ids", ())),
            image_sizes={
                what: _low_middle_high(index[column].to_numpy())
                for what, column in (("width", "width"), ("height", "height"), ("bytes", "length"))
            },
            num_tiled=int(np.count_nonzero(index["tiled"].to_numpy())),
            **how,
        )

    def ref(self, uri: str) -> "SplitRef":
        """Return a reference to this split, which lies at `uri`."""
        return SplitRef(uri, self.split, self.digest)

    def require_alike(self, other: "Manifest") -> None:
        """Raise DataError unless both splits have the same targets, and the same classes and ids in the same order."""
        if self.fields != other.fields:
            raise DataError(
                f"{self.split} has the targets {', '.join(each.name for each in self.fields)}, {other.split} has "
                f"{', '.join(each.name for each in other.fields)}, or they differ in type: write both alike"
            )
        if self.classes != other.classes:
            raise DataError(
                f"{self.split} has {len(self.classes)} classes, {other.split} has {len(other.classes)}, "
                "or they differ in name or order: write both splits from one class list"
            )
        if self.source_ids != other.source_ids:
            raise DataError(
                f"{self.split} and {other.split} give their classes other ids: write both splits from one list of "
                "categories"
            )

    @property
    def source_ids(self) -> tuple[int, ...]:
        """Id of each class in its source; its index + 1 where none is recorded."""
        return self.class_ids or tuple(range(1, len(self.classes) + 1))

    @property
    def group_rows(self) -> NDArray[np.int64]:
        """(row groups,) rows of each group, over all shards in order."""
        return np.asarray([rows for shard in self.shards for rows in shard.group_rows], dtype=np.int64)

    @property
    def num_samples(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        return sum(shard.num_bytes for shard in self.shards)


@dataclass(frozen=True, slots=True)
class SplitRef:
    """Name of a split and of its exact content; small enough to travel with every read task."""

    uri: str
    split: str
    digest: str


def read_manifest(uri: str, split: str) -> Manifest:
    """Read the manifest of `URI/<split>`.

    Raises:
        MissingDataError: there is none, or a shard that it names is missing.
        DataError: it is not one of ours, or a shard that it names has another size.
        StoreError: the store does not answer.
    """
    folder = Folder.of(uri, split)
    with store_errors(f"{uri}/{split}"):
        manifest = _read(folder, uri, split)
        _require_files(manifest, folder.sizes(), folder.path)
    return manifest


def _read(folder: Folder, uri: str, split: str) -> Manifest:
    try:
        return _parse(json.loads(folder.read(MANIFEST).to_pybytes()), f"{uri}/{split}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(
            f"{uri} holds no {split} split: {split}/{MANIFEST} cannot be read ({error}). A data set is a folder with "
            "train/ and val/, each with Parquet shards and a manifest: `mvlab ingest` writes one"
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{uri}/{split}/{MANIFEST} is no manifest of this platform: {error!r}") from error


def write_manifest(manifest: Manifest, index: pa.Table, folder: Folder) -> None:
    """Publish a split whose shards are in place: first its index, then its manifest."""
    folder.write(INDEX, index_bytes(index))
    folder.write(MANIFEST, json.dumps(asdict(manifest), indent=1).encode())


def digest_of(classes: Sequence[str], shards: Sequence[Shard], index_sha256: str, class_ids: Sequence[int] = ()) -> str:
    """Return the digest of a split's content."""
    content = [list(classes), [shard.sha256 for shard in shards], index_sha256]
    text = json.dumps([*content, list(class_ids)] if class_ids else content)
    return hashlib.sha256(text.encode()).hexdigest()


def index_bytes(index: pa.Table) -> pa.Buffer:
    """Return the content of `index.arrow`: one record batch, so that its columns can be used in place."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, index.schema) as file:
        file.write_table(index.combine_chunks(), max_chunksize=max(1, len(index)))
    return sink.getvalue()


def read_index(folder: Folder) -> pa.Table:
    """Read the index of a split.

    Raises:
        DataError: it is no index.
        StoreError: the store does not answer.
    """
    with store_errors(folder.at(INDEX)):
        content = folder.read(INDEX)
    try:
        return pa.ipc.open_file(content).read_all()
    except (pa.ArrowInvalid, OSError) as error:  # the bytes in memory are no Arrow file
        raise DataError(f"{folder.at(INDEX)} is damaged: {error}. Copy it again, or ingest again") from error


def _parse(fields: dict[str, Any], where: str) -> Manifest:
    if (version := fields["format_version"]) not in (WITHOUT_TARGETS, FORMAT_VERSION):
        raise DataError(
            f"{where} has shard format {version}; this version reads {WITHOUT_TARGETS} and {FORMAT_VERSION}: "
            "ingest it again"
        )
    if (rows := fields["rows_per_group"]) != ROWS_PER_GROUP:
        raise DataError(f"{where} has row groups of {rows}; this version reads {ROWS_PER_GROUP}: ingest it again")
    fields["shards"] = tuple(Shard(**shard) for shard in fields["shards"])
    fields["classes"], fields["class_ids"] = tuple(fields["classes"]), tuple(fields.get("class_ids", ()))
    if "fields" in fields:
        targets = fields["fields"]
        fields["fields"] = tuple(TargetField(**{**each, "shape": tuple(each["shape"])}) for each in targets)
    return Manifest(**fields)


def _require_files(manifest: Manifest, sizes: Mapping[str, int], path: str) -> None:
    """Require the files of a split and their sizes.

    Raises:
        DataError: a shard that the manifest names is missing, or has another size than `sizes` says.
    """
    needed = {shard.file: shard.num_bytes for shard in manifest.shards}
    missing = [file for file in (*needed, INDEX) if file not in sizes]
    if missing:
        raise MissingDataError(f"{path}: its manifest names shards that are not there: {', '.join(missing[:3])}")
    for file, num_bytes in needed.items():
        if sizes[file] != num_bytes:
            raise DataError(
                f"{path}/{file} has {sizes[file]:,} bytes where the manifest says {num_bytes:,}: "
                "it was cut short or changed; copy it again, or ingest again"
            )
    if manifest.num_samples == 0:
        raise DataError(f"{path} is empty: a split needs at least one sample")


def _low_middle_high(values: NDArray[Any]) -> list[int]:
    return [int(v) for v in (values.min(), np.median(values), values.max())] if len(values) else [0, 0, 0]
