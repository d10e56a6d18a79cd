"""A run of a second on a few digits, in one process or on some ranks, without Ray."""

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.recipes import mobilevit_s
from mvlab.config import RunConfig, SamplerConfig
from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.ingest.write import write_split
from mvlab.data.plan import Position, plan_epoch
from mvlab.data.store.manifest import read_manifest
from mvlab.scale import at_scale
from mvlab.tasks.classification.config import EvaluationConfig
from mvlab.training.assignment import Assignment
from mvlab.training.build import World, build_trainer
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.collectives import Wish
from mvlab.training.epoch_state import COUNTERS
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import RunFolder, read_epochs
from mvlab.training.ledger import ledger_path
from mvlab.training.loop import Trainer
from mvlab.training.run_rank import Surroundings, run_rank
from mvlab.training.state import State, capture, weights_sha256

ALONE = World(0, 1, torch.device("cpu"))
NUM_TRAIN, NUM_VAL = 70, 23
SMOKE = at_scale(mobilevit_s(), "smoke")
RUN = replace(
    SMOKE,
    sampler=SamplerConfig(resolutions=(32, 64), base_resolution=32, base_batch=12),
    task=replace(SMOKE.task, evaluation=EvaluationConfig(resize=32, crop=32, batch=4)),
    epochs=2,
)
"""About ten steps an epoch on one rank, of 12 or 3 images, the last one shorter; dropout is on."""
EVALUATED = replace(RUN, epochs=1, optimizer=replace(RUN.optimizer, warmup_updates=0))
"""One epoch and no warm-up: its evaluation comes soon."""
TIMING = ("_s", "_ms", "_wait_share", "_gb")
"""Ends of the names of what no two runs have in common."""

Feed = Callable[[Iterator[Order]], Generator[Batch]]


def few_digits(folder: Path) -> str:
    """Where NUM_TRAIN and NUM_VAL digits are."""
    from mvlab.data.sources.digits import CLASSES, digits  # takes a second, which other ranks need not wait for

    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        write_split(islice(digits(split), count), str(folder), name="digits", split=split, classes=CLASSES, seed=0)
    return str(folder)


def assign(folder: Path, data: str, run: RunConfig = RUN, *, planned_world: int = 1, **how: Any) -> Assignment:
    """With a ledger, and without checkpoints by the clock, unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    execution = ExecutionOptions(**{"ledger": True, "keep": CheckpointPolicy(every_minutes=None)} | how)
    return Assignment(
        name=folder.name,
        run=run,
        data=data,
        folder=RunFolder(folder),
        mark=folder,
        planned_world=planned_world,
        feed_cpus=1,
        execution=execution,
    )


def feed(orders: Iterator[Order]) -> Generator[Batch]:
    """Some batches ahead, as the platform's own."""
    while some := list(islice(orders, 4)):
        yield from render_batches(some)


def go(
    job: Assignment,
    *,
    world: World = ALONE,
    stop_at: int | None = None,
    once: bool = False,
    wish: Wish = Wish.STOP,
    feed: Feed = feed,
) -> bool:
    """Resume a run until its end (then true), or until it asks for the `stop_at`-th time whether to stop.

    Args:
        once: is told that only then; otherwise each time from then on.
        wish: what it is told.
    """
    asked = 0

    def notice() -> Wish:
        nonlocal asked
        asked += 1
        return wish if stop_at is not None and (asked == stop_at if once else asked >= stop_at) else Wish.NOTHING

    threads = torch.get_num_threads()
    try:
        return run_rank(job, world, Surroundings(feed, notice))
    finally:
        torch.set_num_threads(threads)


def newest(job: Assignment) -> State:
    """The checkpoint that a run would go on with."""
    state, _ = Checkpoints(job.folder.checkpoints, job.execution.keep, job.run.task).newest()
    assert state is not None
    return state


def untimed(history: list[dict[str, Any]]) -> list[str]:
    """As JSON, in which a metric that does not exist (NaN) equals itself."""
    kept = ({key: value for key, value in each.items() if not key.endswith(TIMING)} for each in history)
    return [json.dumps(each, sort_keys=True) for each in kept]


def ledger_of(job: Assignment, rank: int = 0) -> bytes:
    return ledger_path(job.folder.ledger, rank).read_bytes()


def trainer_of(run: RunConfig = RUN) -> Trainer:
    torch.manual_seed(0)
    return build_trainer(run, nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), ALONE)


def state_at(epoch: int, step: int, top1: float | None = None, *, run: RunConfig = RUN, data: str = "d" * 64) -> State:
    """Of a small network that has made one update; `top1` is the epoch's before."""
    trainer = trainer_of(run)
    trainer.bare(torch.randn(4, 3)).pow(3).sum().backward()
    trainer.optimizer.step()
    trainer.updates = 100 * epoch + step
    return capture(
        trainer,
        epoch=epoch,
        position=Position(step, 12 * step),
        world=1,
        planned_world=2,
        so_far=torch.arange(4 + COUNTERS, dtype=torch.float64)[None],
        history=[] if top1 is None else [{"epoch": epoch, "val_ema/top1": top1}],
        dataset_digest=data,
    )


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


def num_updates(data: str, epoch: int) -> int:
    rows = read_manifest(data, "train").group_rows
    return plan_epoch(rows, RUN.sampler, world=1, seed=RUN.seed, epoch=epoch).num_steps
