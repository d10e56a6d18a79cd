"""Order of a batch -> the batch, in a reader process: rows are read, cropped and resized. Knows no Ray and no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvlab.codecs.decode import decode, decode_batch
from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import Pixels, resize_box
from mvlab.data.feed.batch import Batch
from mvlab.data.geometry import Geometry
from mvlab.data.plan import PlannedBatch, SampleIds
from mvlab.data.store.manifest import SplitRef
from mvlab.data.store.read_ahead import read_ahead
from mvlab.data.store.shards import Changed, CorruptRowError, SplitReader, open_split
from mvlab.tasks.base import View

ROWS_A_READ = 8
READS_AHEAD = 32
MOST_SUBSTITUTES = 20

OnCorrupt = Literal["stop", "skip"]


_Work = tuple[SplitReader, SampleIds]
"""Reader of a split, and the rows to read from it."""
_Content = tuple[EncodedImages, Changed]


@dataclass(frozen=True, slots=True)
class Order:
    """Batch to make: the rows of a split, and the view that turns images into pixels."""

    planned: PlannedBatch
    split: SplitRef
    view: View


def render_batches(orders: list[Order], on_corrupt: OnCorrupt = "stop") -> Iterator[Batch]:
    """Yield the batch of each order. Rows of the next order are read while one is decoded.

    Raises:
        CorruptRowError: a row is not what was ingested, and `on_corrupt` is "stop". With "skip" another sample takes
            its place (none does in an evaluation), and the batch names the row.
    """
    work = [(open_split(order.split), order.planned.samples) for order in orders]
    contents = _here(work) if all(reader.folder.is_local for reader, _ in work) else _from_afar(work)
    for order, (encoded, corrupt) in zip(orders, contents, strict=True):
        yield _batch(order, encoded, corrupt, on_corrupt)


def render(encoded: EncodedImages, geometry: Geometry, out: Pixels, *, tiled: NDArray[np.bool_]) -> None:
    """Fill `out`, (N, 3, *geometry.size), with the pixels of N images, resized antialiased bilinear.

    Args:
        tiled: (N,), true for images that are tiled JPEGs.

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    decode_batch(
        encoded,
        geometry.boxes,
        out,
        mirrored=geometry.mirrored,
        tiled=tiled,
        are_whole=geometry.are_whole,
        padding=geometry.padding,
    )


def _here(work: list[_Work]) -> Iterator[_Content]:
    """Read from a local disk. It fetches the next batch while one is decoded, so no thread takes our time."""
    memory = np.empty(0, np.uint8)  # reused for all batches: fresh memory costs as much as reading into it
    for (reader, samples), (next_reader, next_samples) in zip_longest(work, work[1:], fillvalue=work[-1]):
        next_reader.expect(next_samples)
        num_bytes = int(reader.lengths[samples].sum())
        if num_bytes > len(memory):
            memory = np.empty(num_bytes * 5 // 4, np.uint8)
        yield reader.read_all(samples, memory)


def _from_afar(work: list[_Work]) -> Iterator[_Content]:
    """Read from an object store, many requests at a time."""
    pieces = [
        (reader, samples[start : start + ROWS_A_READ])
        for reader, samples in work
        for start in range(0, len(samples), ROWS_A_READ)
    ]
    rows = chain.from_iterable(read_ahead(pieces, _read_piece, ahead=READS_AHEAD, threads=READS_AHEAD))
    for _, samples in work:
        contents = list(islice(rows, len(samples)))
        corrupt = {number: content for number, content in enumerate(contents) if isinstance(content, CorruptRowError)}
        sound = (b"" if isinstance(content, CorruptRowError) else content for content in contents)
        yield EncodedImages.of(sound), corrupt


def _read_piece(piece: _Work) -> list[bytes | CorruptRowError]:
    """Return each encoded image, or its error. An error belongs to its row, not to the rows read with it."""
    reader, samples = piece
    return [_read(reader, sample) for sample in samples.tolist()]


def _read(reader: SplitReader, sample: int) -> bytes | CorruptRowError:
    try:
        return reader.read(sample)
    except CorruptRowError as error:
        return error


def _batch(order: Order, encoded: EncodedImages, corrupt: Changed, on_corrupt: OnCorrupt) -> Batch:
    planned, reader = order.planned, open_split(order.split)
    samples: SampleIds = planned.samples
    named: list[str] = []
    if corrupt:
        if on_corrupt == "stop":
            raise next(iter(corrupt.values()))
        samples, encoded, named = _replace(order, reader, encoded, corrupt)
    tiled, size = reader.tiled[samples], planned.size
    widths, heights = reader.widths[samples], reader.heights[samples]
    targets = reader.targets(samples)
    geometry = order.view.place(widths, heights, samples, size, targets, compiled=bool(tiled.any()))
    pixels = np.empty((len(samples), 3, *size), dtype=np.uint8)
    if order.view.colours_at == "source":
        _render_recoloured(encoded, geometry, pixels, tiled=tiled, view=order.view, samples=samples)
    else:
        render(encoded, geometry, pixels, tiled=tiled)
        order.view.recolour(pixels, samples)
    return Batch(planned.step, pixels, order.view.targets(targets, geometry), tuple(named))


def _render_recoloured(
    encoded: EncodedImages, geometry: Geometry, out: Pixels, *,
    tiled: NDArray[np.bool_], view: View, samples: SampleIds,
) -> None:  # fmt: skip
    """Fill `out` as `render` does. The colours of a crop change before it is resized."""
    for number, box in enumerate(geometry.boxes.tolist()):
        width, height = int(box[2] - box[0]), int(box[3] - box[1])
        crop = decode(encoded[number], box, (height, width), tiled=bool(tiled[number]))
        view.recolour(crop[None], samples[number : number + 1])
        image = Image.fromarray(crop.transpose(1, 2, 0))
        pixels = resize_box(image, (0, 0, width, height), geometry.size, is_whole=True)
        out[number] = pixels[:, :, :: -1 if geometry.mirrored[number] else 1]


def _replace(
    order: Order, reader: SplitReader, encoded: EncodedImages, corrupt: Changed
) -> tuple[SampleIds, EncodedImages, list[str]]:
    """Return the samples, their images and the reasons. Corrupt samples are replaced where the view allows it."""
    kept: list[tuple[int, bytes]] = []
    named: list[str] = []
    for number, asked in enumerate(order.planned.samples.tolist()):
        for sample, content in _candidates(order, reader, asked, corrupt.get(number) or encoded[number]):
            if not isinstance(content, CorruptRowError):
                kept.append((sample, content))
                break
            named.append(str(content))
        else:
            if not order.view.drops:
                raise CorruptRowError(
                    f"{MOST_SUBSTITUTES} samples in a row are corrupt: this data set is broken. {named[-1]}"
                )
    samples = np.array([sample for sample, _ in kept], dtype=np.int64)
    return samples, EncodedImages.of(content for _, content in kept), named


def _candidates(
    order: Order, reader: SplitReader, asked: int, content: bytes | CorruptRowError
) -> Iterator[tuple[int, bytes | CorruptRowError]]:
    """Yield the requested sample, then those that may replace it."""
    yield asked, content
    for sample in islice(order.view.substitutes(asked, len(reader)), MOST_SUBSTITUTES):
        yield sample, _read(reader, sample)
