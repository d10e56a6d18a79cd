"""Plan + shards -> Ray Data -> batches in a training worker, one planned batch each, in order, prefetched.

A custom Datasource, because Ray Data's own readers cannot express "these rows, at this resolution, as one
batch": a read task renders a run of consecutive planned batches, and each batch is one block of one row.
Imports no torch, so that reader processes start quickly.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from mvlab.data.batch import Batch
from mvlab.data.images import View, decode
from mvlab.data.plan import PlannedBatch
from mvlab.data.shards import DataError, SplitRef, open_split

BATCHES_PER_TASK = 8
TASKS_PER_DATASET = 256
"""Ray Data starts a data set of some hundred tasks at once, one of thousands after minutes."""
PREFETCHED_BATCHES = 2
SECONDS_A_SCHEDULING_STEP = 0.03


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to make: which rows of which split, and how an image becomes pixels."""

    planned: PlannedBatch
    split: SplitRef
    view: View


def stream(orders: Iterable[Order], *, cpus: float) -> Iterator[Batch]:
    """Makes batches on the cluster and yields them in order, ahead of their use.

    One stream may serve a whole run: orders are drawn lazily, and the next epoch's first batches are made
    while the last ones are evaluated.

    Args:
        orders: one rank's.
        cpus: how many of them this stream may keep busy, at least one; whoever calls has reserved them.

    Raises:
        ray.exceptions.RayTaskError: a row cannot be decoded (caused by DataError, which names it).
    """
    remaining = iter(orders)
    while segment := list(islice(remaining, BATCHES_PER_TASK * TASKS_PER_DATASET)):
        source = _OrderSource(segment)
        _configure(DataContext.get_current())
        dataset = ray.data.read_datasource(
            source, override_num_blocks=len(source.runs), num_cpus=0, concurrency=max(1, int(cpus))
        )
        blocks = dataset.iterator().iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=PREFETCHED_BATCHES
        )
        yield from map(_unpack, blocks)


class Pace(ExecutionCallback):
    """Keeps Ray Data's scheduling thread, which spins while output waits to be read, off the training thread's GIL."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        time.sleep(SECONDS_A_SCHEDULING_STEP)


def _configure(context: DataContext) -> None:
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # with one row a batch: one block is one batch
    context.custom_execution_callback_classes = [Pace]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its notices on progress bars and executions


class _OrderSource(Datasource):
    """A read task for each run of BATCHES_PER_TASK orders."""

    def __init__(self, orders: list[Order]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.runs = [orders[i : i + BATCHES_PER_TASK] for i in range(0, len(orders), BATCHES_PER_TASK)]

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(_num_bytes(order) for run in self.runs for order in run)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        return [
            ReadTask(
                partial(_make, run),
                BlockMetadata(
                    num_rows=len(run),
                    size_bytes=sum(_num_bytes(order) for order in run),
                    exec_stats=None,
                    input_files=None,
                ),
            )
            for run in self.runs
        ]


def _num_bytes(order: Order) -> int:
    return len(order.planned.samples) * 3 * order.planned.resolution**2


def _make(orders: list[Order]) -> Iterator[pa.Table]:
    for order in orders:
        batch, reader = order.planned, open_split(order.split)
        pixels = np.empty((len(batch.samples), 3, batch.resolution, batch.resolution), dtype=np.uint8)
        labels = []
        rows = reader.rows(batch.samples)
        for slot, sample, (encoded, label) in zip(pixels, batch.samples.tolist(), rows, strict=True):
            try:
                slot[:] = order.view.render(decode(encoded), sample, batch.resolution)
            except OSError as error:
                raise DataError(f"{reader.where(sample)} is no readable image: {error}") from error
            labels.append(label)
        yield pa.table(
            {
                "step": [batch.step],
                "resolution": [batch.resolution],
                "labels": [labels],
                "pixels": pa.array([pixels.data.cast("B")], type=pa.large_binary()),
            }
        )


def _unpack(table: pa.Table) -> Batch:
    resolution = table["resolution"][0].as_py()
    pixels = np.frombuffer(table["pixels"][0].as_buffer(), dtype=np.uint8)
    return Batch(
        step=table["step"][0].as_py(),
        pixels=pixels.reshape(-1, 3, resolution, resolution),
        labels=np.asarray(table["labels"][0].as_py(), dtype=np.int64),
    )
