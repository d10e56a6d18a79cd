"""A run that was stopped, killed, damaged or moved comes to what it would have come to, bit for bit."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from training.ranks import run_ranks
from training.small import (
    ALONE,
    NUM_TRAIN,
    NUM_VAL,
    RUN,
    Feed,
    assign,
    feed,
    few_digits,
    go,
    ledger_of,
    newest,
    untimed,
)

from mvlab.data.batch import Batch
from mvlab.data.images import EvaluationView, TrainingView
from mvlab.data.manifest import read_manifest
from mvlab.data.plan import MIN_BATCH, Position, plan_epoch, plan_evaluation
from mvlab.data.render import Order, render_batches
from mvlab.tasks.classification import Tally
from mvlab.training import checkpoints
from mvlab.training.assignment import Assignment
from mvlab.training.build import World, build_model
from mvlab.training.carry_on import Surroundings, carry_on
from mvlab.training.collectives import Preempted, Wish
from mvlab.training.files import read_epochs
from mvlab.training.keep import Keep
from mvlab.training.loop import NonFiniteError, evaluate
from mvlab.training.state import FILE, State, weights_sha256, write_state

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


def outcome(job: Assignment) -> dict[str, Any]:
    """All that a run leaves behind, but for how long it took."""
    state = newest(job)
    assert untimed(read_epochs(job.folder.epochs)) == untimed(state.history)
    return {
        "at": (state.epoch, state.step, state.updates),
        "history": untimed(state.history),
        "weights": [weights_sha256(each) for each in (state.model, state.ema)],
        "ledger": ledger_of(job),
    }


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


def num_updates(data: str, epoch: int) -> int:
    rows = read_manifest(data, "train").group_rows
    return plan_epoch(rows, RUN.sampler, world=1, seed=RUN.seed, epoch=epoch).num_steps


# Stopped


def test_stopped_wherever_it_can_be_it_goes_on_to_the_same_bits(data: str, whole: Any, tmp_path: Path) -> None:
    """After every update, at every batch of every evaluation, and after that."""
    job = assign(tmp_path / "run", data)
    in_evaluation = -(-NUM_VAL // RUN.evaluation.batch) + 1
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
    for stop_at in (1, 3, -(-NUM_VAL // EVALUATED.evaluation.batch) + 1):
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
    assert not carry_on(job, ALONE, Surroundings(feed, lambda: next(wishes)))
    assert newest(job).step == 9


# Killed


def test_after_the_last_epoch_other_resolutions_are_tested(data: str, tmp_path: Path) -> None:
    """Once, also of a run that is stopped again and again, in these evaluations too."""
    run = replace(RUN, evaluation=replace(RUN.evaluation, also=(32, 64)))
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

    def broken(orders: Iterator[Order]) -> Iterator[Batch]:
        yield from islice(feed(orders), batches)
        raise KeyboardInterrupt

    return broken


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["fp32", "accumulate"])
def test_killed_anywhere_it_goes_on_to_the_same_bits(
    data: str, whole: Any, tmp_path: Path, name: str, seed: int
) -> None:
    """From the checkpoint of the third step before, or the epoch's, or from nothing."""
    draw, job = random.Random(seed), assign(tmp_path / "run", data, RUNS[name], keep=Keep(every_steps=3))
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
    job = assign(tmp_path / "run", data, keep=Keep(every_steps=2, every_minutes=None, last=3))
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
    job = assign(tmp_path / "run", data, run, keep=Keep(every_steps=1))
    with pytest.raises(NonFiniteError, match="the gradients of epoch 1, step"):
        go(job)
    step = newest(job).step
    with np.load(job.folder.results / "non-finite-rank0-0.npz") as saved:
        assert int(saved["step"]) == step
        assert len(saved["pixels"]) == len(saved["labels"]) > 0
    skipping = replace(run, numerics=replace(run.numerics, non_finite="skip"))
    other = assign(tmp_path / "other", data, skipping)
    assert go(other)
    assert [each["train/updates_left_out"] > 0 for each in newest(other).history] == [True, True]


