"""What an epoch came to goes on with the run, whatever becomes of its ranks."""

from dataclasses import fields

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvlab.tasks.classification.objective import Tally
from mvlab.training.epoch_state import COUNTERS, EpochState

CPU = torch.device("cpu")
TALLIED = len(Tally.zero(CPU).sums)
SUMMED = {"images", "corrupt"}
COMMON = {"busy_s", "waited_s", "left_out"}

counts = st.integers(0, 2**40).map(float)
"""Whole numbers: their sums are exact in any order."""
ranks = st.lists(
    st.lists(counts, min_size=TALLIED + COUNTERS, max_size=TALLIED + COUNTERS), min_size=1, max_size=6
).map(lambda rows: [so_far(row) for row in rows])


def so_far(row: list[float]) -> EpochState:
    return EpochState(Tally(torch.tensor(row[:TALLIED], dtype=torch.float64)), *row[TALLIED:])


def packed(of: list[EpochState]) -> Tensor:
    return torch.stack([each.pack() for each in of])


def unpacked(rows: Tensor, world: int) -> list[EpochState]:
    return [EpochState.unpack(rows, rank, world, Tally.zero(CPU)) for rank in range(world)]


def test_every_counter_is_summed_or_common() -> None:
    names = {each.name for each in fields(EpochState)} - {"tally"}
    assert names == SUMMED | COMMON
    assert len(names) == COUNTERS
    assert len(Tally.zero(CPU).sums) == TALLIED


@given(before=ranks)
def test_in_the_same_world_each_rank_has_its_own_again(before: list[EpochState]) -> None:
    after = unpacked(packed(before), len(before))
    assert torch.equal(packed(after), packed(before))
    assert [each.pack().tolist() for each in after] == [
        [*each.tally.sums.tolist(), each.images, each.busy_s, each.waited_s, each.corrupt, each.left_out]
        for each in before
    ]


@given(before=ranks, worlds=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_in_other_worlds_sums_over_ranks_stay_and_the_rest_is_the_largest(
    before: list[EpochState], worlds: list[int]
) -> None:
    after = before
    for world in worlds:
        changes = world != len(after)
        after = unpacked(packed(after), world)
        assert len(after) == world
        if changes:
            for name in COMMON:
                assert {getattr(each, name) for each in after} == {max(getattr(each, name) for each in before)}, name
    assert torch.equal(
        torch.stack([each.tally.sums for each in after]).sum(0),
        torch.stack([each.tally.sums for each in before]).sum(0),
    )
    for name in SUMMED:
        assert sum(getattr(each, name) for each in after) == sum(getattr(each, name) for each in before), name


@given(before=ranks)
def test_counting_on_leaves_what_was_read_alone(before: list[EpochState]) -> None:
    rows = packed(before)
    for world in (len(before), len(before) + 1):
        kept = rows.clone()
        for each in unpacked(rows, world):
            each.tally.sums += 1
        assert torch.equal(rows, kept)
