"""A listing of image files -> shards, as a Ray Data job: parallel over the cluster, in constant memory, resumable.

The shuffle is a permutation of the listing. So every shard is a task of its own, and any machine writes the same bytes.
A complete shard is published with a part file beside it, which describes its content. The parts become the split's
index once all are there. A restarted ingest finds the parts and makes the rest.
"""

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.exceptions import NodeDiedError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning

from mvlab.data.ingest.apart import Apart
from mvlab.data.ingest.counts import count_objects
from mvlab.data.ingest.image_check import Intake, UnreadableImageError, require_size, take_in
from mvlab.data.ingest.parts import PARTS, Part, begun_before, part_name, read_part, write_part
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources.listing import Listing
from mvlab.data.store.manifest import FORMAT_VERSION, MANIFEST, QUARANTINE, Manifest, read_manifest, write_manifest
from mvlab.data.store.read_ahead import read_ahead
from mvlab.data.store.shards import Row, shard_name, write_shard
from mvlab.data.store.storage import DataError, Folder, absolute_uri
from mvlab.durable import PARTIAL
from mvlab.targets import TargetField

JOB = "job.json"
FILES_AHEAD = 32
MOST_DEATHS = 3
"""Retries of a task whose worker died. Ray's default is to retry forever."""
KEPT = "Finished shards are kept, and the same command resumes from there"


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One shard to write."""

    number: int
    files: list[str]
    targets: dict[str, list[Any]]
    """Field name -> a value for each file."""
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height that each file must have; empty: any."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an ingest, over all its runs."""

    shards: int
    num_shards: int
    files: int
    num_files: int
    quarantined: int
    files_per_s: float
    """Rate of this run; 0 before its first shard."""


Tell = Callable[[Progress], None]
Fields = tuple[TargetField, ...]


class TooManyBadFilesError(DataError):
    """Error: more files are unreadable than allowed."""


def plan_shards(listing: Listing, recipe: Recipe) -> list[ShardOrder]:
    """Shuffle the listing once, globally, and cut it where `shard_mb` is reached. Pure."""
    order = generator(recipe.shuffle_seed, Stream.INGEST).permutation(len(listing))
    before = np.cumsum(np.asarray(listing.sizes, dtype=np.int64)[order]) - np.asarray(listing.sizes)[order]
    shard_of = before // max(1, int(recipe.shard_mb * 1e6))
    pieces = np.split(order, np.flatnonzero(np.diff(shard_of)) + 1)
    return [
        ShardOrder(
            number,
            [listing.files[i] for i in piece],
            {name: [values[i] for i in piece] for name, values in listing.targets.items()},
            [listing.image_sizes[i] for i in piece] if listing.image_sizes else [],
        )
        for number, piece in enumerate(pieces)
    ]


def ingest(listing: Listing, recipe: Recipe, out: str, *, max_bad: float, on_progress: Tell) -> Manifest:
    """Write the split, or the shards that an interrupted ingest did not write. Needs a Ray cluster.

    Args:
        max_bad: share of files that may be unreadable or missing.

    Raises:
        DataError: something else lies at `out`.
        TooManyBadFilesError: more than `max_bad` of the files are unreadable or missing; they are in quarantine.jsonl,
            and no manifest is written.
    """
    folder, parts = Folder.of(out, recipe.split), Folder.of(out, recipe.split, PARTS)
    job = _job(listing, recipe)
    if MANIFEST in folder.sizes():
        manifest = read_manifest(out, recipe.split)
        if {**manifest.source, "format_version": FORMAT_VERSION} != job:  # an older format has the same content
            raise DataError(f"{out}/{recipe.split} is another data set already: choose another `out`")
        _clean(folder, parts)
        return manifest
    _begin(parts, job)
    orders = plan_shards(listing, recipe)
    there = parts.sizes().keys() | folder.sizes().keys()
    whole = [order.number for order in orders if {part_name(order.number), shard_name(order.number)} <= there]
    done = {number: read_part(parts, number) for number in whole}
    watch = _Watch(orders, done, listing, max_bad, on_progress)
    try:
        watch.check()
        for number in _run([order for order in orders if order.number not in done], listing, out, recipe):
            watch.add(number, read_part(parts, number))
    finally:
        folder.write(QUARANTINE, "".join(json.dumps(entry) + "\n" for entry in watch.quarantined).encode())
    manifest = _publish(listing, recipe, orders, watch, folder, job)
    _clean(folder, parts)
    return manifest


