"""A run that was stopped, killed, damaged or moved comes to what it would have come to, bit for bit."""

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.small import (
    ALONE,
    EVALUATED,
    NUM_VAL,
    RUN,
    Feed,
    assign,
    feed,
    few_digits,
    go,
    newest,
    num_updates,
    outcome,
    untimed,
)

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order
from mvlab.experiment import vary
from mvlab.training import checkpoints
from mvlab.training.checkpoint_files import FILE
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.collectives import Preempted, Wish
from mvlab.training.loop import NonFiniteError
from mvlab.training.run_rank import Surroundings, run_rank

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
RUNS = {
    "fp32": RUN,
    "bf16": replace(RUN, numerics=replace(RUN.numerics, precision="bf16")),
    "accumulate": replace(RUN, optimizer=replace(RUN.optimizer, accumulate=3, clip_norm=1.0)),
    "fp16": replace(RUN, numerics=replace(RUN.numerics, precision="fp16")),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What each of RUNS comes to when nothing happens to it."""
    outcomes: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        if name not in outcomes:
            job = assign(tmp_path_factory.mktemp(name), data, RUNS[name])
            assert go(job)
            outcomes[name] = outcome(job)
            assert outcomes[name]["at"][0] == RUN.epochs
        return outcomes[name]

    return of


# Stopped


def test_stopped_wherever_it_can_be_it_goes_on_to_the_same_bits(data: str, whole: Any, tmp_path: Path) -> None:
    """After every update, at every batch of every evaluation, and after that."""
    job = assign(tmp_path / "run", data)
    in_evaluation = -(-NUM_VAL // RUN.task.evaluation.batch) + 1
    for epoch in range(RUN.epochs):
        for update in range(num_updates(data, epoch)):
            passed = in_evaluation if epoch and not update else 0  # the evaluation before, this time to its end
            assert not go(job, stop_at=passed + 1)
            assert (newest(job).epoch, newest(job).step) == (epoch, update + 1)
        for stop_at in range(1, in_evaluation + 1):
            assert not go(job, stop_at=stop_at)
            assert (newest(job).epoch, newest(job).step) == (epoch, num_updates(data, epoch))
    assert go(job, stop_at=in_evaluation + 1), "that was all"
    assert outcome(job) == whole("fp32")


@pytest.mark.parametrize(("name", "every"), [("accumulate", 1), ("accumulate", 3), ("bf16", 5), ("fp16", 8)])
def test_stopped_again_and_again_it_goes_on_to_the_same_bits(
    data: str, whole: Any, tmp_path: Path, name: str, every: int
) -> None:
    job = assign(tmp_path / "run", data, RUNS[name])
    for _ in range(12 // every):
        assert not go(job, stop_at=every)
    assert go(job)
    assert outcome(job) == whole(name)


def test_a_stop_that_is_taken_back_stands_and_no_part_of_an_evaluation_counts_as_all(data: str, tmp_path: Path) -> None:
    """At its first batch, at another, and after its last; the file that asked for it is gone at the next look."""
    job, num_steps = assign(tmp_path / "run", data, EVALUATED), num_updates(data, 0)
    assert not go(job, stop_at=num_steps)
    for stop_at in (1, 3, -(-NUM_VAL // EVALUATED.task.evaluation.batch) + 1):
        assert not go(job, stop_at=stop_at, once=True)
        assert (newest(job).epoch, newest(job).step) == (0, num_steps)
    assert go(job)
    assert newest(job).history[0]["val/samples"] == NUM_VAL


def test_a_process_that_is_told_to_leave_does_so_with_a_checkpoint_unless_the_run_is_to_stop(
    data: str, tmp_path: Path
) -> None:
    job = assign(tmp_path / "run", data)
    with pytest.raises(Preempted):
        go(job, stop_at=3, wish=Wish.LEAVE)
    assert newest(job).step == 3
    with pytest.raises(Preempted):
        go(job, stop_at=4, wish=Wish.LEAVE, once=True)
    assert newest(job).step == 7
    wishes = iter([Wish.NOTHING, Wish.LEAVE, Wish.STOP])
    assert not run_rank(job, ALONE, Surroundings(feed, lambda: next(wishes)))
    assert newest(job).step == 9


# Killed


def test_after_the_last_epoch_other_resolutions_are_tested(data: str, tmp_path: Path) -> None:
    """Once, also of a run that is stopped again and again, in these evaluations too."""
    run = vary(RUN, "task.evaluation.also", (32, 64))
    whole, stopped = assign(tmp_path / "whole", data, run), assign(tmp_path / "stopped", data, run)
    assert go(whole)
    first, last = newest(whole).history
    assert not any(name.startswith("test_") for name in first)
    assert {name for name in last if name.startswith("test_")} == {"test_32px/top1", "test_64px/top1"}
    assert last["test_32px/top1"] == last["val_ema/top1"], "of the same pixels"
    for stop_at in (17, 13, 16, 19, 22):
        assert not go(stopped, stop_at=stop_at)
    assert go(stopped)
    assert untimed(newest(stopped).history) == untimed([first, last])


def killed_after(batches: int) -> Feed:
    """Ends the process' work as a kill does: without a word, between two steps, with no checkpoint made."""

    def broken(orders: Iterator[Order]) -> Generator[Batch]:
        yield from islice(feed(orders), batches)
        raise KeyboardInterrupt

    return broken


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["fp32", "accumulate"])
def test_killed_anywhere_it_goes_on_to_the_same_bits(
    data: str, whole: Any, tmp_path: Path, name: str, seed: int
) -> None:
    """From the checkpoint of the third step before, or the epoch's, or from nothing."""
    draw, job = random.Random(seed), assign(tmp_path / "run", data, RUNS[name], keep=CheckpointPolicy(every_steps=3))
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            go(job, feed=killed_after(draw.randrange(9)))
    assert go(job)
    assert outcome(job) == whole(name)


