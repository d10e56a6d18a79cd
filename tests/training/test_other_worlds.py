"""A run on several ranks, or on others than before, uses every sample of an epoch once and comes to the same bits."""

import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn
from training.ranks import run_ranks
from training.small import (
    EVALUATED,
    NUM_TRAIN,
    NUM_VAL,
    RUN,
    assign,
    few_digits,
    go,
    ledger_of,
    newest,
    num_updates,
    outcome,
)

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.plan import MIN_BATCH, Position, plan_evaluation
from mvlab.data.store.manifest import read_manifest
from mvlab.tasks.classification.objective import Tally
from mvlab.tasks.classification.view import EvaluationView, TrainingView
from mvlab.training import checkpoints
from mvlab.training.build import World, build_model
from mvlab.training.collectives import AllRanks
from mvlab.training.files import read_epochs
from mvlab.training.loop import evaluate
from mvlab.training.state import State, write_state

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("data"))


class Recorded:
    """A feed that remembers the samples of all training batches that were asked for."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, int, list[int]]] = []

    def __call__(self, orders: Iterator[Order]) -> Generator[Batch]:
        for order in orders:
            if isinstance(order.view, TrainingView):
                self.samples.append((order.view.epoch, order.planned.step, order.planned.samples.tolist()))
            yield from render_batches([order])


def trained(rank: int, world: int, folder: Path, data: str, stop_at: int | None) -> list[tuple[int, int, list[int]]]:
    """Return the batches that a rank trains on until it is told to stop; only the last rank asks for it."""
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
    """Return whether a run ends that has only its evaluation ahead, in which one rank is told to stop, once."""
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
        "ledgers": stopped_and_whole(rank, world, folder / "same" / str(world), data) if world > 1 else [],
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


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_that_any_of_them_stops_go_on_to_the_same_bits(worlds: Any, data: str, world: int) -> None:
    """The sum of three gradients depends on their order, and that on the layout of the buckets they are sent in."""
    folder, told = worlds
    for rank in told[world]:
        assert rank["ledgers"][0] == rank["ledgers"][1]
    folder = folder / "same" / str(world)
    outcomes = [outcome(assign(folder / name, data, planned_world=world)) for name in ("whole", "parts")]
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
    """Return the counts of that many ranks, one after the other."""
    split, view, total = read_manifest(data, "val"), EVALUATED.task.evaluation, Tally.zero(CPU)
    for rank in range(world):
        planned = plan_evaluation(NUM_VAL, view.batch, world=world, rank=rank, size=(view.crop, view.crop))
        orders = [Order(each, split.ref(data), EvaluationView(view)) for each in planned]
        objective = EVALUATED.task.objective(None, AllRanks())
        total.sums += evaluate({"val": bare}, render_batches(orders), EVALUATED, CPU, objective)["val"].tally.sums
    return {f"val/{name}": value for name, value in total.metrics().items()} | {"val/samples": total.sums[0].item()}


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
