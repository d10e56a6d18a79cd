"""The contract between data and training, for any world, in one process."""

import pickle
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.config import SamplerConfig
from mvlab.data.plan import (
    MIN_BATCH,
    WINDOW_GROUPS,
    EpochPlan,
    PlannedBatch,
    Position,
    SampleOrder,
    count_updates,
    plan_epoch,
    plan_evaluation,
)
from mvlab.samplers import LISTING_1, MAX_RESOLUTION, MOBILENETV2_MULTI_SCALE, MULTI_SCALE, STANDARD

IMAGENET = 1_281_167

groups = st.one_of(
    st.lists(st.integers(1, 40), min_size=1, max_size=40),
    # Several windows of small groups; a writer may leave a group empty.
    st.lists(st.integers(0, 4), min_size=WINDOW_GROUPS, max_size=4 * WINDOW_GROUPS).filter(any),
)
worlds = st.integers(1, 16)
changing_worlds = st.lists(worlds, min_size=2, max_size=5)
epochs = st.integers(0, 300)
samplers = st.builds(
    SamplerConfig,
    resolutions=st.lists(st.sampled_from([32, 64, 96, 128]), min_size=1, max_size=4, unique=True).map(tuple),
    base_resolution=st.sampled_from([64, 96]),
    base_batch=st.integers(8, 64),
)
plans = st.builds(plan_epoch, groups, samplers, world=worlds, seed=st.integers(0, 3), epoch=epochs)


def in_order(order: SampleOrder) -> np.ndarray:
    return order.slice(0, len(order))


def seen(plan: EpochPlan, stop: int) -> list[np.ndarray]:
    """What all ranks train on in the steps before `stop`."""
    ranks = [list(plan.for_rank(rank)) for rank in range(plan.world)]
    return [batch.samples for step in zip(*ranks, strict=True) for batch in step if batch.step < stop]


def same(ours: PlannedBatch, theirs: PlannedBatch) -> bool:
    return (ours.step, ours.size, ours.samples.tolist()) == (
        theirs.step,
        theirs.size,
        theirs.samples.tolist(),
    )


@given(plan=plans)
def test_every_sample_is_seen_once_up_to_the_declared_padding(plan: EpochPlan) -> None:
    """Which also says that ranks share nothing else."""
    samples = np.concatenate(seen(plan, plan.num_steps))
    num_samples = len(plan.order)
    assert np.array_equal(np.sort(samples[:num_samples]), np.arange(num_samples))
    assert np.array_equal(samples[num_samples:], np.resize(samples[:num_samples], plan.num_padded))
    assert 0 <= plan.num_padded < MIN_BATCH * plan.world


@given(group_rows=groups, sampler=samplers, world=worlds, epoch=epochs)
def test_ranks_agree_on_resolution_and_batch_at_every_step(group_rows, sampler, world, epoch) -> None:
    plan = plan_epoch(group_rows, sampler, world=world, seed=0, epoch=epoch)
    shapes = [[(b.step, b.size, len(b.samples)) for b in plan.for_rank(rank)] for rank in range(world)]
    assert all(rank == shapes[0] for rank in shapes)
    assert [step for step, _, _ in shapes[0]] == list(plan.steps)
    for _, (height, width), batch in shapes[0][:-1]:
        assert (batch, height) == (sampler.batch_at(width), width)
    assert MIN_BATCH <= shapes[0][-1][2] <= sampler.batch_at(shapes[0][-1][1][0])


@given(group_rows=groups, sampler=samplers, world=worlds, epoch=epochs, data=st.data())
def test_resuming_at_a_step_is_the_tail_of_the_plan(group_rows, sampler, world, epoch, data) -> None:
    plan = plan_epoch(group_rows, sampler, world=world, seed=3, epoch=epoch)
    step = data.draw(st.integers(0, plan.num_steps))
    start = Position(step, plan.consumed(step))
    rest = plan_epoch(group_rows, sampler, world=world, seed=3, epoch=epoch, start=start)
    assert rest.steps == plan.steps[step:]
    for rank in {0, world - 1}:
        whole = list(plan.for_rank(rank))
        assert all(map(same, rest.for_rank(rank), whole[step:]))
    assert [rest.consumed(k) for k in range(step, plan.num_steps + 1)] == [
        plan.consumed(k) for k in range(step, plan.num_steps + 1)
    ]