@pytest.mark.parametrize("broken", [1, 2, 9])
@pytest.mark.parametrize("damage", ["cut short", "changed"])
def test_a_broken_checkpoint_costs_steps_and_no_bits(
    data: str, whole: Any, tmp_path: Path, damage: str, broken: int
) -> None:
    """The newest, the newest two, or all of them."""
    job = assign(tmp_path / "run", data, keep=CheckpointPolicy(every_steps=2, every_minutes=None, last=3))
    assert not go(job, stop_at=9)
    paths = sorted(job.folder.checkpoints.iterdir())
    assert len(paths) == 3
    for path in paths[-broken:]:
        content = (path / FILE).read_bytes()
        (path / FILE).write_bytes(content[:-9] if damage == "cut short" else content[:-9] + b"tampered!")
    assert go(job)
    assert outcome(job) == whole("fp32")
    lines = job.folder.progress.read_text()
    assert lines.count("checkpoint refused: ") == min(broken, 3)
    assert ("is truncated" if damage == "cut short" else "sha256 has changed") in lines
    assert ("there is none before it" in lines) == (broken == 9)
    assert len(list(job.folder.checkpoints.glob(f"{checkpoints.REFUSED}*"))) == min(broken, 3), "nothing is deleted"


def test_a_gradient_that_is_no_number_leaves_its_batch_and_the_checkpoint_before(data: str, tmp_path: Path) -> None:
    run = replace(RUN, optimizer=replace(RUN.optimizer, lr_start=1e30, lr_peak=1e30))
    job = assign(tmp_path / "run", data, run, keep=CheckpointPolicy(every_steps=1))
    with pytest.raises(NonFiniteError, match="the gradients of epoch 1, step"):
        go(job)
    step = newest(job).step
    with np.load(job.folder.results / "non-finite-rank0-0.npz") as saved:
        assert int(saved["step"]) == step
        assert len(saved["pixels"]) == len(saved["label"]) > 0
    skipping = replace(run, numerics=replace(run.numerics, non_finite="skip"))
    other = assign(tmp_path / "other", data, skipping)
    assert go(other)
    assert [each["train/updates_left_out"] > 0 for each in newest(other).history] == [True, True]
