"""A plan's report says what the plan does, to people and to data frames."""

import csv
import io

import numpy as np
import pytest

from mvlab.config import SamplerConfig
from mvlab.data.plan import EPOCH_START, EpochPlan, Position, count_updates, plan_epoch
from mvlab.report.plan import plan_csv, plan_markdown, rank_bytes
from mvlab.samplers import PUBLISHED

SAMPLER = SamplerConfig(resolutions=(32, 64, 96), base_resolution=64, base_batch=16)
GROUP_ROWS = [32] * 40 + [11]
NUM_SAMPLES = sum(GROUP_ROWS)
LENGTHS = np.random.default_rng(0).integers(1_000, 100_000, NUM_SAMPLES)
WORLD = 3


def planned(start: Position = EPOCH_START) -> EpochPlan:
    return plan_epoch(GROUP_ROWS, SAMPLER, world=WORLD, seed=0, epoch=3, start=start)


def cells(text: str) -> dict[str, list[str]]:
    """Rows of all tables by their first cell."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_the_resolutions_of_the_report_are_those_of_the_batches() -> None:
    plan = planned()
    table = cells(plan_markdown(plan, SAMPLER, lengths=LENGTHS, published={}))
    batches = [batch for rank in range(WORLD) for batch in plan.for_rank(rank)]
    for side in SAMPLER.resolutions:
        images = sum(len(batch.samples) for batch in batches if batch.size[0] == side)
        steps = len({batch.step for batch in batches if batch.size[0] == side})
        share = f"{images / (NUM_SAMPLES + plan.num_padded):.1%}"
        assert table[f"{side}x{side}"] == [str(steps), str(SAMPLER.batch_at(side)), f"{images:,}", share]


def test_updates_are_told_for_this_set_and_beside_published_ones() -> None:
    text = plan_markdown(planned(), SAMPLER, lengths=None, published=PUBLISHED)
    total = count_updates(NUM_SAMPLES, SAMPLER, world=WORLD, seed=0, epochs=300)
    assert f"{planned().num_steps} in an undisturbed epoch 3, {total:,} in 300 epochs" in text
    table = cells(text)
    for name, (_, stated, source) in PUBLISHED.items():
        ours, published, difference, told_source = table[name]
        assert told_source == source
        if stated is None:
            assert (published, difference) == ("–", "–")
        else:
            assert int(ours.replace(",", "")) == pytest.approx(stated, rel=0.01)
            assert published == f"{stated:,}"
            assert abs(float(difference.rstrip("%"))) <= 1


def test_bytes_are_those_of_the_samples_that_each_rank_reads() -> None:
    plan = planned()
    expected = [[LENGTHS[plan.batch(step, rank).samples].sum() for rank in range(WORLD)] for step in plan.steps]
    assert np.array_equal(rank_bytes(plan, LENGTHS), expected)
    low, middle, high = (f"{value / 1e6:.2f} MB" for value in np.sort(np.sum(expected, axis=0)))
    table = cells(plan_markdown(plan, SAMPLER, lengths=LENGTHS, published={}))
    assert table["bytes read"] == [low, middle, high]
    assert len(set(table["images"])) == 1
    assert cells(plan_markdown(plan, SAMPLER, lengths=None, published={}))["bytes read"] == ["–"] * 3


def test_gigabytes_are_told_as_such() -> None:
    lengths = np.full(NUM_SAMPLES, 10**8)
    (size,) = set(cells(plan_markdown(planned(), SAMPLER, lengths=lengths, published={}))["bytes read"])
    assert size == f"{planned().batches.sum() / 10:.2f} GB"


def test_lengths_of_another_set_are_refused() -> None:
    with pytest.raises(ValueError, match=f"5 lengths are given for {NUM_SAMPLES} samples"):
        plan_csv(planned(), lengths=LENGTHS[:5])


def test_the_csv_has_a_line_for_each_share_of_each_step() -> None:
    plan = planned()
    rows = list(csv.DictReader(io.StringIO(plan_csv(plan, lengths=LENGTHS))))
    assert [(int(row["step"]), int(row["rank"])) for row in rows] == [
        (step, rank) for step in plan.steps for rank in range(WORLD)
    ]
    for row in rows:
        batch = plan.batch(int(row["step"]), int(row["rank"]))
        start, size = int(row["samples_start"]), int(row["batch"])
        assert 0 <= start < NUM_SAMPLES
        assert np.array_equal(plan.order.slice(start, start + size), batch.samples)
        assert (int(row["epoch"]), int(row["resolution"])) == (3, batch.size[0])
        assert int(row["bytes"]) == LENGTHS[batch.samples].sum()


def test_without_lengths_the_csv_leaves_bytes_empty() -> None:
    assert {row["bytes"] for row in csv.DictReader(io.StringIO(plan_csv(planned(), lengths=None)))} == {""}


def test_the_rest_of_an_epoch_is_told_as_one() -> None:
    rest = planned(Position(4, planned().consumed(4)))
    text = plan_markdown(rest, SAMPLER, lengths=LENGTHS, published={})
    assert f"{rest.num_steps} steps from step 4 on, where {rest.start.consumed} samples were consumed" in text
    rows = list(csv.DictReader(io.StringIO(plan_csv(rest, lengths=LENGTHS))))
    whole = list(csv.DictReader(io.StringIO(plan_csv(planned(), lengths=LENGTHS))))
    assert rows == whole[4 * WORLD :]


def test_an_epoch_that_is_used_up_has_a_report_too() -> None:
    done = planned(Position(planned().num_steps, NUM_SAMPLES))
    assert "0 steps from step" in plan_markdown(done, SAMPLER, lengths=LENGTHS, published={})
    assert len(plan_csv(done, lengths=LENGTHS).splitlines()) == 1
