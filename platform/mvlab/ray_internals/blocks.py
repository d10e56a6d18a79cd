"""Blocks of a data set, in order: at the consumer's pace by Ray's internals, or else by Ray Data's public iterator."""

import functools
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

INTERNALS_CHANGED = (ImportError, AttributeError, TypeError, LookupError)
"""Errors of code that was written for other internals."""


def blocks_in_order(read: Callable[[], ray.data.Dataset], num_blocks: int) -> Iterator[Any]:
    """Return the blocks of the data set that `read` makes; the first one is ready when this returns.

    Without Ray's internals (`pace`) the blocks are the same, in the same order. They cost more CPU and memory: Ray
    polls for them, and makes as many ahead as the object store holds.

    Args:
        num_blocks: number of blocks in that data set.
    """
    dataset = read()
    try:
        from mvlab.ray_internals.pace import start_at_pace

        blocks = start_at_pace(dataset, num_blocks)
    except INTERNALS_CHANGED as error:
        if isinstance(error, RayError):  # raised by a task: Ray gives it the type of its cause as well
            raise
        _warn_once(f"{type(error).__name__}: {error}")
        blocks = iter(read().iter_batches(batch_size=None, batch_format="pyarrow"))  # another: `dataset` was configured
    return chain([next(blocks)], blocks)


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"Ray {ray.__version__} cannot be paced by mvlab.ray_internals ({reason}). Batches come through "
        "Dataset.iter_batches instead: the same ones, for more CPU and memory. Install the Ray of requirements.txt",
        RuntimeWarning,
        stacklevel=3,
    )
