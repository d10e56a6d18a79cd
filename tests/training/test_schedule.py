"""The learning rate of section 4.1 over planned steps, in the planned world and in others."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.small import SMOKE

from mvlab.config import OptimizerConfig, RunConfig, SamplerConfig
from mvlab.data.plan import EPOCH_START, EpochPlan, Position, plan_epoch
from mvlab.training.schedule import Schedule, Step, learning_rate

PAPER = OptimizerConfig()

samplers = st.builds(
    SamplerConfig,
    resolutions=st.lists(st.sampled_from([32, 64, 96]), min_size=1, max_size=3, unique=True).map(tuple),
    base_resolution=st.just(64),
    base_batch=st.integers(8, 40),
)
optimizers = st.builds(
    OptimizerConfig,
    warmup_updates=st.integers(0, 30),
    accumulate=st.integers(1, 4),
    schedule=st.sampled_from(["update", "epoch"]),
)
runs = st.builds(
    replace, st.just(SMOKE), sampler=samplers, optimizer=optimizers, epochs=st.integers(1, 3), seed=st.integers(0, 9)
)
worlds = st.integers(1, 6)
groups = st.lists(st.integers(1, 60), min_size=1, max_size=12)
schedules = st.builds(lambda run, rows, world: Schedule.of(run, np.array(rows), world), runs, groups, worlds)


def plan(schedule: Schedule, epoch: int, world: int, start: Position = EPOCH_START) -> EpochPlan:
    run = schedule.run
    return plan_epoch(schedule.group_rows, run.sampler, world=world, seed=run.seed, epoch=epoch, start=start)


def updates(schedule: Schedule, of: EpochPlan) -> list[list[Step]]:
    """The steps of each update."""
    made: list[list[Step]] = [[]]
    for step in schedule.steps(of):
        made[-1].append(step)
        if step.closes:
            made.append([])
    assert made.pop() == [], "an epoch ends with an update"
    return made


def of_updates(num_updates: int, optimizer: OptimizerConfig = PAPER, epochs: int = 1) -> Schedule:
    """Of a run that is nothing but its updates."""
    run = replace(SMOKE, optimizer=optimizer, epochs=epochs)
    starts = np.array([num_updates * epoch // epochs for epoch in range(epochs + 1)])
    return Schedule(run, np.array([1]), 1, starts)


# The rate of an update


@pytest.mark.parametrize(
    ("update", "expected"),
    [(0, 2e-4), (1_500, 1.1e-3), (3_000, 2e-3), (3_000 + (277_000 - 3_001) // 2, 1.1e-3), (276_999, 2e-4)],
)
def test_the_rate_is_the_papers(update: int, expected: float) -> None:
    assert learning_rate(update, 0, of_updates(277_000)) == pytest.approx(expected, rel=1e-3)


def test_the_rate_rises_then_falls_without_a_jump() -> None:
    schedule = of_updates(27_700)
    rates = [learning_rate(update, 0, schedule) for update in range(27_700)]
    assert max(rates) == rates[3_000]
    assert all(a < b for a, b in itertools.pairwise(rates[:3_001]))
    assert all(a >= b for a, b in itertools.pairwise(rates[3_000:]))
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 1e-6


@given(num_updates=st.integers(1, 500), warmup=st.integers(0, 300))
def test_the_last_update_has_the_last_rate_exactly_if_the_warm_up_was_over(num_updates: int, warmup: int) -> None:
    optimizer = replace(PAPER, warmup_updates=warmup)
    last = learning_rate(num_updates - 1, 0, of_updates(num_updates, optimizer))
    if num_updates - 1 > warmup:
        assert last == PAPER.lr_end
    else:
        ramp = PAPER.lr_start + (PAPER.lr_peak - PAPER.lr_start) * (num_updates - 1) / max(1, warmup)
        assert last == pytest.approx(ramp if warmup else PAPER.lr_peak)


def test_a_schedule_by_epochs_moves_between_epochs_only_once_warm() -> None:
    """The release's: epoch e of E has half a cosine's value at e / E; the warm-up still counts updates."""
    schedule = of_updates(400, replace(PAPER, warmup_updates=20, schedule="epoch"), epochs=4)
    rates = [learning_rate(update, update // 100, schedule) for update in range(400)]
    assert rates[10] == pytest.approx((PAPER.lr_start + PAPER.lr_peak) / 2)
    by_epoch = [set(rates[20:100]), set(rates[100:200]), set(rates[200:300]), set(rates[300:])]
    assert all(len(epoch) == 1 for epoch in by_epoch)
    quarter = PAPER.lr_end + (PAPER.lr_peak - PAPER.lr_end) * (1 + 2**-0.5) / 2
    assert [epoch.pop() for epoch in by_epoch[:3]] == pytest.approx([PAPER.lr_peak, quarter, 1.1e-3])


# In the world that the run was planned for


@given(schedule=schedules)
def test_in_the_planned_world_the_position_is_the_number_of_updates(schedule: Schedule) -> None:
    run, done = schedule.run, 0
    for epoch in range(run.epochs):
        of = plan(schedule, epoch, schedule.world)
        for steps in updates(schedule, of):
            consumed = of.consumed(steps[0].number)
            assert schedule.position(epoch, consumed) == done
            assert {step.lr for step in steps} == {learning_rate(done, epoch, schedule)}
            done += 1
    assert done == schedule.num_updates


@given(schedule=schedules, epoch=st.integers(0, 2), world=worlds)
def test_an_update_is_of_accumulate_steps_and_every_image_weighs_the_same(
    schedule: Schedule, epoch: int, world: int
) -> None:
    of = plan(schedule, epoch % schedule.run.epochs, world)
    made = updates(schedule, of)
    together = schedule.run.optimizer.accumulate
    assert [step.number for steps in made for step in steps] == list(of.steps)
    assert all(len(steps) == together for steps in made[:-1])
    assert 1 <= len(made[-1]) <= together, "what is left of an epoch is an update too"
    for steps in made:
        sizes = [int(of.batches[step.number]) for step in steps]
        assert sum(step.weight for step in steps) == pytest.approx(1)
        assert [step.weight * sum(sizes) for step in steps] == pytest.approx(sizes)
        assert [step.closes for step in steps] == [False] * (len(steps) - 1) + [True]


@given(schedule=schedules, data=st.data())
def test_what_remains_of_an_epoch_has_the_steps_that_it_would_have_had(schedule: Schedule, data: Any) -> None:
    """From any update on, in the planned world."""
    epoch = data.draw(st.integers(0, schedule.run.epochs - 1))
    of = plan(schedule, epoch, schedule.world)
    made = updates(schedule, of)
    done = data.draw(st.integers(0, len(made)))
    step = sum(map(len, made[:done]))
    rest = plan(schedule, epoch, schedule.world, Position(step, of.consumed(step)))
    assert list(schedule.steps(rest)) == [step for steps in made[done:] for step in steps]


# In another world


@given(schedule=schedules, world=worlds)
def test_another_world_is_where_the_planned_one_is_at_every_epochs_start_and_end(
    schedule: Schedule, world: int
) -> None:
    for epoch in range(schedule.run.epochs):
        of = plan(schedule, epoch, world)
        assert schedule.position(epoch, 0) == schedule.starts[epoch]
        assert schedule.position(epoch, of.consumed(of.steps.stop)) == schedule.starts[epoch + 1]


@given(schedule=schedules, world=worlds, change=st.tuples(worlds, st.integers(0, 40)))
def test_the_position_only_moves_on_and_the_rate_is_its_share_of_the_planned_worlds(
    schedule: Schedule, world: int, change: tuple[int, int]
) -> None:
    """Also when the world changes within an epoch: this one, then `change[0]` ranks from step `change[1]` on."""
    positions, others = [], []
    for epoch in range(schedule.run.epochs):
        of = plan(schedule, epoch, world)
        step = min(change[1], of.num_steps)
        rest = plan(schedule, epoch, change[0], Position(step, of.consumed(step)))
        before = [each for each in schedule.steps(of) if each.number < step]
        for here, steps in ((of, before), (rest, schedule.steps(rest))):
            firsts = [each for last, each in itertools.pairwise([None, *steps]) if last is None or last.closes]
            for first in firsts:
                position = schedule.position(epoch, here.consumed(first.number))
                share = learning_rate(position, epoch, schedule) * here.world / schedule.world
                others.append((first.lr, share))
                positions.append(position)
    assert all(a < b for a, b in itertools.pairwise(positions))
    assert 0 == positions[0] <= positions[-1] < schedule.num_updates
    assert all(lr == pytest.approx(share) for lr, share in others)


def run_of(**options: Any) -> RunConfig:
    sampler = SamplerConfig(resolutions=(64,), base_resolution=64, base_batch=10)
    return replace(SMOKE, sampler=sampler, epochs=1, optimizer=replace(PAPER, **options))


def test_half_the_ranks_take_twice_the_updates_at_half_the_rate() -> None:
    """One resolution and whole batches, where it can be said exactly: 4 ranks' update is two of 2 ranks."""
    schedule = Schedule.of(run_of(warmup_updates=4), np.array([400]), 4)
    whole = [step.lr for step in schedule.steps(plan(schedule, 0, 4))]
    half = [step.lr for step in schedule.steps(plan(schedule, 0, 2))]
    assert (len(whole), len(half)) == (10, 20)
    assert half[::2] == pytest.approx([lr / 2 for lr in whole])
    assert whole[-1] == PAPER.lr_end
