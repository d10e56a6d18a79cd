"""An order for a batch -> the batch: rows read, cut and resized. What a reader process does; knows no Ray."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Literal

import numpy as np

from mvlab.data.batch import Batch
from mvlab.data.images import TrainingView, View, render
from mvlab.data.manifest import SplitRef
from mvlab.data.plan import PlannedBatch, SampleIds
from mvlab.data.read_ahead import read_ahead
from mvlab.data.shards import CorruptRowError, SplitReader, open_split

ROWS_A_READ = 8
READS_AHEAD = 32
MOST_SUBSTITUTES = 20

OnCorrupt = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to make: which rows of which split, and how an image becomes pixels."""

    planned: PlannedBatch
    split: SplitRef
    view: View


def render_batches(orders: list[Order], on_corrupt: OnCorrupt = "stop") -> Iterator[Batch]:
    """The batch of each order; rows of the next are read while one is decoded.

    Raises:
        CorruptRowError: a row is not what was ingested, and `on_corrupt` is "stop". With "skip" another sample takes
            its place (none does in an evaluation), and the batch names it.
    """
    work = [(open_split(order.split), order.planned.samples) for order in orders]
    contents = _here(work) if all(reader.folder.is_local for reader, _ in work) else _from_afar(work)
    for order in orders:
        yield _render(order, islice(contents, len(order.planned.samples)), on_corrupt)


def _here(work: list[tuple[SplitReader, SampleIds]]) -> Iterator[bytes | CorruptRowError]:
    """Encoded images from a disk, which fetches the next batch while one is decoded: no thread takes our time."""
    for (reader, samples), (next_reader, next_samples) in zip_longest(work, work[1:], fillvalue=work[-1]):
        next_reader.expect(next_samples)
        yield from (_read(reader, sample) for sample in samples.tolist())


def _from_afar(work: list[tuple[SplitReader, SampleIds]]) -> Iterator[bytes | CorruptRowError]:
    """Encoded images from an object store, many requests at a time."""
    pieces = [
        (reader, samples[start : start + ROWS_A_READ])
        for reader, samples in work
        for start in range(0, len(samples), ROWS_A_READ)
    ]
    return chain.from_iterable(read_ahead(pieces, _read_piece, ahead=READS_AHEAD, threads=READS_AHEAD))


def _read_piece(piece: tuple[SplitReader, SampleIds]) -> list[bytes | CorruptRowError]:
    """The encoded images, or why there is none: an error belongs to its row, not to the ones read with it."""
    reader, samples = piece
    return [_read(reader, sample) for sample in samples.tolist()]


def _read(reader: SplitReader, sample: int) -> bytes | CorruptRowError:
    try:
        return reader.read(sample)
    except CorruptRowError as error:
        return error


def _render(order: Order, contents: Iterable[bytes | CorruptRowError], on_corrupt: OnCorrupt) -> Batch:
    planned, reader = order.planned, open_split(order.split)
    pixels = np.empty((len(planned.samples), 3, planned.resolution, planned.resolution), dtype=np.uint8)
    labels: list[int] = []
    corrupt: list[str] = []
    for asked, content in zip(planned.samples.tolist(), contents, strict=True):
        for sample, encoded in _candidates(order, reader, asked, content):
            if isinstance(encoded, CorruptRowError):
                if on_corrupt == "stop":
                    raise encoded
                corrupt.append(str(encoded))
                continue
            cut = order.view.cut(int(reader.widths[sample]), int(reader.heights[sample]), sample)
            render(encoded, cut, pixels[len(labels)], tiled=bool(reader.tiled[sample]))
            labels.append(int(reader.labels[sample]))
            break
        else:
            _require_dropped(order.view, corrupt)
    return Batch(planned.step, pixels[: len(labels)], np.asarray(labels, dtype=np.int64), tuple(corrupt))


def _require_dropped(view: View, corrupt: list[str]) -> None:
    if isinstance(view, TrainingView):
        raise CorruptRowError(
            f"{MOST_SUBSTITUTES} samples in a row are corrupt: this data set is broken. {corrupt[-1]}"
        )


def _candidates(
    order: Order, reader: SplitReader, asked: int, content: bytes | CorruptRowError
) -> Iterator[tuple[int, bytes | CorruptRowError]]:
    """The sample that was asked for, then those that may stand in for it."""
    yield asked, content
    for sample in islice(order.view.substitutes(asked, len(reader)), MOST_SUBSTITUTES):
        yield sample, _read(reader, sample)