def _run(orders: list[ShardOrder], listing: Listing, out: str, recipe: Recipe) -> Iterator[int]:
    """Yield the numbers of shards as they are written, by one task per CPU of the cluster."""
    if not orders:
        return
    rows = [{"number": order.number, "order": _encoded(order)} for order in orders]
    attempt = partial(_attempt, src=listing.src, fields=listing.fields, out=absolute_uri(out), recipe=recipe)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # hides its notices on progress bars and executions
    ray.data.DataContext.get_current().enable_progress_bars = False
    with warnings.catch_warnings():  # the pinned Ray has no named parameter for the number of retries
        warnings.simplefilter("ignore", RayDeprecationWarning)
        written = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            attempt, num_cpus=1, max_retries=MOST_DEATHS
        )
    try:
        for row in written.iter_rows():
            if row["problem"]:
                raise DataError(f"{shard_name(row['number'])} cannot be written: {row['problem']}. {KEPT}")
            yield row["number"]
    except (WorkerCrashedError, NodeDiedError) as error:
        raise DataError(
            f"a worker died {MOST_DEATHS + 1} times as it wrote a shard, of too little memory perhaps. {KEPT}"
        ) from error


def _encoded(order: ShardOrder) -> str:
    """Return all but the number of an order as JSON, which keeps numbers to the bit."""
    return json.dumps([order.files, order.targets, order.image_sizes])


def _attempt(row: dict[str, Any], src: str, fields: Fields, out: str, recipe: Recipe) -> dict[str, int | str]:
    """Write a shard in a Ray worker. An error of the store is a result, for the driver to report."""
    number = int(row["number"])
    try:
        _write(ShardOrder(number, *json.loads(row["order"])), src, fields, out, recipe)
    except (OSError, MemoryError) as error:
        return {"number": number, "problem": str(error) or type(error).__name__}
    return {"number": number, "problem": ""}


def _write(order: ShardOrder, src: str, fields: Fields, out: str, recipe: Recipe) -> None:
    """Write a shard and its part file. After an attempt that died, files are decoded apart: one may have crashed it."""
    source, folder = Folder.of(src), Folder.of(out, recipe.split)
    bad: list[dict[str, str]] = []
    with closing(Apart()) as apart:
        take = apart.take_in if begun_before(folder.sub(PARTS), order.number) else take_in
        rows = _rows(source, order, partial(take, max_side=recipe.max_side), bad)
        shard, index = write_shard(rows, folder, order.number, fields)
    write_part(Part(shard, index, bad, len(order.files)), folder.sub(PARTS), order.number)


def _rows(
    source: Folder, order: ShardOrder, take: Callable[[bytes], Intake], bad: list[dict[str, str]]
) -> Iterator[Row]:
    """Yield rows of the readable images. The others go to `bad`, with the reason."""
    contents = read_ahead(order.files, partial(_read_file, source), ahead=FILES_AHEAD)
    for number, (file, content) in enumerate(zip(order.files, contents, strict=True)):
        try:
            kept = take(content)
            if order.image_sizes:
                require_size(kept, order.image_sizes[number])
        except UnreadableImageError as error:
            bad.append({"file": file, "reason": str(error)})
            continue
        except (MemoryError, OSError) as error:
            raise OSError(f"{file} cannot be decoded: {str(error) or 'not enough memory'}") from error
        targets = {name: values[number] for name, values in order.targets.items()}
        yield Row(key=file, image=kept.image, targets=targets, width=kept.width, height=kept.height, tiled=kept.tiled)


