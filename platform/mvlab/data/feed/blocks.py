"""Which batches are one object in Ray's store, a block, and how large it may be. Pure."""

import math
from collections.abc import Iterator
from itertools import count

import numpy as np

from mvlab.data.feed.render import Order

MOST_BATCHES_A_BLOCK = 16
"""An object of Ray's costs some 10 ms of CPU in several processes, whatever its size: with 4, 10% fewer
images a second."""
MOST_BYTES_A_BLOCK = 96 * 2**20
"""If it has several batches. With twice as many no more images are made a second, and the first thousands of a process
later: memory that it sees for the first time costs a fault a page, in the reader and in the consumer."""
FILLED = 0.8
"""Of the bytes that a block may have, on average: then few have fewer images than the others for their size."""
BLOCKS_HELD = 5
"""In the object store, of each reader: one is read and one waits for it, two wait with the reader (Ray Data's default)
and one is being made. Twice as many for a moment, where a segment starts beside the last."""
SHARE_OF_STORE = 0.5
"""That the feeds of all ranks on a machine may use of its object store."""

Block = list[Order]


def blocks_of(orders: list[Order], readers: int, most_bytes: int) -> Iterator[Block]:
    """Consecutive orders, of as many images a block as the bytes of an average one allow: they take equally long.

    Readers have them in turn, and the consumer takes them so: with as many batches a block, and the images of a batch
    ranging over four times, one reader would wait for the other. First come blocks of one batch, then of twice as many
    and so on; smaller ones again at the end. A block is there when all of it is made: training starts with the first,
    and all readers work until the last.
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
    """Bytes of its pixels."""
    return len(order.planned.samples) * 3 * math.prod(order.planned.size)


def block_bytes(block: Block) -> int:
    return sum(map(num_bytes, block))


def bytes_a_block(resources: dict[str, float]) -> int:
    """So many that readers on all CPUs of a machine, whoever's they are, leave the other half of its store alone.

    Args:
        resources: the machine's, as Ray names them.
    """
    share = SHARE_OF_STORE * resources["object_store_memory"] / max(1.0, resources.get("CPU", 1.0))
    return min(MOST_BYTES_A_BLOCK, int(share / BLOCKS_HELD))
