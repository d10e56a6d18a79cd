"""Batches through a real Ray: what was planned, in order, as planned."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private.internal_api import memory_summary

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.config import SamplerConfig
from mvlab.data.data_set import open_embedded
from mvlab.data.feed import blocks
from mvlab.data.feed import stream as feed
from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render
from mvlab.data.feed.stream import stream
from mvlab.data.plan import plan_epoch, plan_evaluation
from mvlab.data.store.manifest import Manifest, read_manifest
from mvlab.data.store.shards import SplitReader
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.classification.view import EvaluationView, TrainingView

pytestmark = pytest.mark.cluster

SAMPLER = SamplerConfig(resolutions=(32, 64, 96), base_resolution=64, base_batch=16)
AUGMENTATION = AugmentationConfig()


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return open_embedded("digits", tmp_path).uri


def training(uri: str, *, epoch: int = 0, sampler: SamplerConfig = SAMPLER) -> list[Order]:
    """Rank 1 of 2."""
    manifest = read_manifest(uri, "train")
    plan = plan_epoch(manifest.group_rows, sampler, world=2, seed=0, epoch=epoch)
    view = TrainingView(AUGMENTATION, 0, epoch)
    return [Order(planned, manifest.ref(uri), view) for planned in plan.for_rank(1)]


def evaluation(uri: str) -> list[Order]:
    manifest = read_manifest(uri, "val")
    planned = plan_evaluation(manifest.num_samples, 50, world=2, rank=1, size=(64, 64))
    view = EvaluationView(EvaluationConfig(resize=64, crop=64))
    return [Order(each, manifest.ref(uri), view) for each in planned]


def test_batches_are_the_planned_ones(uri: str) -> None:
    """Two epochs of training with an evaluation between them, as one stream; pixels as rendered here."""
    orders = training(uri) + evaluation(uri) + training(uri, epoch=1)
    batches = list(stream(orders, cpus=1.0))
    assert len(batches) == len(orders)
    readers = {split: SplitReader(uri, read_manifest(uri, split)) for split in ("train", "val")}
    for order, batch in zip(orders, batches, strict=True):
        planned, reader = order.planned, readers[order.split.split]
        assert batch.step == planned.step
        assert batch.pixels.shape == (len(planned.samples), 3, *planned.size)
        assert batch.pixels.dtype == np.uint8
        assert batch.targets["label"].tolist() == reader.targets(planned.samples)["label"].tolist()
        assert batch.corrupt == ()
        first = int(planned.samples[0])
        cuts = order.view.place(np.array([8]), np.array([8]), planned.samples[:1], batch.pixels.shape[2:])
        alone = np.empty_like(batch.pixels[:1])
        render(EncodedImages.of([reader.read(first)]), cuts, alone, tiled=np.array([False]))
        assert np.array_equal(batch.pixels[:1], alone)


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return all(
        a.step == b.step
        and np.array_equal(a.pixels, b.pixels)
        and np.array_equal(a.targets["label"], b.targets["label"])
        for a, b in zip(ours, theirs, strict=True)
    )


def test_the_number_of_readers_and_of_segments_changes_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = training(uri) + evaluation(uri)
    one = list(stream(orders, cpus=1.0))
    assert same(one, list(stream(orders, cpus=3.0)))
    monkeypatch.setattr(feed, "BLOCKS_A_TASK", 1)
    monkeypatch.setattr(feed, "BATCHES_A_SEGMENT", 4)
    assert len(orders) > 4 * 2 * 2, "several segments"
    assert same(one, list(stream(orders, cpus=2.0)))


def test_orders_are_drawn_as_they_are_needed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "BLOCKS_A_TASK", 1)
    monkeypatch.setattr(feed, "BATCHES_A_SEGMENT", 4)
    monkeypatch.setattr(feed, "BATCHES_BEFORE_THE_NEXT", 1)
    drawn = 0

    def counted():
        nonlocal drawn
        for order in training(uri):
            drawn += 1
            yield order

    batches = stream(counted(), cpus=1.0)
    next(batches)
    assert drawn == 4, "one segment: what comes after is not planned yet"
    batches.close()


def test_no_orders_make_no_batches() -> None:
    assert list(stream([], cpus=2.0)) == []


def test_a_consumer_that_stops_reading_stops_the_readers(uri: str) -> None:
    """Whatever is left to do, few blocks wait in the object store: one is read, one is being made."""
    large = SamplerConfig(resolutions=(256,), base_resolution=256, base_batch=8)
    orders = training(uri, sampler=large) * 32
    batch_mb = 8 * 3 * 256 * 256 / 2**20
    block_mb = blocks.MOST_BATCHES_A_BLOCK * batch_mb
    batches = stream(orders, cpus=1.0)
    next(batches)
    before = -1.0
    while before != (now := store_mb()):  # until nothing is made any more
        before = now
        time.sleep(2)
    assert now <= blocks.BLOCKS_HELD * block_mb < len(orders) * batch_mb / 10
    batches.close()


def store_mb() -> float:
    address = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
    found = re.search(r"Plasma memory usage (\d+) MiB", memory_summary(address, stats_only=True))
    assert found
    return float(found[1])


def corrupt(uri: str, split: str, row: int) -> Manifest:
    """Flips a bit of that row's image."""
    manifest = read_manifest(uri, split)
    reader = SplitReader(uri, manifest)
    path = Path(uri.removeprefix("file://"), split, manifest.shards[0].file)
    content = bytearray(path.read_bytes())
    content[content.index(reader.read(row)) + 30] ^= 4
    path.write_bytes(content)
    return manifest


def test_a_corrupt_row_is_named(uri: str) -> None:
    orders = training(uri)
    row = int(orders[3].planned.samples[5])
    corrupt(uri, "train", row)
    with pytest.raises(ray.exceptions.RayTaskError, match=rf"train/shard-00000\.parquet, row {row}, is not what was"):
        list(stream(orders, cpus=1.0))


def test_a_corrupt_row_is_replaced_deterministically(uri: str) -> None:
    """By another sample, in its place, and nothing else changes: ranks stay in step."""
    orders = training(uri)
    sound = list(stream(orders, cpus=1.0))
    row = int(orders[3].planned.samples[5])
    corrupt(uri, "train", row)
    skipped, again = (list(stream(orders, cpus=cpus, on_corrupt="skip")) for cpus in (1.0, 2.0))
    assert same(skipped, again)
    named = [why for batch in skipped for why in batch.corrupt]
    assert len(named) == 1
    assert f"row {row}," in named[0]
    assert same(skipped[:3] + skipped[4:], sound[:3] + sound[4:])
    assert skipped[3].pixels.shape == sound[3].pixels.shape
    different = [i for i in range(len(sound[3])) if not np.array_equal(skipped[3].pixels[i], sound[3].pixels[i])]
    assert different == [5]


def test_a_corrupt_row_is_left_out_of_an_evaluation(uri: str) -> None:
    orders = evaluation(uri)
    sound = list(stream(orders, cpus=1.0))
    corrupt(uri, "val", int(orders[1].planned.samples[5]))
    skipped = list(stream(orders, cpus=1.0, on_corrupt="skip"))
    assert [len(batch) for batch in skipped] == [len(batch) - (number == 1) for number, batch in enumerate(sound)]
    assert np.array_equal(skipped[1].pixels, np.delete(sound[1].pixels, 5, axis=0))
