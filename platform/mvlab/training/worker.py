"""What each rank runs: the whole flow of one training run, on one page."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mvlab.config import RunConfig
from mvlab.data.batch import Batch
from mvlab.data.feed import stream
from mvlab.data.images import EvaluationView, TrainingView
from mvlab.data.manifest import Manifest, read_manifest
from mvlab.data.plan import EpochPlan, PlannedBatch, count_updates, plan_epoch, plan_evaluation
from mvlab.data.render import OnCorrupt, Order
from mvlab.models.mobilevit import MobileViT
from mvlab.training.collectives import share_buffers, sum_over_ranks
from mvlab.training.corrupt import CorruptRows
from mvlab.training.ema import Ema
from mvlab.training.loop import Trainer, evaluate
from mvlab.training.meter import Meter
from mvlab.training.optimizer import build_optimizer
from mvlab.training.state import capture, load, restore, save, weights_sha256


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a rank is told: the run, where its data is, and its share of the machine."""

    name: str
    """Of the run, for people."""
    run: RunConfig
    data: str
    feed_cpus: float
    """CPUs for this rank's feed."""
    threads: int
    """Of torch. Part of what makes bits repeat: sums depend on how they are split."""
    log: Path
    """Where rank 0 writes its progress, a line every few seconds."""
    on_corrupt: OnCorrupt
    """What to do at a row that is not what was ingested."""
    corrupt_log: Path
    """Where the ranks list such rows, if they are to be skipped."""


@dataclass(frozen=True, slots=True)
class World:
    """Who we are. The only place that asks Ray."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def detect(cls) -> "World":
        context = ray.train.get_context()
        return cls(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())


def train(assignment: Assignment) -> None:
    """Trains to the end, reporting metrics and a checkpoint after every epoch; goes on from one if there is one."""
    torch.set_num_threads(assignment.threads)
    world, run = World.detect(), assignment.run
    training, validation = (read_manifest(assignment.data, split) for split in ("train", "val"))
    trainer = build_trainer(run, world, training)
    first_epoch = 0
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            first_epoch = restore(trainer, load(Path(folder)), dataset_digest=training.digest)

    feed = stream(
        orders(assignment, training, validation, world, first_epoch),
        cpus=assignment.feed_cpus,
        on_corrupt=assignment.on_corrupt,
    )
    corrupt = CorruptRows(assignment.corrupt_log, world.rank)
    log = assignment.log if world.rank == 0 else None
    for epoch in range(first_epoch, run.epochs):
        started = time.perf_counter()
        num_steps = plan_for(run, training, world, epoch).num_steps
        meter = Meter(trainer, num_steps=num_steps, world=world.size, log=log)
        tally = trainer.train_epoch(epoch, corrupt.watch(islice(feed, num_steps), epoch), meter.on_step)
        tally.sums = sum_over_ranks(tally.sums)
        num_batches = sum(1 for _ in evaluation_plan(run, validation, world))
        metrics = {"epoch": epoch + 1, "update": trainer.update} | tally.metrics("train") | meter.rates()
        metrics |= validate(trainer, corrupt.watch(islice(feed, num_batches), epoch), world.device)
        metrics["data/corrupt_rows"] = sum_over_ranks(torch.tensor([float(corrupt.take())], device=world.device)).item()
        metrics["epoch_s"] = time.perf_counter() - started
        report(trainer, metrics, next_epoch=epoch + 1, dataset_digest=training.digest, is_writer=world.rank == 0)


def orders(
    assignment: Assignment, training: Manifest, validation: Manifest, world: World, first_epoch: int
) -> Iterator[Order]:
    """All batches of this rank for the rest of the run: an epoch of training, an evaluation, and so on."""
    run, data = assignment.run, assignment.data
    for epoch in range(first_epoch, run.epochs):
        view = TrainingView(run.augmentation, run.seed, epoch)
        for planned in plan_for(run, training, world, epoch).for_rank(world.rank):
            yield Order(planned, training.ref(data), view)
        for planned in evaluation_plan(run, validation, world):
            yield Order(planned, validation.ref(data), EvaluationView(run.evaluation))


def plan_for(run: RunConfig, training: Manifest, world: World, epoch: int) -> EpochPlan:
    return plan_epoch(training.group_rows, run.sampler, world=world.size, seed=run.seed, epoch=epoch)


def evaluation_plan(run: RunConfig, validation: Manifest, world: World) -> Iterator[PlannedBatch]:
    """This rank's share of the validation split: every sample on exactly one rank."""
    batch, resolution = run.evaluation.batch, run.evaluation.crop
    return plan_evaluation(validation.num_samples, batch, world=world.size, rank=world.rank, resolution=resolution)


def build_trainer(run: RunConfig, world: World, training: Manifest) -> Trainer:
    """The same weights on every rank: they come from the seed alone."""
    torch.manual_seed(run.seed)
    bare = MobileViT(run.model, len(training.classes)).to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # BatchNorm is per rank, and `validate` shares rank 0's statistics: no need to send them at every step.
    model: nn.Module = (
        DistributedDataParallel(bare, broadcast_buffers=False, gradient_as_bucket_view=True) if world.size > 1 else bare
    )
    num_updates = count_updates(training.num_samples, run.sampler, world=world.size, seed=run.seed, epochs=run.epochs)
    ema = Ema(bare, run.ema_decay)
    optimizer = build_optimizer(bare, run.optimizer)
    return Trainer(run, model, bare, ema, optimizer, num_updates, world.rank, world.device)


def validate(trainer: Trainer, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """Raw and EMA weights on the same batches; `val/samples` says how many were counted."""
    share_buffers(trainer.bare, trainer.ema.module)
    tallies = evaluate({"val": trainer.bare, "val_ema": trainer.ema.module}, batches, device)
    metrics: dict[str, float] = {}
    for name, tally in tallies.items():
        tally.sums = sum_over_ranks(tally.sums)
        metrics |= tally.metrics(name)
    return metrics | {"val/samples": tallies["val"].sums[0].item()}


def report(
    trainer: Trainer, metrics: dict[str, float], *, next_epoch: int, dataset_digest: str, is_writer: bool
) -> None:
    """All ranks report, since Ray waits for all; rank 0 brings the checkpoint."""
    if not is_writer:
        ray.train.report(metrics)
        return
    digest = weights_sha256(trainer.ema.module.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        save(capture(trainer, next_epoch=next_epoch, dataset_digest=dataset_digest), Path(folder))
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics | {"weights_sha256": digest}, checkpoint=checkpoint)
