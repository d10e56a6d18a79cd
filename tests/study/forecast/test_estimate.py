"""What a study is said to take is what its plans come to."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet, describe_embedded, open_embedded
from mvlab.data.plan import count_updates, plan_epoch, plan_evaluation
from mvlab.experiment import vary
from mvlab.study.forecast import predict, probe
from mvlab.study.forecast.estimate import START_S, Range, Speed, Work, describe_work, span, stored_bytes, total
from mvlab.sweep.trial import plan_trials
from mvlab.training.placement import Node, place

TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "8,4,2"], "smoke", 1)
DATA = DataSet(uri="/d", name="mine", classes=("a", "b"), train_group_rows=(32,) * 9 + (5,), num_val=100, digest="d")
seconds = st.builds(lambda low, more: Range(low, low + more), st.floats(0, 1e4), st.floats(0, 1e4))


@pytest.mark.parametrize("world", [1, 2, 8])
def test_updates_images_and_bytes_are_those_of_the_plans(world: int) -> None:
    trial = TRIALS[0]
    run, rows = trial.run, DATA.train_group_rows
    work = Work.of(trial, DATA, (1000, 10), world)
    plans = [plan_epoch(rows, run.sampler, world=world, seed=run.seed, epoch=epoch) for epoch in range(run.epochs)]
    assert work.updates == count_updates(DATA.num_train, run.sampler, world=world, seed=run.seed, epochs=run.epochs)
    assert work.images_trained == sum(DATA.num_train + plan.num_padded for plan in plans)
    assert work.images_trained == world * sum(work.trained.values())
    assert (work.images_evaluated, work.bytes_read) == (100 * run.epochs, 1010 * run.epochs)
    view = run.task.evaluation
    most = max(
        sum(
            len(b.samples)
            for b in plan_evaluation(100, view.batch, world=world, rank=rank, size=(view.crop, view.crop))
        )
        for rank in range(world)
    )
    assert work.evaluated == {(view.crop, view.crop): 2 * most * run.epochs}, (
        "the rank that has most; weights and their average"
    )


def test_evaluations_at_other_resolutions_come_once() -> None:
    run = TRIALS[0].run
    trial = replace(TRIALS[0], run=vary(run, "task.evaluation.also", (96,)))
    work = Work.of(trial, DATA, (1000, 10), 1)
    assert work.evaluated == {(64, 64): 100 * 2 * run.epochs, (96, 96): 100}
    assert work.bytes_read == 1010 * run.epochs + 10


def test_accumulated_steps_make_fewer_updates() -> None:
    trial = TRIALS[0]
    together = replace(trial, run=replace(trial.run, optimizer=replace(trial.run.optimizer, accumulate=1000)))
    assert Work.of(together, DATA, (0, 0), 2).updates == trial.run.epochs


@given(st.lists(seconds, min_size=1, max_size=9), st.integers(1, 9))
def test_a_study_takes_no_less_than_its_share_and_no_more_than_one_run_after_the_other(
    runs: list[Range], at_once: int
) -> None:
    whole = total(runs, at_once)
    for end in ("low", "high"):
        each = [getattr(run, end) for run in runs]
        assert max(max(each), sum(each) / at_once) <= getattr(whole, end) * (1 + 1e-9)
        assert getattr(whole, end) <= sum(each) * (1 + 1e-9)


def test_four_runs_of_ten_seconds() -> None:
    runs = [Range(10, 20)] * 4
    assert [total(runs, at_once) for at_once in (1, 2, 3, 4)] == [Range(40, 80), Range(20, 40), Range(20, 40), runs[0]]


def test_seconds_are_counted_by_resolution() -> None:
    work = Work.of(TRIALS[0], DATA, (0, 0), 2)
    train = {side: Range(0.001 * side, 0.002 * side) for side in work.trained}
    speed = Speed(train=train, evaluate={(64, 64): Range(0.0, 0.0)})
    expected = sum(0.001 * side * images for side, images in work.trained.items())
    assert speed.seconds(work).low == pytest.approx(START_S.low + expected)
    assert speed.seconds(work).high == pytest.approx(START_S.high + 2 * expected)


def test_the_table_has_a_row_for_all_unless_there_is_one() -> None:
    works = [Work.of(trial, DATA, (2_500_000, 0), 2) for trial in TRIALS]
    assert "| all runs" in describe_work(works)
    assert "| 15.0 MB |" in describe_work(works)
    assert "| 30.0 MB |" in describe_work(works)
    assert "all runs" not in describe_work(works[:1])


def test_bytes_are_those_of_the_shards_or_of_the_digits_that_will_be_in_them(tmp_path: Path) -> None:
    before = stored_bytes(describe_embedded("digits", tmp_path))
    after = stored_bytes(open_embedded("digits", tmp_path))
    assert all(0.5 < images / shards <= 1 for images, shards in zip(before, after, strict=True))


def test_a_probe_measures_every_resolution_of_every_network_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "MOST_SECONDS", 0.0)
    placement = place([Node(2)], workers=2, trials=2)
    data = describe_embedded("digits", tmp_path / "storage")
    speeds = probe.measure([trial.run for trial in (*TRIALS, TRIALS[0])], data, placement)
    assert speeds[0] is speeds[2]
    assert speeds[0] is not speeds[1]
    for speed, trial in zip(speeds, TRIALS, strict=False):
        assert speed.train.keys() == set(trial.run.sampler.resolutions)
        assert speed.evaluate.keys() == {each.size for each in trial.run.task.evaluations(last=True)}
        assert all(0 < each.low <= each.high for each in (*speed.train.values(), *speed.evaluate.values()))
    assert list(tmp_path.iterdir()) == []


def test_what_was_predicted_is_held_against_what_it_took(tmp_path: Path) -> None:
    predicted = predict.Prediction(runs={"a": Range(190, 260)}, at_once=1, total=Range(190, 260))
    assert "| all, 1 at once | 3m10s to 4m20s |" in predict.describe(predicted)
    predict.write(predicted, tmp_path)
    assert predict.compare(tmp_path, 235.4) == "predicted 3m10s to 4m20s, actual 3m55s"
    assert span(Range(3.0, 15_000)) == "0m03s to 4h10m"
