"""Grouping of batches into blocks, which are objects in Ray's store, and limit of a block's size. Pure."""

import math
from collections.abc import Iterator
from itertools import count

import numpy as np

from mvlab.data.feed.render import Order

MOST_BATCHES_A_BLOCK = 16
"""Limit of batches per block. A Ray object costs some 10 ms of CPU in several processes, whatever its size. With 4
batches per block, 10% fewer images are made per second."""
MOST_BYTES_A_BLOCK = 96 * 2**20
"""Limit of bytes per block of several batches. With twice as many, no more images are made per second, and the first
thousands of a process come later. Memory that a process sees for the first time costs a fault per page, in the reader
and in the consumer."""
FILLED = 0.8
"""Average share of a block's byte limit that is filled. Then few blocks have fewer images than others to stay below
it."""
BLOCKS_HELD = 5
"""Blocks of each reader in the object store: one is being read and the next one waits, two wait with the reader (Ray
Data's default), one is being made. Between segments, there are twice as many for a moment."""
SHARE_OF_STORE = 0.5
"""Share of a machine's object store that the feeds of all ranks on it may use."""

Block = list[Order]


def blocks_of(orders: list[Order], readers: int, most_bytes: int) -> Iterator[Block]:
    """Group consecutive orders into blocks of about equal image count, within a byte limit.

    Readers make blocks in turn, and the consumer takes them in the same order. So all blocks should take equally long.
    With equal numbers of batches, whose image counts differ up to four times, one reader would wait for the other.
    Blocks begin with one batch and double; they become smaller again at the end. A block is available only when all of
    it is made. So training starts with the first batch, and all readers work until the last.
    """
    if not orders:
        return
    images = np.cumsum([0, *(len(order.planned.samples) for order in orders)])
    sizes = np.cumsum([0, *map(num_bytes, orders)])
    most_images = images[-1] * min(MOST_BATCHES_A_BLOCK / len(orders), FILLED * most_bytes / sizes[-1])
    place = 0
    for number in count():
        if place == len(orders):
            return
        left = images[-1] - images[place]
        ends = (
            np.searchsorted(images, images[place] + min(most_images, left / (2 * readers)), side="right") - 1,
            np.searchsorted(sizes, sizes[place] + most_bytes, side="right") - 1,
            place + min(MOST_BATCHES_A_BLOCK, 2 ** (number // readers), (len(orders) - place) // (2 * readers)),
        )
        end = max(place + 1, int(min(ends)))
        yield orders[place:end]
        place = end


def num_bytes(order: Order) -> int:
    """Return the bytes of the order's pixels."""
    return len(order.planned.samples) * 3 * math.prod(order.planned.size)


def block_bytes(block: Block) -> int:
    return sum(map(num_bytes, block))


def bytes_a_block(resources: dict[str, float]) -> int:
    """Return the limit of bytes per block. Readers on all CPUs of a machine, of any job, then use half of its store.

    Args:
        resources: resources of the machine, as Ray names them.
    """
    share = SHARE_OF_STORE * resources["object_store_memory"] / max(1.0, resources.get("CPU", 1.0))
    return min(MOST_BYTES_A_BLOCK, int(share / BLOCKS_HELD))
