"""Batches through a real Ray: what was planned, in order, as planned."""

from pathlib import Path

import numpy as np
import pytest
import ray

from mvlab.config import AugmentationConfig, EvaluationConfig, SamplerConfig
from mvlab.data.feed import Order, stream
from mvlab.data.images import EvaluationView, TrainingView, decode
from mvlab.data.locate import embedded_digits
from mvlab.data.plan import plan_epoch, plan_evaluation
from mvlab.data.shards import Sample, ShardReader, read_manifest, write_split

SAMPLER = SamplerConfig(resolutions=(32, 64, 96), base_resolution=64, base_batch=16)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_batches_are_the_planned_ones(tmp_path: Path) -> None:
    """Two epochs of training with an evaluation between them, as one stream; pixels as rendered here."""
    uri = embedded_digits(tmp_path).uri
    train, val = (read_manifest(uri, split) for split in ("train", "val"))
    orders = []
    for epoch in (0, 1):
        plan = plan_epoch(train.group_rows, SAMPLER, world=2, seed=0, epoch=epoch)
        view = TrainingView(AugmentationConfig(), 0, epoch)
        orders += [Order(planned, train.ref(uri), view) for planned in plan.for_rank(1)]
        if epoch == 0:
            evaluation = EvaluationConfig(resize=64, crop=64)
            planned_evaluation = plan_evaluation(val.num_samples, 50, world=2, rank=1, resolution=64)
            orders += [Order(planned, val.ref(uri), EvaluationView(evaluation)) for planned in planned_evaluation]
    batches = list(stream(orders, cpus=1.0))
    assert len(batches) == len(orders)
    readers = {"train": ShardReader(uri, train), "val": ShardReader(uri, val)}
    for order, batch in zip(orders, batches, strict=True):
        planned = order.planned
        assert batch.step == planned.step
        assert batch.pixels.shape == (len(planned.samples), 3, planned.resolution, planned.resolution)
        assert batch.pixels.dtype == np.uint8
        rows = list(readers[order.split.split].rows(planned.samples))
        assert batch.labels.tolist() == [label for _, label in rows]
        first = order.view.render(decode(rows[0][0]), int(planned.samples[0]), planned.resolution)
        assert np.array_equal(batch.pixels[0], first)


def test_a_corrupt_row_is_named(tmp_path: Path) -> None:
    good = [Sample(key=str(i), image=b"no image at all", label=0) for i in range(40)]
    manifest = write_split(good, str(tmp_path), name="bad", split="train", classes=("a",), seed=0)
    plan = plan_epoch(manifest.group_rows, SAMPLER, world=1, seed=0, epoch=0)
    view = TrainingView(AugmentationConfig(), 0, 0)
    orders = [Order(planned, manifest.ref(str(tmp_path)), view) for planned in plan.for_rank(0)]
    with pytest.raises(ray.exceptions.RayTaskError, match=r"shard-00000\.parquet, row \d+, is no readable image"):
        list(stream(orders, cpus=1.0))
