"""Plan + shards -> Ray Data -> batches in a training worker, one planned batch each, in order, prefetched.

The Datasource is custom: Ray Data's own readers cannot express "these rows, at this resolution, as one batch". A read
task renders consecutive planned batches and packs a few of them into a block, a table of one row. This module imports
no torch, so that reader processes start quickly.
"""

import json
import logging
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import DataContext
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.blocks import MOST_BATCHES_A_BLOCK, Block, block_bytes, blocks_of, bytes_a_block
from mvlab.data.feed.render import OnCorrupt, Order, render_batches
from mvlab.ray_internals.blocks import blocks_in_order
from mvlab.targets import arrays_of, from_arrays

BLOCKS_A_TASK = 64
"""Blocks per read task. Between two tasks of a reader, a tenth of a second or more passes. A lost task is made again as
a whole."""
BATCHES_A_SEGMENT = 1024
"""Batches per segment and reader. Ray Data starts a data set of a few tasks at once, one of thousands after minutes."""
BATCHES_BEFORE_THE_NEXT = 2 * MOST_BATCHES_A_BLOCK
"""Batches left per reader when the next segment is started beside this one. So the stream never runs dry."""


def stream(orders: Iterable[Order], *, cpus: float, on_corrupt: OnCorrupt = "stop") -> Generator[Batch]:
    """Make batches on the cluster and yield them in order, prefetched.

    One stream may serve a whole run; closing it ends its readers' tasks. Orders are drawn lazily, and the next epoch's
    first batches are made while the last ones are evaluated. Orders are dealt block by block to as many readers as
    there are CPUs. Batches are collected in the same order, so that all readers work on the next few batches.

    Args:
        orders: orders of one rank.
        cpus: number of CPUs that this stream may keep busy, at least one. The caller has reserved them.
        on_corrupt: reaction to a row that is not what was ingested. "stop" ends the stream with an error. "skip" takes
            another sample (none, in an evaluation) and names the row in the batch.

    Raises:
        ray.exceptions.RayTaskError: a row is corrupt (caused by CorruptRowError, which names it).
    """
    readers, remaining = max(1, int(cpus)), iter(orders)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # hides its notices on progress bars and executions
    with ThreadPoolExecutor(1, thread_name_prefix="next-segment") as beside:
        segment = _start(remaining, readers, on_corrupt)
        while segment:
            following: Future[_Segment | None] | None = None
            for left, batch in zip(reversed(range(segment.num_batches)), segment.batches, strict=True):
                if following is None and left <= readers * BATCHES_BEFORE_THE_NEXT:
                    following = beside.submit(_start, remaining, readers, on_corrupt)
                yield batch
            segment = following.result() if following else None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Running data sets, one for each reader."""

    num_batches: int
    batches: Iterator[Batch]


def _start(remaining: Iterator[Order], readers: int, on_corrupt: OnCorrupt) -> _Segment | None:
    """Start the readers on the next orders and wait for their first batches. None if no orders are left."""
    orders = list(islice(remaining, readers * BATCHES_A_SEGMENT))
    if not orders:
        return None
    blocks = list(blocks_of(orders, readers, bytes_a_block(_resources_here())))
    _configure(DataContext.get_current())
    lanes = [blocks[reader::readers] for reader in range(min(readers, len(blocks)))]
    with ThreadPoolExecutor(len(lanes), thread_name_prefix="start-reader") as pool:
        started = list(pool.map(partial(_start_lane, on_corrupt=on_corrupt), lanes))
    in_turn = chain.from_iterable(zip_longest(*started))
    return _Segment(len(orders), chain.from_iterable(_unpack(table) for table in in_turn if table is not None))


def _resources_here() -> dict[str, float]:
    """Return the resources of the consumer's own machine, whose readers feed it."""
    here = ray.get_runtime_context().get_node_id()
    return next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)


def _start_lane(blocks: list[Block], on_corrupt: OnCorrupt) -> Iterator[pa.Table]:
    """Return the blocks of one reader. The first one is made already."""
    source = _OrderSource(blocks, on_corrupt)
    read = partial(
        ray.data.read_datasource,
        source,
        override_num_blocks=len(source.tasks),
        num_cpus=0,
        concurrency=1,
        # On the consumer's own machine: its CPUs are reserved there, and pixels need not travel.
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
    )
    return blocks_in_order(read, len(blocks))


def _configure(context: DataContext) -> None:
    """Configure Ray Data: a task's outputs stay in order, and each table is a block."""
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # byte, so that each table, of a single row, is a block


class _OrderSource(Datasource):
    """A read task for each BLOCKS_A_TASK blocks."""

    def __init__(self, blocks: list[Block], on_corrupt: OnCorrupt) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tasks = [blocks[i : i + BLOCKS_A_TASK] for i in range(0, len(blocks), BLOCKS_A_TASK)]
        self.on_corrupt = on_corrupt

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(block_bytes(block) for task in self.tasks for block in task)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        return [
            ReadTask(
                partial(_make, task, self.on_corrupt),
                BlockMetadata(
                    num_rows=len(task),
                    size_bytes=sum(map(block_bytes, task)),
                    exec_stats=None,
                    input_files=None,
                ),
            )
            for task in self.tasks
        ]


def _make(blocks: list[Block], on_corrupt: OnCorrupt) -> Iterator[pa.Table]:
    """Yield a table for each block; runs in a reader process."""
    batches = render_batches(list(chain.from_iterable(blocks)), on_corrupt)
    for block in blocks:
        yield _pack(list(islice(batches, len(block))))


def _pack(batches: list[Batch]) -> pa.Table:
    """Return a table of one row, with columns for each batch. The pixels are not copied."""
    columns = [column for batch in batches for column in _columns(batch)]
    return pa.table(columns, names=[str(number) for number in range(len(columns))])


def _columns(batch: Batch) -> Iterator[pa.Array]:
    """Yield a description of the batch, its pixels, and the arrays of its targets."""
    arrays = arrays_of(batch.targets)
    described = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    about = {"step": batch.step, "shape": batch.pixels.shape, "corrupt": batch.corrupt, "targets": described}
    yield pa.array([json.dumps(about)])
    yield from map(_one, (batch.pixels, *arrays.values()))


def _one(numbers: NDArray[Any]) -> pa.LargeBinaryArray:
    """Return an array of one element, the bytes of `numbers`. They are not copied if they lie in one piece."""
    numbers = np.ascontiguousarray(numbers)
    ends = np.array([0, numbers.nbytes], dtype=np.int64)
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(numbers)])


def _unpack(table: pa.Table) -> Iterator[Batch]:
    """Yield the batches of a table: the inverse of `_pack`. The pixels stay in the object store."""
    columns = (column.chunk(0) for column in table.columns)
    for text in columns:
        about = json.loads(text[0].as_py())
        pixels = _bytes(next(columns)).reshape(about["shape"])
        arrays = {
            name: _bytes(next(columns)).view(dtype).reshape(shape) for name, (dtype, shape) in about["targets"].items()
        }
        yield Batch(about["step"], pixels, from_arrays(arrays), tuple(about["corrupt"]))


def _bytes(column: pa.LargeBinaryArray) -> NDArray[np.uint8]:
    """Return the bytes that `_one` was given; `column[0]` would be a copy."""
    _, ends, data = column.buffers()
    start, end = np.frombuffer(ends, dtype=np.int64)[column.offset : column.offset + 2]
    return np.frombuffer(data, dtype=np.uint8)[start:end]
