"""Makes Ray Data work at the consumer's pace: its scheduling thread waits for something to do, and few blocks wait.

Left to itself it looks for something to do ten times a second, which takes 2 ms of CPU, and whoever asks for a block
looks a hundred times: on the GIL of the training thread, and on the CPUs of the readers. Here both wait to be told.
Ray Data does not promise to keep what this needs of it: Ray's version is pinned.
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
"""After which the scheduling thread looks though nothing happened: Ray Data has things of its own to see to."""


def go_at_the_consumers_pace(context: DataContext) -> None:
    """Has data sets that are made from `context` go so, if `blocks_at_pace` reads them."""
    context.custom_execution_callback_classes = [Pace]
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [ConcurrencyCapBackpressurePolicy, OneBlockWaits])
    context.op_resource_reservation_enabled = False  # takes half of the time of a look, to bound what is bounded here


def blocks_at_pace(dataset: ray.data.Dataset, num_blocks: int) -> Iterator[Any]:
    """The data set's blocks, of which there are so many, in order."""
    bundles, _, executor = dataset._execute_to_iterator(capture_executor=False)  # returns when the first is taken
    pace = next(callback for callback in executor._callbacks if isinstance(callback, Pace))
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


class OneBlockWaits(BackpressurePolicy):
    """A block is fetched from a reader when the one before is taken. The reader makes two more by then, and waits."""

    def max_task_output_bytes_to_read(self, op: PhysicalOperator) -> int:
        return 0 if self._topology[op].output_queue.has_next() else 1


class Pace(ExecutionCallback):
    """That of one data set. Ray Data makes it, and calls it in its scheduling thread."""

    def __init__(self) -> None:
        self._taken, self._looked = Event(), Event()
        self._given_up = False

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        """A block's size and rows are fetched with it: by a thread of their own they come a tenth of a second later."""
        executor._metadata_fetcher = InlineMetadataFetcher()

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """After each look: waits until another may find something."""
        executor.set_external_consumer_bytes(0)  # somebody else reads what it makes: else it makes all, limit or not
        self._looked.set()
        if self._given_up:
            return
        if _block_waits(executor):
            self._taken.wait(LONGEST_WAIT_S)
            self._taken.clear()
        elif running := _running(executor):
            ray.wait(running, timeout=LONGEST_WAIT_S, fetch_local=False)

    def wait_for_block(self, executor: StreamingExecutor) -> None:
        """For the consumer; returns without one where it is worth asking why there is none."""
        while not _block_waits(executor) and self._looked.wait(2 * LONGEST_WAIT_S):
            self._looked.clear()

    def block_was_taken(self) -> None:
        self._taken.set()

    def give_up(self) -> None:
        """The consumer does not want more, or has all."""
        self._given_up = True
        self._taken.set()


def _running(executor: StreamingExecutor) -> list[Any]:
    """What comes of the tasks that run, for `ray.wait`."""
    tasks = chain.from_iterable(op.get_active_tasks() for op in executor._topology or {})
    return [task.get_waitable() for task in tasks]


def _block_waits(executor: StreamingExecutor) -> bool:
    last = next(reversed((executor._topology or {}).values()))
    return last.output_queue.has_next()