@given(group_rows=groups, sampler=samplers, epoch=epochs, sizes=changing_worlds, data=st.data())
def test_an_epoch_over_changing_worlds_is_still_that_epoch(group_rows, sampler, epoch, sizes, data) -> None:
    """What a checkpoint holds is enough, after several changes too; a step keeps its resolution."""
    resolutions = dict[int, int]()
    start, samples = Position(), []
    for changes_left, world in zip(reversed(range(len(sizes))), sizes, strict=True):
        plan = plan_epoch(group_rows, sampler, world=world, seed=1, epoch=epoch, start=start)
        stop = data.draw(st.integers(start.step, plan.steps.stop)) if changes_left else plan.steps.stop
        samples += seen(plan, stop)
        for step, resolution in zip(plan.steps, plan.resolutions.tolist(), strict=True):
            assert resolutions.setdefault(step, resolution) == resolution
        start = Position(stop, plan.consumed(stop))
        assert start.consumed == min(len(plan.order), sum(map(len, samples)))
    order = in_order(plan.order)
    assert start.consumed == len(order)
    assert np.array_equal(np.concatenate(samples)[: len(order)], order)
    assert sum(map(len, samples)) - len(order) < MIN_BATCH * max(sizes)


@given(group_rows=groups, samplers=st.tuples(samplers, samplers), world=worlds)
def test_the_order_of_samples_is_the_same_for_every_world_and_sampler(group_rows, samplers, world) -> None:
    alone = plan_epoch(group_rows, samplers[0], world=1, seed=0, epoch=2)
    together = plan_epoch(np.asarray(group_rows), samplers[1], world=world, seed=0, epoch=2)
    assert np.array_equal(in_order(alone.order), in_order(together.order))


def test_seed_and_epoch_change_the_plan_and_nothing_else_does() -> None:
    def order(seed: int, epoch: int):
        return in_order(plan_epoch([32] * 20, MULTI_SCALE, world=2, seed=seed, epoch=epoch).order)

    assert np.array_equal(order(0, 0), order(0, 0))
    assert not np.array_equal(order(0, 0), order(0, 1))
    assert not np.array_equal(order(0, 0), order(1, 0))


@given(plan=plans, data=st.data())
def test_a_batch_is_the_same_whatever_was_asked_for_before(plan: EpochPlan, data) -> None:
    rank = data.draw(st.integers(0, plan.world - 1))
    whole = list(plan.for_rank(rank))
    for step in data.draw(st.lists(st.sampled_from(plan.steps), max_size=8)):
        assert same(plan.batch(step, rank), whole[step])


@given(plan=plans, data=st.data())
def test_a_slice_of_the_order_goes_on_from_its_beginning(plan: EpochPlan, data) -> None:
    order = in_order(plan.order)
    start = data.draw(st.integers(0, 2 * len(order)))
    stop = data.draw(st.integers(start, start + 2 * len(order)))
    assert np.array_equal(plan.order.slice(start, stop), np.take(order, np.arange(start, stop), mode="wrap"))


@given(group_rows=groups, epoch=epochs)
def test_rows_are_shuffled_among_those_of_few_groups(group_rows, epoch) -> None:
    """A window holds all rows of at most WINDOW_GROUPS groups: readers touch no others meanwhile."""
    order = plan_epoch(group_rows, MULTI_SCALE, world=1, seed=0, epoch=epoch).order
    group_of = np.repeat(np.arange(len(group_rows)), group_rows)
    windows = [order.window(index) for index in range(len(order.window_ends))]
    assert np.array_equal(np.concatenate(windows), in_order(order))
    for window in windows:
        touched = np.unique(group_of[window])
        assert len(touched) <= WINDOW_GROUPS
        assert len(window) == np.asarray(group_rows)[touched].sum()


def test_only_the_windows_that_a_batch_needs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    window = SampleOrder.window

    def counted(order: SampleOrder, index: int):
        made.append(index)
        return window(order, index)

    monkeypatch.setattr(SampleOrder, "window", counted)
    plan = plan_epoch([32] * (4 * WINDOW_GROUPS), MULTI_SCALE, world=2, seed=0, epoch=0)
    assert made == []
    next(plan.for_rank(1))
    assert made == [0]
    made.clear()
    assert sum(1 for _ in plan.for_rank(0)) == plan.num_steps
    assert made == [0, 1, 2, 3], "each window once in a pass"


def test_a_batch_may_be_changed_by_who_asked_for_it() -> None:
    plan = plan_epoch([32] * 20, MULTI_SCALE, world=1, seed=0, epoch=0)
    batches = plan.for_rank(0)
    next(batches).samples[:] = -1
    assert all(batch.samples.min() >= 0 for batch in batches)


