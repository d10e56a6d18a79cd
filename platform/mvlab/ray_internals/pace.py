"""Ray Data at the consumer's pace: its scheduling thread sleeps until there is work, and few blocks are made ahead.

By default the scheduling thread polls ten times a second, at 2 ms of CPU each time. The consumer polls a hundred times
a second for its next block. Both take the GIL from the training thread and CPU from the readers. Here each waits for
an event of the other. Without any of the following, `blocks` uses Ray Data's public iterator:

- `Dataset._execute_to_iterator`: starts a data set and returns its executor, which no public method does.
- `DataContext.custom_execution_callback_classes`, `ExecutionCallback`: hooks of the scheduling thread; without them it
  polls.
- `StreamingExecutor._callbacks`: the hooks that Ray made, by which the consumer reaches its own.
- `StreamingExecutor._topology`, `OpState.output_queue`: the queue of finished blocks; without it the consumer polls.
- `PhysicalOperator.get_active_tasks`, `OpTask.get_waitable`: the tasks that run, for `ray.wait`.
- `StreamingExecutor.set_external_consumer_bytes`: marks an external consumer; otherwise Ray ignores limits on output.
- `StreamingExecutor._metadata_fetcher`, `InlineMetadataFetcher`: fetch a block's size and rows with the block; a thread
  of its own delivers them 0.1 s later.
- `StreamingExecutor.shutdown`: ends the tasks of a consumer that wants no more; else the garbage collector does it.
- `BackpressurePolicy` and the key `ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY`: the limit of one waiting block. Without
  it, blocks fill the object store. `ConcurrencyCapBackpressurePolicy` stays: `concurrency=1` relies on it.
"""

from collections.abc import Iterator
from itertools import chain
from threading import Event
from typing import Any

import ray
import ray.data
from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
    ConcurrencyCapBackpressurePolicy,
)
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.interfaces import PhysicalOperator
from ray.data._internal.execution.metadata_fetcher import InlineMetadataFetcher
from ray.data._internal.execution.streaming_executor import StreamingExecutor

LONGEST_WAIT_S = 0.5
"""Longest sleep of the scheduling thread. Ray Data has periodic work of its own to do in it."""


def start_at_pace(dataset: ray.data.Dataset, num_blocks: int) -> Iterator[Any]:
    """Configure and start a data set of `num_blocks` blocks, wait for its first block, and return all, in order."""
    _configure(dataset.context)
    bundles, _, executor = dataset._execute_to_iterator(capture_executor=False)  # returns with the first block
    paces = [callback for callback in executor._callbacks if isinstance(callback, Pace)]
    return _blocks(bundles, executor, paces[0], num_blocks)


def _configure(context: DataContext) -> None:
    context.custom_execution_callback_classes = [Pace]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [ConcurrencyCapBackpressurePolicy, OneBlockWaits])
    context.op_resource_reservation_enabled = False  # half of a scheduling step's time, for a limit that is set here


def _blocks(bundles: Iterator[Any], executor: StreamingExecutor, pace: "Pace", num_blocks: int) -> Iterator[Any]:
    try:
        for number in range(num_blocks):
            if number > 0:
                pace.wait_for_block(executor)
            refs: list[Any] = [block.ref for block in next(bundles).blocks]
            pace.block_was_taken()
            yield from ray.get(refs)
        for _ in bundles:
            raise AssertionError(f"more than {num_blocks} blocks")
    finally:
        pace.give_up()
        executor.shutdown(force=False)  # at once, also if not all blocks were taken


class OneBlockWaits(BackpressurePolicy):
    """Fetches a block from a reader once the one before is taken. The reader makes two more in the meantime, and waits.

    One reason is memory. The other is speed: an object store that reuses its pages is faster than one that grows. Every
    process that touches a fresh page takes a fault (15% of the images a second).
    """

    def max_task_output_bytes_to_read(self, op: PhysicalOperator) -> int:
        return 0 if self._topology[op].output_queue.has_next() else 1


class Pace(ExecutionCallback):
    """Events between one data set's scheduling thread and its consumer. Ray Data makes it, one for each execution."""

    def __init__(self) -> None:
        self._taken, self._looked = Event(), Event()
        self._given_up = False

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        executor._metadata_fetcher = InlineMetadataFetcher()

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Sleep after a scheduling step until another may find work."""
        executor.set_external_consumer_bytes(0)
        self._looked.set()
        if self._given_up:
            return
        if _block_waits(executor):
            self._taken.wait(LONGEST_WAIT_S)
            self._taken.clear()
        elif running := _running(executor):
            ray.wait(running, timeout=LONGEST_WAIT_S, fetch_local=False)

    def wait_for_block(self, executor: StreamingExecutor) -> None:
        """Block the consumer until a block is ready, or until the scheduling thread has been silent for too long."""
        while not _block_waits(executor) and self._looked.wait(2 * LONGEST_WAIT_S):
            self._looked.clear()

    def block_was_taken(self) -> None:
        self._taken.set()

    def give_up(self) -> None:
        """Stop sleeping: the consumer has all blocks, or wants no more."""
        self._given_up = True
        self._taken.set()


def _running(executor: StreamingExecutor) -> list[Any]:
    """Return the output streams of the running tasks, for `ray.wait`."""
    tasks = chain.from_iterable(op.get_active_tasks() for op in executor._topology or {})
    return [task.get_waitable() for task in tasks]


def _block_waits(executor: StreamingExecutor) -> bool:
    last = next(reversed((executor._topology or {}).values()))
    return last.output_queue.has_next()