# On several ranks


class Recorded:
    """A feed that remembers the samples of all training batches that were asked for."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, int, list[int]]] = []

    def __call__(self, orders: Iterator[Order]) -> Iterator[Batch]:
        for order in orders:
            if isinstance(order.view, TrainingView):
                self.samples.append((order.view.epoch, order.planned.step, order.planned.samples.tolist()))
            yield from render_batches([order])


def trained(rank: int, world: int, folder: Path, data: str, stop_at: int | None) -> list[tuple[int, int, list[int]]]:
    """What a rank trains on until it is told to stop; only the last rank asks for it."""
    job, recorded = assign(folder, data, planned_world=2), Recorded()
    ended = go(job, world=World(rank, world, CPU), stop_at=stop_at if rank == world - 1 else None, feed=recorded)
    assert ended == (stop_at is None)
    return recorded.samples


def stopped_and_whole(rank: int, world: int, folder: Path, data: str) -> list[bytes]:
    """The ledgers of a run at one go, and of one that another rank each time stops."""
    jobs = [assign(folder / name, data, planned_world=world) for name in ("whole", "parts")]
    here = World(rank, world, CPU)
    assert go(jobs[0], world=here)
    for number, stop_at in enumerate((1, 3, 2, 2)):
        assert not go(jobs[1], world=here, stop_at=stop_at if rank == number % world else None)
    assert go(jobs[1], world=here)
    return [ledger_of(job, rank) for job in jobs]


def cut_short(rank: int, world: int, folder: Path, data: str) -> bool:
    """Whether a run ends that has only its evaluation before it, in which one rank is told to stop, and that once."""
    job = assign(folder, data, EVALUATED)
    return go(job, world=World(rank, world, CPU), stop_at=2 if rank == world - 1 else None, once=True)


def stopped_on_a_slow_disk(rank: int, world: int, folder: Path, data: str) -> tuple[int, int]:
    """Where the run would go on, seen by each rank as soon as it has stopped."""

    def slow(state: State, path: Path) -> bytes:
        time.sleep(1)
        return write_state(state, path)

    job = assign(folder / "slow", data, planned_world=world)
    with patch.object(checkpoints, "write_state", slow):
        assert not go(job, world=World(rank, world, CPU), stop_at=2 if rank == world - 1 else None)
    return newest(job).epoch, newest(job).step


EVALUATED = replace(RUN, epochs=1, optimizer=replace(RUN.optimizer, warmup_updates=0))


def evaluated(rank: int, world: int, folder: Path, data: str) -> None:
    """Goes on with a run that has only its evaluation before it."""
    assert go(assign(folder / str(world), data, EVALUATED), world=World(rank, world, CPU))


def everything(rank: int, world: int, folder: Path, data: str, stop_at: int | None) -> dict[str, Any]:
    """In one start of the ranks, which takes longer than their work."""
    cut = cut_short(rank, world, folder / "evaluated" / str(world), data) if world > 1 else False
    evaluated(rank, world, folder / "evaluated", data)
    return {
        "cut": cut,
        "samples": trained(rank, world, folder / "changing", data, stop_at),
        "ledgers": stopped_and_whole(rank, world, folder / "same", data) if world == 2 else [],
        "slow": stopped_on_a_slow_disk(rank, world, folder, data) if world == 2 else None,
    }


@pytest.fixture(scope="module")
def worlds(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[dict[str, Any]]]]:
    """A folder, and what ranks had to say: of two, then one, then three, in this order."""
    folder = tmp_path_factory.mktemp("worlds")
    begun = assign(folder / "evaluated" / "begun", data, EVALUATED)
    assert not go(begun, stop_at=num_updates(data, 0))
    assert newest(begun).position == Position(num_updates(data, 0), NUM_TRAIN), "nothing but the evaluation is left"
    for world in (1, 2, 3):
        shutil.copytree(begun.folder.path, folder / "evaluated" / str(world))
    two = run_ranks(2, everything, folder, data, 2)
    one = [everything(0, 1, folder, data, 2)]
    return folder, {2: two, 1: one, 3: run_ranks(3, everything, folder, data, None)}


def test_in_other_worlds_every_sample_of_the_epoch_is_used_once(worlds: Any, data: str) -> None:
    """All three within the first epoch."""
    folder, told = worlds
    state = newest(assign(folder / "changing", data))
    assert (state.epoch, state.world, state.planned_world) == (RUN.epochs, 3, 2)
    used = sorted(
        (epoch, step, rank, ids, world)
        for world, ranks in told.items()
        for rank, each in enumerate(ranks)
        for epoch, step, ids in each["samples"]
    )
    assert [{world for at, step, *_, world in used if (at, step) == (0, number)} for number in range(5)] == [
        *({2}, {2}, {1}, {1}, {3})
    ]
    for epoch in range(RUN.epochs):
        ids = [sample for at, _, _, samples, _ in used for sample in samples if at == epoch]
        assert sorted(ids[:NUM_TRAIN]) == list(range(NUM_TRAIN))
        assert len(ids) - NUM_TRAIN < 3 * MIN_BATCH, "only the last step repeats some of the first"
    assert [(each["world_size"], each["val/samples"]) for each in state.history] == [(3, NUM_VAL)] * 2


def test_two_ranks_that_any_of_them_stops_go_on_to_the_same_bits(worlds: Any, data: str) -> None:
    folder, told = worlds
    for rank in told[2]:
        assert rank["ledgers"][0] == rank["ledgers"][1]
    outcomes = [outcome(assign(folder / "same" / name, data, planned_world=2)) for name in ("whole", "parts")]
    assert outcomes[0] == outcomes[1]


def test_ranks_agree_that_an_evaluation_was_cut_short(worlds: Any) -> None:
    """Also if only one was told, which hears nothing of it the next time."""
    _, told = worlds
    assert [rank["cut"] for world in (2, 3) for rank in told[world]] == [False] * 5


def test_no_rank_leaves_before_the_checkpoint_is_on_the_disk(worlds: Any) -> None:
    """The first one that does ends the others' processes."""
    _, told = worlds
    assert [rank["slow"] for rank in told[2]] == [(0, 2), (0, 2)]


