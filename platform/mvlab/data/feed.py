"""Plan + shards -> Ray Data -> batches in a training worker, one planned batch each, in order, prefetched.

A custom Datasource, because Ray Data's own readers cannot express "these rows, at this resolution, as one
batch": a read task renders a run of consecutive planned batches, and each batch is one block of one row.
Imports no torch, so that reader processes start quickly.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from mvlab.data.batch import Batch
from mvlab.data.render import OnCorrupt, Order, render_batches

BATCHES_A_TASK = 128
"""From one task of a reader to its next takes a fifth of a second."""
TASKS_A_SEGMENT = 8
"""Ray Data starts a data set of a few tasks at once, one of thousands after minutes."""
BATCHES_BEFORE_THE_NEXT = 16
"""When a segment has this many batches left, the next one is started beside it: the stream never dries up."""
BATCHES_WAITING = 4
"""Of each reader, made before they are wanted. They are what the feed holds in memory."""
SECONDS_A_SCHEDULING_STEP = 0.03
MOST_SECONDS_A_SCHEDULING_STEP = 0.2


def stream(orders: Iterable[Order], *, cpus: float, on_corrupt: OnCorrupt = "stop") -> Iterator[Batch]:
    """Makes batches on the cluster and yields them in order, ahead of their use.

    One stream may serve a whole run: orders are drawn lazily, and the next epoch's first batches are made
    while the last ones are evaluated. Orders are dealt to as many readers as there are CPUs, one after the other, and
    batches collected likewise, so that all readers work on the next few batches.

    Args:
        orders: one rank's.
        cpus: how many of them this stream may keep busy, at least one; whoever calls has reserved them.
        on_corrupt: what a row does that is not what was ingested: ends the stream with an error, or is replaced by
            another sample (left out, in an evaluation) and named in its batch.

    Raises:
        ray.exceptions.RayTaskError: a row is corrupt (caused by CorruptRowError, which names it).
    """
    readers, remaining = max(1, int(cpus)), iter(orders)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its notices on progress bars and executions
    with ThreadPoolExecutor(1, thread_name_prefix="next-segment") as beside:
        segment = _start(remaining, readers, on_corrupt)
        while segment:
            following: Future[_Segment | None] | None = None
            for left, block in zip(reversed(range(segment.num_batches)), segment.blocks, strict=True):
                if following is None and left <= BATCHES_BEFORE_THE_NEXT:
                    following = beside.submit(_start, remaining, readers, on_corrupt)
                asked = time.perf_counter()
                yield _unpack(block)
                Pace.seconds_a_batch = time.perf_counter() - asked
            segment = following.result() if following else None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Data sets that are running, one for each reader."""

    num_batches: int
    blocks: Iterator[pa.Table]


def _start(remaining: Iterator[Order], readers: int, on_corrupt: OnCorrupt) -> _Segment | None:
    """Starts the readers on the next orders and waits for their first batches; None where no orders are left."""
    orders = list(islice(remaining, readers * BATCHES_A_TASK * TASKS_A_SEGMENT))
    if not orders:
        return None
    _configure(DataContext.get_current(), orders)
    lanes = [orders[reader::readers] for reader in range(min(readers, len(orders)))]
    with ThreadPoolExecutor(len(lanes), thread_name_prefix="start-reader") as pool:
        started = list(pool.map(partial(_start_lane, on_corrupt=on_corrupt), lanes))
    in_turn = chain.from_iterable(zip_longest(*started))
    return _Segment(len(orders), (block for block in in_turn if block is not None))


def _start_lane(orders: list[Order], on_corrupt: OnCorrupt) -> Iterator[pa.Table]:
    """One reader's blocks, the first of them made."""
    source = _OrderSource(orders, on_corrupt)
    dataset = ray.data.read_datasource(
        source,
        override_num_blocks=len(source.tasks),
        num_cpus=0,
        concurrency=1,
        # On the consumer's own machine: that is where its CPUs are reserved, and pixels need not travel.
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
    )
    blocks = iter(dataset.iterator().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    return chain([next(blocks)], blocks)


class Pace(ExecutionCallback):
    """Keeps Ray Data's scheduling thread, which spins while output waits to be read, off the training thread's GIL.

    It sleeps after each of its steps, longer and longer at first, so that a data set starts at once; and the longer the
    consumer works on a batch, since there are always some waiting.
    """

    seconds_a_batch = 0.0
    """That the consumer of this process worked on the last one."""

    def __init__(self) -> None:
        self._sleep_s = 0.0

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        longest = min(MOST_SECONDS_A_SCHEDULING_STEP, max(SECONDS_A_SCHEDULING_STEP, Pace.seconds_a_batch / 2))
        self._sleep_s = min(self._sleep_s + SECONDS_A_SCHEDULING_STEP / 50, longest)
        time.sleep(self._sleep_s)


def _configure(context: DataContext, orders: list[Order]) -> None:
    """A task's outputs in order, one block a batch, and few of them waiting.

    What waits is bounded not for its size alone: a store that uses the same pages again and again is faster than one
    that grows, since a fresh page costs a fault in each process that touches it (15% of the images a second).
    """
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(
        object_store_memory=BATCHES_WAITING * max(map(_num_bytes, orders))
    )
    context.target_max_block_size = 1  # with one row a batch: one block is one batch
    context.custom_execution_callback_classes = [Pace]


class _OrderSource(Datasource):
    """A read task for each BATCHES_A_TASK orders."""

    def __init__(self, orders: list[Order], on_corrupt: OnCorrupt) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tasks = [orders[i : i + BATCHES_A_TASK] for i in range(0, len(orders), BATCHES_A_TASK)]
        self.on_corrupt = on_corrupt

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(_num_bytes(order) for task in self.tasks for order in task)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        return [
            ReadTask(
                partial(_make, task, self.on_corrupt),
                BlockMetadata(
                    num_rows=len(task),
                    size_bytes=sum(_num_bytes(order) for order in task),
                    exec_stats=None,
                    input_files=None,
                ),
            )
            for task in self.tasks
        ]


def _num_bytes(order: Order) -> int:
    return len(order.planned.samples) * 3 * order.planned.resolution**2


def _make(orders: list[Order], on_corrupt: OnCorrupt) -> Iterator[pa.Table]:
    """Runs in a reader process: a block for each order."""
    yield from map(_pack, render_batches(orders, on_corrupt))


def _pack(batch: Batch) -> pa.Table:
    """One row; the pixels are not copied."""
    ends = np.array([0, batch.pixels.nbytes], dtype=np.int64)
    pixels = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(batch.pixels)]
    )
    return pa.table(
        {
            "step": [batch.step],
            "resolution": [batch.pixels.shape[-1]],
            "labels": pa.array([batch.labels]),
            "corrupt": pa.array([batch.corrupt], type=pa.list_(pa.string())),
            "pixels": pixels,
        }
    )


def _unpack(table: pa.Table) -> Batch:
    """The inverse. The pixels stay where they are, in the object store; `table["pixels"][0]` would copy them."""
    column = table["pixels"].chunk(0)
    _, ends, data = column.buffers()
    start, end = np.frombuffer(ends, dtype=np.int64)[column.offset : column.offset + 2]
    resolution = table["resolution"][0].as_py()
    return Batch(
        step=table["step"][0].as_py(),
        pixels=np.frombuffer(data, dtype=np.uint8)[start:end].reshape(-1, 3, resolution, resolution),
        labels=table["labels"][0].values.to_numpy(),
        corrupt=tuple(table["corrupt"][0].as_py()),
    )
