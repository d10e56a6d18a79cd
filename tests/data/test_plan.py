"""The contract between data and training, for any world, in one process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recipes import MULTI_SCALE
from mvlab.config import SamplerConfig
from mvlab.data.plan import MIN_BATCH, count_updates, plan_epoch, plan_evaluation

IMAGENET = 1_281_167

groups = st.lists(st.integers(1, 40), min_size=1, max_size=40)
worlds = st.integers(1, 16)
epochs = st.integers(0, 300)
samplers = st.builds(
    SamplerConfig,
    resolutions=st.lists(st.sampled_from([32, 64, 96, 128]), min_size=1, max_size=4, unique=True).map(tuple),
    base_resolution=st.sampled_from([64, 96]),
    base_batch=st.integers(8, 64),
)


@given(group_rows=groups, sampler=samplers, world=worlds, epoch=epochs)
def test_every_sample_is_seen_once_up_to_the_declared_padding(group_rows, sampler, world, epoch) -> None:
    plan = plan_epoch(group_rows, sampler, world=world, seed=0, epoch=epoch)
    seen = np.concatenate([b.samples for rank in range(world) for b in plan.for_rank(rank)])
    counts = np.bincount(seen, minlength=sum(group_rows))
    assert counts.min() >= 1
    assert counts.sum() == sum(group_rows) + plan.num_padded
    assert plan.num_padded < MIN_BATCH * world


@given(group_rows=groups, sampler=samplers, world=worlds, epoch=epochs)
def test_ranks_agree_on_resolution_and_batch_at_every_step(group_rows, sampler, world, epoch) -> None:
    plan = plan_epoch(group_rows, sampler, world=world, seed=0, epoch=epoch)
    shapes = [[(b.step, b.resolution, len(b.samples)) for b in plan.for_rank(rank)] for rank in range(world)]
    assert all(rank == shapes[0] for rank in shapes)
    assert [step for step, _, _ in shapes[0]] == list(range(plan.num_steps))
    for _, resolution, batch in shapes[0][:-1]:
        assert batch == sampler.batch_at(resolution)


@given(group_rows=groups, sampler=samplers, world=worlds, epoch=epochs, data=st.data())
def test_resuming_at_a_step_is_the_tail_of_the_plan(group_rows, sampler, world, epoch, data) -> None:
    plan = plan_epoch(group_rows, sampler, world=world, seed=3, epoch=epoch)
    first = data.draw(st.integers(0, plan.num_steps))
    whole, tail = list(plan.for_rank(world - 1)), list(plan.for_rank(world - 1, first))
    assert len(tail) == plan.num_steps - first
    for ours, theirs in zip(tail, whole[first:], strict=True):
        assert (ours.step, ours.resolution) == (theirs.step, theirs.resolution)
        assert np.array_equal(ours.samples, theirs.samples)


@given(group_rows=groups, sampler=samplers, world=worlds)
def test_the_order_of_samples_is_the_same_for_every_world(group_rows, sampler, world) -> None:
    alone = plan_epoch(group_rows, sampler, world=1, seed=0, epoch=2)
    together = plan_epoch(group_rows, sampler, world=world, seed=0, epoch=2)
    assert np.array_equal(alone.order, together.order)


def test_seed_and_epoch_change_the_plan_and_nothing_else_does() -> None:
    def order(seed: int, epoch: int):
        return plan_epoch([32] * 20, MULTI_SCALE, world=2, seed=seed, epoch=epoch).order

    assert np.array_equal(order(0, 0), order(0, 0))
    assert not np.array_equal(order(0, 0), order(0, 1))
    assert not np.array_equal(order(0, 0), order(1, 0))


@given(num_samples=st.integers(1, 500), batch=st.integers(1, 64), world=worlds)
def test_evaluation_sees_every_sample_exactly_once(num_samples: int, batch: int, world: int) -> None:
    shares = [
        [b.samples for b in plan_evaluation(num_samples, batch, world=world, rank=rank, resolution=64)]
        for rank in range(world)
    ]
    seen = np.concatenate([samples for share in shares for samples in share])
    assert np.array_equal(np.sort(seen), np.arange(num_samples))
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_batches_are_those_of_the_base_resolution_rule() -> None:
    """shared reference, mobilevit-details.md, "Multi-scale sampler": b = 128 at 256 px."""
    assert [MULTI_SCALE.batch_at(side) for side in MULTI_SCALE.resolutions] == [327, 227, 128, 101, 81]


@pytest.mark.parametrize(
    ("resolutions", "base", "expected", "source"),
    [
        ((160, 192, 256, 288, 320), 256, 277_000, "mobilevit-details.md [calc]"),
        ((256,), 256, 376_000, "Table 5, standard sampler"),
        ((128, 160, 192, 224, 256), 224, 232_000, "Table 5, MobileNetv2"),
    ],
)
def test_updates_of_300_epochs_are_the_papers(resolutions, base: int, expected: int, source: str) -> None:
    sampler = SamplerConfig(resolutions=resolutions, base_resolution=base, base_batch=128)
    updates = count_updates(IMAGENET, sampler, world=8, seed=0, epochs=300)
    assert updates == pytest.approx(expected, rel=0.01), source


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to plan"):
        plan_epoch([], MULTI_SCALE, world=1, seed=0, epoch=0)