def shares_evaluated(bare: nn.Module, data: str, world: int) -> dict[str, float]:
    """What that many ranks count, one after the other."""
    split, view, total = read_manifest(data, "val"), EVALUATED.evaluation, Tally.zero(CPU)
    for rank in range(world):
        planned = plan_evaluation(NUM_VAL, view.batch, world=world, rank=rank, resolution=view.crop)
        orders = [Order(each, split.ref(data), EvaluationView(view)) for each in planned]
        total.sums += evaluate({"val": bare}, render_batches(orders), EVALUATED, CPU)["val"].sums
    return total.metrics("val") | {"val/samples": total.sums[0].item()}


def test_evaluation_counts_the_same_in_every_world(worlds: Any, data: str) -> None:
    """Worlds 1 to 3 as processes, 1 to 5 share by share. Losses too, but for the order of their sum."""
    folder = worlds[0] / "evaluated"
    bare = build_model(EVALUATED, 10, CPU)
    bare.load_state_dict(newest(assign(folder / "begun", data)).model)
    counted = [shares_evaluated(bare, data, world) for world in range(1, 6)]
    for world in (1, 2, 3):
        (metrics,) = read_epochs(folder / str(world) / "epochs.jsonl")
        assert metrics["world_size"] == world
        counted.append({name: metrics[name] for name in counted[0]})
    for name in ("val/samples", "val/top1", "val/top5"):
        assert len({each[name] for each in counted}) == 1, name
    assert [each["val/loss"] for each in counted] == pytest.approx([counted[0]["val/loss"]] * 8, rel=1e-12)
    assert counted[0]["val/samples"] == NUM_VAL
    assert 0 < counted[0]["val/top1"] < counted[0]["val/top5"] < 100
