"""Write a split from samples that fit in memory. `job.py` is for larger sets."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from mvlab.data.ingest.counts import count_objects
from mvlab.data.ingest.image_check import UnreadableImageError, take_in
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources.objects import OBJECT_FIELDS, require_objects
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import MANIFEST, Manifest, write_manifest
from mvlab.data.store.schema import index_schema
from mvlab.data.store.shards import Row, write_shard
from mvlab.data.store.storage import DataError, Folder
from mvlab.targets import LABEL, TargetField

ROWS_PER_SHARD = 4_096


def write_split(
    samples: Iterable[Sample],
    uri: str,
    *,
    name: str,
    split: str,
    classes: Sequence[str],
    seed: int,
    task: str = "classification",
    fields: Sequence[TargetField] = (LABEL,),
) -> Manifest:
    """Shuffle `samples` once, globally, and write them as shards, index and manifest.

    Raises:
        DataError: a class name occurs twice, a label is no index of `classes`, a sample lacks a target or has another,
            an object cannot be used (`require_objects`), or an image cannot be read.
    """
    require_distinct(classes, split)
    rows = list(_rows(samples, split, len(classes), fields))
    order = generator(seed, Stream.INGEST).permutation(len(rows))
    folder = Folder.of(uri, split)
    folder.make()
    if MANIFEST in folder.sizes():
        folder.remove(MANIFEST)  # it would name shards that are replaced
    shards, parts = [], [index_schema(fields).empty_table()]
    for number, start in enumerate(range(0, len(rows), ROWS_PER_SHARD)):
        shard, part = write_shard((rows[i] for i in order[start : start + ROWS_PER_SHARD]), folder, number, fields)
        shards.append(shard)
        parts.append(part)
    index = pa.concat_tables(parts)
    manifest = Manifest.of(
        name,
        split,
        classes,
        shards,
        index,
        source={"shuffle_seed": seed},
        task=task,
        fields=tuple(fields),
        counts=count_objects(index),
    )
    write_manifest(manifest, index, folder)
    return manifest


def require_distinct(classes: Sequence[str], split: str) -> None:
    """Raise DataError if two classes have the same name."""
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise DataError(f"{split}: class names must differ, but {twice[0]!r} occurs twice")


def _rows(samples: Iterable[Sample], split: str, num_classes: int, fields: Sequence[TargetField]) -> Iterator[Row]:
    names = [field.name for field in fields]
    for sample in samples:
        if [*sample.targets] != names:
            raise DataError(
                f"{split}: sample {sample.key} has targets {', '.join(sample.targets)}; the set has {', '.join(names)}"
            )
        if LABEL.name in names and not 0 <= (label := sample.targets[LABEL.name]) < num_classes:
            raise DataError(f"{split}: sample {sample.key} has label {label}, but there are {num_classes} classes")
        if {*OBJECT_FIELDS} <= {*fields}:
            require_objects(sample.targets, num_classes, f"{split}: sample {sample.key}")
        try:
            stored = take_in(sample.image)
        except UnreadableImageError as error:
            raise DataError(f"{split}: sample {sample.key} is no readable image: {error}") from error
        yield Row(
            key=sample.key,
            image=stored.image,
            targets=sample.targets,
            width=stored.width,
            height=stored.height,
            tiled=stored.tiled,
        )
