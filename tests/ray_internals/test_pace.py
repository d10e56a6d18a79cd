"""Ray Data's scheduling threads and the consumer wait for each other, and do not look again and again."""

import time
from itertools import islice

import pytest
from ray.data._internal.execution.interfaces import RefBundle
from ray.data._internal.execution.streaming_executor_state import OpBufferQueue

from mvlab.data.feed.render import Order
from mvlab.data.feed.stream import stream
from mvlab.ray_internals import pace

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the scheduling threads looked for something to do."""
    times: list[float] = []
    step = pace.Pace.on_execution_step

    def noted(self: pace.Pace, executor: pace.StreamingExecutor) -> None:
        times.append(time.perf_counter())
        step(self, executor)

    monkeypatch.setattr(pace.Pace, "on_execution_step", noted)
    return times


def test_the_scheduling_threads_rest_while_the_consumer_works(orders: list[Order], looks: list[float]) -> None:
    batches = stream(orders, cpus=2.0)
    next(batches)
    time.sleep(3)  # as many blocks as may wait are made by then
    looks.clear()
    time.sleep(4)
    assert 0 < len(looks) <= 2 * (4 / pace.LONGEST_WAIT_S + 1)
    batches.close()


def test_a_consumer_that_waits_does_not_look_in_vain(orders: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    in_vain: list[float] = []
    pop = OpBufferQueue.pop

    def noted(self: OpBufferQueue, split: int | None = None) -> RefBundle | None:
        bundle = pop(self, split)
        if bundle is None:
            in_vain.append(time.perf_counter())
        return bundle

    monkeypatch.setattr(OpBufferQueue, "pop", noted)
    long = orders * 4
    batches = stream(long, cpus=1.0)
    next(batches)  # Ray Data itself waits for the first block
    in_vain.clear()
    assert len(list(islice(batches, len(long) - 2))) == len(long) - 2  # and for the end
    assert len(in_vain) <= len(long) / 16