def test_a_plan_can_be_sent() -> None:
    plan = plan_epoch([32] * 20, MULTI_SCALE, world=2, seed=0, epoch=0)
    assert all(map(same, pickle.loads(pickle.dumps(plan)).for_rank(1), plan.for_rank(1)))  # noqa: S301 - our own


@given(num_samples=st.integers(1, 500), batch=st.integers(1, 64), world=worlds)
def test_evaluation_sees_every_sample_exactly_once(num_samples: int, batch: int, world: int) -> None:
    shares = [
        [b.samples for b in plan_evaluation(num_samples, batch, world=world, rank=rank, size=(64, 64))]
        for rank in range(world)
    ]
    dealt = [samples for turn in zip_longest(*shares) for samples in turn if samples is not None]
    alone = plan_evaluation(num_samples, batch, world=1, rank=0, size=(64, 64))
    assert all(np.array_equal(ours, b.samples) for ours, b in zip(dealt, alone, strict=True)), "the same batches"
    assert np.array_equal(np.concatenate(dealt), np.arange(num_samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert max(map(len, dealt)) <= batch


@pytest.mark.parametrize(
    ("sampler", "batches"),
    [(MULTI_SCALE, [327, 227, 128, 101, 81]), (MAX_RESOLUTION, [512, 355, 200, 158, 128]), (STANDARD, [128])],
    ids=["base", "maximum", "standard"],
)
def test_one_formula_gives_the_batches_of_every_rule(sampler: SamplerConfig, batches: list[int]) -> None:
    """shared reference, mobilevit-details.md, "Multi-scale sampler": the table for b = 128."""
    assert [sampler.batch_at(side) for side in sampler.resolutions] == batches


def test_listing_1_has_the_base_resolution_rule_over_its_own_resolutions() -> None:
    assert [LISTING_1.batch_at(side) for side in (128, 192, 256, 320, 384)] == [512, 227, 128, 81, 56]


@pytest.mark.parametrize(
    ("sampler", "expected", "source"),
    [
        (MULTI_SCALE, 277_000, "mobilevit-details.md [calc]"),
        (MAX_RESOLUTION, 177_000, "mobilevit-details.md [calc]"),
        (STANDARD, 376_000, "Table 5, standard sampler"),
        (MOBILENETV2_MULTI_SCALE, 232_000, "Table 5, MobileNetv2"),
    ],
)
def test_updates_of_300_epochs_are_the_papers(sampler: SamplerConfig, expected: int, source: str) -> None:
    updates = count_updates(IMAGENET, sampler, world=8, seed=0, epochs=300)
    assert updates == pytest.approx(expected, rel=0.01), source


def test_updates_are_the_steps_of_the_plans() -> None:
    plans = [plan_epoch([32] * 50, MULTI_SCALE, world=2, seed=5, epoch=epoch) for epoch in range(4)]
    assert count_updates(1_600, MULTI_SCALE, world=2, seed=5, epochs=4) == sum(plan.num_steps for plan in plans)


@pytest.mark.parametrize(("group_rows", "world"), [([], 1), ([0, 0], 1), ([32], 0)])
def test_nothing_to_plan_is_refused(group_rows: list[int], world: int) -> None:
    with pytest.raises(ValueError, match="nothing to plan"):
        plan_epoch(group_rows, MULTI_SCALE, world=world, seed=0, epoch=0)


@pytest.mark.parametrize(("step", "consumed"), [(-1, 3), (2, 0), (0, 5)])
def test_a_position_that_no_epoch_comes_to_is_refused(step: int, consumed: int) -> None:
    with pytest.raises(ValueError, match="is no position in an epoch"):
        Position(step, consumed)


def test_what_a_plan_does_not_have_is_refused() -> None:
    plan = plan_epoch([32] * 20, MULTI_SCALE, world=2, seed=0, epoch=0)
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        plan.for_rank(2)
    with pytest.raises(ValueError, match=f"step {plan.num_steps} is not one of"):
        plan.batch(plan.num_steps, 0)
    with pytest.raises(ValueError, match="step -1 is not one of"):
        plan.consumed(-1)
    with pytest.raises(ValueError, match="700 samples are consumed, but the data set has 640"):
        plan_epoch([32] * 20, MULTI_SCALE, world=2, seed=0, epoch=0, start=Position(9, 700))
