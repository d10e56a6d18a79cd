"""Ranks train as one process on their joined batches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training.ranks import run_ranks
from training.small import RUN

from mvlab.config import RunConfig
from mvlab.data.feed.batch import Batch
from mvlab.tasks.classification.objective import Tally
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.schedule import Step

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES = 5
SIDES = (64, 32, 64, 32, 64)
"""Pixels of each step."""
SIZES = {2: (3, 2), 3: (1, 3, 2), 4: (2, 1, 1, 2)}
"""Images of each rank in the last step, by number of ranks; the steps before have WHOLE on every rank."""
WHOLE = 4
ABSOLUTE, RELATIVE = 1e-6, 1e-5
"""Of an element, and of a tensor's norm. The loss is float32, all else float64; with a float64 loss both are 1e-10.
SGD's update is as small as the gradient's error; AdamW's first updates are the gradient's sign, and where that is
nearly zero rounding decides."""
BASE = replace(
    RUN,
    model=replace(RUN.model, classifier_dropout=0.0),
    optimizer=replace(RUN.optimizer, name="sgd"),
    numerics=replace(RUN.numerics, batch_norm="all_ranks"),
)
RUNS = {
    "steps": BASE,
    "two steps an update": replace(BASE, optimizer=replace(BASE.optimizer, accumulate=2)),
    "clipped": replace(BASE, optimizer=replace(BASE.optimizer, clip_norm=0.5)),
}


def to_float64(_: nn.Module, images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.double() for each in images)


def sizes(world: int, step: int) -> tuple[int, ...]:
    """Images of each rank."""
    return SIZES[world] if step == len(SIDES) - 1 else (WHOLE,) * world


def joined(world: int, step: int) -> Batch:
    """The batch of all ranks."""
    draw, count, side = np.random.default_rng(step), sum(sizes(world, step)), SIDES[step]
    return Batch(
        step, draw.integers(0, 256, (count, 3, side, side), np.uint8), {"label": draw.integers(0, CLASSES, count)}
    )


def share(batch: Batch, world: int, rank: int) -> Batch:
    ends = np.cumsum(sizes(world, batch.step))
    part = slice(ends[rank] - sizes(world, batch.step)[rank], ends[rank])
    return Batch(batch.step, batch.pixels[part], {"label": batch.targets["label"][part]})


def steps(run: RunConfig, world: int) -> Iterator[Step]:
    """Every image of an update weighs the same."""
    together = run.optimizer.accumulate
    for number in range(len(SIDES)):
        first = number - number % together
        update = range(first, min(first + together, len(SIDES)))
        weight = sum(sizes(world, number)) / sum(sum(sizes(world, each)) for each in update)
        yield Step(number, weight, closes=number == update[-1], lr=0.02)


def train(run: RunConfig, here: World, world: int) -> dict[str, Tensor]:
    """What the batches of `world` ranks make of the network, here all of them or this rank's part."""
    bare = build_model(run, CLASSES, CPU).double()
    bare.register_forward_pre_hook(to_float64)  # rounding errors would hide faults of 1e-6
    trainer, tally = build_trainer(run, bare, here), Tally.zero(CPU)
    for step in steps(run, world):
        batch = joined(world, step.number)
        if here.size > 1:
            batch = share(batch, world, here.rank)
            step = replace(step, weight=step.weight * world * len(batch) / sum(sizes(world, step.number)))
        trainer.step(0, batch, step, tally)
    average = {f"ema.{name}": value for name, value in trainer.ema.module.state_dict().items()}
    return {**trainer.bare.state_dict(), **average, "updates": torch.tensor(trainer.updates)}


def train_all(rank: int, world: int) -> dict[str, dict[str, Tensor]]:
    return {name: train(run, World(rank, world, CPU), world) for name, run in RUNS.items()}


@pytest.fixture(scope="module", params=list(SIZES))
def ranks(request: pytest.FixtureRequest) -> list[dict[str, dict[str, Tensor]]]:
    return run_ranks(request.param, train_all)


@pytest.mark.parametrize("name", RUNS)
def test_ranks_train_as_one_process_on_their_joined_batches(ranks: list[Any], name: str) -> None:
    """Several resolutions, a last step of unequal batches, statistics and average too."""
    expected = train(RUNS[name], World(0, 1, CPU), len(ranks))
    assert expected["updates"] == (3 if "two" in name else 5)
    for ours in ranks:
        assert ours[name].keys() == expected.keys()
        for key, value in expected.items():
            error = (ours[name][key] - value).double()
            assert error.abs().max() <= ABSOLUTE, key
            assert error.norm() <= RELATIVE * value.double().norm() + 1e-12, key


@pytest.mark.parametrize("name", RUNS)
def test_ranks_have_the_same_bits(ranks: list[Any], name: str) -> None:
    for key, value in ranks[0][name].items():
        assert all(torch.equal(other[name][key], value) for other in ranks), key


def test_clipping_clips() -> None:
    """Else the law above would say nothing of it."""
    plain, clipped = (train(RUNS[name], World(0, 1, CPU), 2) for name in ("steps", "clipped"))
    assert not torch.allclose(plain["classifier.weight"], clipped["classifier.weight"], rtol=1e-2)
