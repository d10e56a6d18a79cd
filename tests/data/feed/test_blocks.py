"""Blocks: all batches in order, small ones first and last, each as much work as the next, and room for them."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mvlab.config import SamplerConfig
from mvlab.data.feed import blocks
from mvlab.data.feed.blocks import block_bytes, blocks_of, bytes_a_block
from mvlab.data.feed.render import Order
from mvlab.data.plan import PlannedBatch, plan_epoch
from mvlab.data.store.manifest import SplitRef
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView

SCALES = (160, 192, 256, 288, 320)


def order(resolution: int, num_samples: int) -> Order:
    planned = PlannedBatch(0, (resolution, resolution), np.arange(num_samples))
    return Order(planned, SplitRef("/data", "train", ""), TrainingView(AugmentationConfig(), 0, 0))


batches = st.builds(order, st.sampled_from(SCALES), st.integers(1, 200))


@given(st.lists(batches, max_size=300), st.integers(1, 16), st.integers(1, 10**9))
def test_blocks_are_the_orders_in_turn_and_not_too_large(orders: list[Order], readers: int, most: int) -> None:
    """And all readers have their share, however few there are; a batch that is too large is a block of its own."""
    made = list(blocks_of(orders, readers, most))
    assert list(chain.from_iterable(made)) == orders
    assert all(block_bytes(block) <= most or len(block) == 1 for block in made)
    assert all(len(block) <= blocks.MOST_BATCHES_A_BLOCK for block in made)
    assert len(made) >= min(len(orders), readers)
    assert all(len(block) == 1 for block in [*made[:readers], *made[-readers:]]), "all start and end together"


def test_large_batches_have_a_block_of_their_own() -> None:
    assert {len(block) for block in blocks_of([order(64, 16)] * 64, 1, 3 * 64 * 64 * 17)} == {1}


def test_blocks_of_an_epoch_take_equally_long() -> None:
    """In images, which take as long whatever the resolution; nine in ten within a fifth of the others."""
    sampler = SamplerConfig(resolutions=SCALES, base_resolution=256, base_batch=64)
    plan = plan_epoch([64] * 2_000, sampler, world=1, seed=0, epoch=0)
    orders = [Order(planned, SplitRef("/data", "train", ""), order(32, 1).view) for planned in plan.for_rank(0)]
    images = [sum(len(each.planned.samples) for each in b) for b in blocks_of(orders, 2, blocks.MOST_BYTES_A_BLOCK)]
    full = np.array(images[10:-10])
    assert (np.abs(full / np.median(full) - 1) < 0.2).mean() > 0.9


@given(gib=st.floats(0.1, 1000), cpus=st.floats(0, 400))
def test_readers_on_all_cpus_of_a_machine_leave_half_of_its_store(gib: float, cpus: float) -> None:
    store = gib * 2**30
    block = bytes_a_block({"object_store_memory": store, "CPU": cpus})
    assert 0 < block <= blocks.MOST_BYTES_A_BLOCK
    assert max(1.0, cpus) * blocks.BLOCKS_HELD * block <= store / 2
