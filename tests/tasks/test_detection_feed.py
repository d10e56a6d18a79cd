"""Batches of images with objects, from shards: colours before or after the warp, and targets as trained on."""

from dataclasses import replace

import numpy as np
import pytest
from jpegs import encoded, pixels
from PIL import Image

from mvlab.codecs.pillow import decode_image, resize_box
from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.ingest.write import write_split
from mvlab.data.plan import PlannedBatch
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import SplitRef
from mvlab.data.store.shards import open_split
from mvlab.tasks.detection.colours import NUM_DRAWS, apply, drawn
from mvlab.tasks.detection.config import AugmentationConfig
from mvlab.tasks.detection.view import EvaluationView, TrainingView

COUNT, SIZE = 12, (64, 80)
CONFIG = AugmentationConfig()


def sample(number: int) -> Sample:
    """Image of its own size with `number` objects."""
    width, height = 120 + 8 * number, 150 - 5 * number
    boxes = [(4.0 + 7 * i, 30.5 - i, 40.25, 50.0 + i) for i in range(number)]
    targets = {
        "image_id": 10**12 + number,
        "boxes": boxes,
        "categories": [i % 3 for i in range(number)],
        "crowd": [i == 2 for i in range(number)],
        "areas": [w * h for *_, w, h in boxes],
        "annotation_ids": list(range(number)),
    }
    return Sample(f"{number}.jpg", encoded(pixels(width, height, number), "420"), targets)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> SplitRef:
    uri = str(tmp_path_factory.mktemp("set"))
    manifest = write_split(
        map(sample, range(COUNT)), uri, name="boxes", split="train", classes=["a", "b", "c"], seed=0,
        task="detection", fields=OBJECT_FIELDS,
    )  # fmt: skip
    return manifest.ref(uri)


def batch_of(split: SplitRef, view: TrainingView | EvaluationView) -> Batch:
    [batch] = render_batches([Order(PlannedBatch(0, SIZE, np.arange(COUNT)), split, view)])
    return batch


def test_colours_change_before_the_warp_as_in_the_release(split: SplitRef) -> None:
    """Equal to the crop by Pillow, with changed colours, then resized by Pillow."""
    view = TrainingView(replace(CONFIG, colours_at="source"), 0, 0)
    batch, reader, rows = batch_of(split, view), open_split(split), np.arange(COUNT)
    geometry = view.place(reader.widths, reader.heights, rows, SIZE, reader.targets(rows))
    assert len({tuple(box) for box in geometry.boxes.tolist()}) > 1
    for row in rows.tolist():
        crop = np.asarray(decode_image(reader.read(row)).crop(geometry.boxes[row].tolist())).transpose(2, 0, 1).copy()
        apply(drawn(view.config, generator(0, Stream.COLOURS, 0, row).random(NUM_DRAWS).tolist()), crop)
        whole = (0, 0, *crop.shape[:0:-1])
        expected = resize_box(Image.fromarray(crop.transpose(1, 2, 0)), whole, SIZE, is_whole=True)
        assert np.array_equal(batch.pixels[row], expected[:, :, ::-1] if geometry.mirrored[row] else expected)


def test_colours_after_the_warp_are_nearly_those_before_it(split: SplitRef) -> None:
    """A level or so on average, where clipped and saturated pixels differ; and equal where no colour changes."""
    after, before = (batch_of(split, TrainingView(replace(CONFIG, colours_at=at), 0, 0)) for at in ("output", "source"))
    difference = np.abs(after.pixels.astype(int) - before.pixels.astype(int))
    assert 0 < difference.mean() < 2
    plain = (TrainingView(replace(CONFIG, colours=0.0, colours_at=at), 0, 0) for at in ("output", "source"))
    one, other = (batch_of(split, view) for view in plain)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.abs(one.pixels.astype(int) - after.pixels.astype(int)).mean() > 5


def test_crowds_are_not_trained_on_but_evaluated(split: SplitRef) -> None:
    """An image without objects is there in both."""
    whole = TrainingView(AugmentationConfig(overlaps=()), 0, 0)
    trained, evaluated = batch_of(split, whole).targets, batch_of(split, EvaluationView()).targets
    counts = np.diff(evaluated["boxes"].ends, prepend=0)
    assert sorted(counts) == list(range(COUNT))
    assert (np.diff(trained["boxes"].ends, prepend=0) == counts - (counts > 2)).all()
    assert trained["boxes"].values.dtype == np.float32
    assert trained["categories"].values.dtype == np.int64