def _read_file(source: Folder, file: str) -> bytes:
    """Return the whole file. A store that does not answer ends the ingest: a file is bad only for its content."""
    with source.filesystem.open_input_stream(source.at(file)) as stream:
        content: bytes = stream.read()
        return content


class _Watch:
    """Counter of finished shards. It stops an ingest whose source is broken."""

    def __init__(
        self, orders: list[ShardOrder], done: dict[int, Part], listing: Listing, max_bad: float, tell: Tell
    ) -> None:
        self.orders, self.parts, self.most_bad, self.tell = orders, done, listing.most_bad(max_bad), tell
        self.missing = [{"file": each.path, "reason": str(each.reason)} for each in listing.missing]
        self.num_files = sum(len(order.files) for order in orders)
        self.started, self.files_before = time.monotonic(), self.files

    @property
    def files(self) -> int:
        return sum(part.files for part in self.parts.values())

    @property
    def quarantined(self) -> list[dict[str, str]]:
        return self.missing + [entry for number in sorted(self.parts) for entry in self.parts[number].quarantined]

    def add(self, number: int, part: Part) -> None:
        self.parts[number] = part
        self.check()

    def check(self) -> None:
        bad = len(self.quarantined)
        rate = (self.files - self.files_before) / max(1e-9, time.monotonic() - self.started)
        self.tell(Progress(len(self.parts), len(self.orders), self.files, self.num_files, bad, rate))
        if bad > self.most_bad:
            raise TooManyBadFilesError(
                f"{bad:,} of the {self.files + len(self.missing):,} files read so far are no readable images, e.g. "
                f"{self.quarantined[0]['file']}: {self.quarantined[0]['reason']}. All are in {QUARANTINE}. Mend the "
                f"source, or allow more with `max_bad` (here {self.most_bad:,.1f} files); what is written is kept"
            )


def _job(listing: Listing, recipe: Recipe) -> dict[str, Any]:
    """Return the identity of an ingest. Two with the same identity write the same shards."""
    columns = [listing.files, listing.sizes, *listing.targets.values(), listing.classes]
    if listing.image_sizes:
        columns += [listing.class_ids, listing.image_sizes]
    rows = json.dumps(columns).encode()
    return {**asdict(recipe), "listing_sha256": hashlib.sha256(rows).hexdigest(), "format_version": FORMAT_VERSION}


def _begin(parts: Folder, job: dict[str, Any]) -> None:
    parts.make()
    if JOB not in parts.sizes():
        parts.write(JOB, json.dumps(job, indent=1).encode())
        return
    other = json.loads(parts.read(JOB).to_pybytes())
    if differs := [key for key in job if other.get(key) != job[key]]:
        raise DataError(
            f"{parts.path} belongs to an unfinished ingest that differs in {', '.join(differs)}: finish it with the "
            f"same options, or start anew: remove {parts.path} and the {shard_name(0)} ... beside it, nothing else"
        )


def _publish(
    listing: Listing, recipe: Recipe, orders: list[ShardOrder], watch: _Watch, folder: Folder, job: dict[str, Any]
) -> Manifest:
    parts = [watch.parts[order.number] for order in orders]
    index = pa.concat_tables([part.index for part in parts])
    manifest = Manifest.of(
        recipe.name,
        recipe.split,
        listing.classes,
        [part.shard for part in parts],
        index,
        num_quarantined=len(watch.quarantined),
        source=job,
        task=listing.task,
        fields=listing.fields,
        class_ids=listing.class_ids,
        counts=count_objects(index) | dict(listing.counts),
    )
    write_manifest(manifest, index, folder)
    return manifest


def _clean(folder: Folder, parts: Folder) -> None:
    """Remove files that only an unfinished ingest needs, and partial files of killed tasks."""
    for name in folder.sizes():
        if PARTIAL in name:
            folder.remove(name)
    if JOB in parts.sizes():
        parts.filesystem.delete_dir(parts.path)
