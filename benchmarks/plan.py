"""Cost of planning an epoch of ImageNet, lazily and eagerly, measured alternately in one run.

    .venv/bin/python benchmarks/plan.py

There are two eager ways: shuffle all windows of the same plan before the first batch, or permute all sample ids (numpy)
and cut them. The last line is JSON. All times are medians, on one core.
"""

import json
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

import numpy as np

from mvlab.data.plan import EpochPlan, count_updates, plan_epoch
from mvlab.data.randomness import Stream, generator
from mvlab.markdown import markdown_table
from mvlab.samplers import MULTI_SCALE

NUM_SAMPLES = 1_281_167
GROUP_ROWS = [32] * (NUM_SAMPLES // 32) + [NUM_SAMPLES % 32]
"""Rows of each row group, as a list like a manifest's."""
WORLD = 8
ROUNDS = 51
SLOW_ROUNDS = 11


def plan(epoch: int) -> EpochPlan:
    return plan_epoch(GROUP_ROWS, MULTI_SCALE, world=WORLD, seed=0, epoch=epoch)


def first_batch(epoch: int) -> None:
    next(plan(epoch).for_rank(WORLD - 1))


def first_batch_of_all_windows(epoch: int) -> None:
    planned = plan(epoch)
    cut(planned, planned.order.slice(0, NUM_SAMPLES))


def first_batch_of_a_permutation(epoch: int) -> None:
    """Plan without row groups, like a sampler over single files."""
    cut(plan(epoch), generator(0, Stream.ORDER, epoch).permutation(NUM_SAMPLES))


def cut(planned: EpochPlan, order: np.ndarray) -> np.ndarray:
    batch = int(planned.batches[0])
    return order[(WORLD - 1) * batch : WORLD * batch].copy()


def whole_order(epoch: int) -> None:
    plan(epoch).order.slice(0, NUM_SAMPLES)


def batches_of_one_rank(epoch: int) -> None:
    consume(plan(epoch), range(1))


def batches_of_all_ranks(epoch: int) -> None:
    """Plan the batches of all ranks, one after the other. Each makes its windows itself, as in a process of its own."""
    consume(plan(epoch), range(WORLD))


def consume(planned: EpochPlan, ranks: range) -> None:
    for rank in ranks:
        for _ in planned.for_rank(rank):
            pass


def updates_of_300_epochs(epoch: int) -> None:
    count_updates(NUM_SAMPLES, MULTI_SCALE, world=WORLD, seed=epoch, epochs=300)


def medians_ms(actions: list[Callable[[int], None]], rounds: int) -> list[float]:
    """Return the median time of each action, in turns. Each round is another epoch."""
    times: list[list[float]] = [[] for _ in actions]
    for epoch in range(rounds):
        for action, measured in zip(actions, times, strict=True):
            started = time.perf_counter()
            action(epoch)
            measured.append((time.perf_counter() - started) * 1e3)
    return [median(measured) for measured in times]


def peak_mb(action: Callable[[int], None]) -> float:
    """Return the peak of Python's and numpy's memory (1 MB = 1e6 bytes), without the list of row groups."""
    tracemalloc.start()
    action(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    firsts = [first_batch, first_batch_of_all_windows, first_batch_of_a_permutation]
    wholes = [whole_order, batches_of_one_rank, batches_of_all_ranks, updates_of_300_epochs]
    actions = [*firsts, *wholes]
    times = medians_ms(firsts, ROUNDS) + medians_ms(wholes, SLOW_ROUNDS)
    peaks = [peak_mb(action) for action in actions]
    rows = [
        [action.__name__.replace("_", " "), f"{ms:.2f}", f"{peak:.2f}"]
        for action, ms, peak in zip(actions, times, peaks, strict=True)
    ]
    print(markdown_table([f"{NUM_SAMPLES:,} samples, {WORLD} ranks", "ms", "peak MB"], rows))
    result = {
        "first_batch_ms": times[0],
        "epoch_ms": times[actions.index(whole_order)],
        "peak_mb": peaks[actions.index(batches_of_one_rank)],
        "ratio_eager_first_batch": times[1] / times[0],
    }
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
