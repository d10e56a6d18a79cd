"""One rank's part of a training run: where the run is, and what moves it on. Knows neither Ray nor MLflow."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, time_ns
from typing import Any

import torch

from mvlab.data.batch import Batch
from mvlab.data.images import EvaluationView, TrainingView
from mvlab.data.manifest import Manifest
from mvlab.data.plan import EPOCH_START, EpochPlan, PlannedBatch, Position, plan_epoch, plan_evaluation
from mvlab.data.render import Order
from mvlab.training.assignment import Assignment
from mvlab.training.build import World
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.collectives import Consensus, Wish, of_all_ranks, share_buffers, sum_over_ranks, wait_for_all
from mvlab.training.corrupt import watch
from mvlab.training.files import append_epoch
from mvlab.training.ledger import Ledger
from mvlab.training.loop import Trainer, evaluate
from mvlab.training.meter import Meter
from mvlab.training.profile import Phase, Profiler
from mvlab.training.schedule import Schedule
from mvlab.training.state import capture, weights_sha256
from mvlab.training.tally import EpochSoFar


@dataclass(slots=True)
class Session:
    """Between two methods all ranks are at the same place of the run."""

    job: Assignment
    world: World
    trainer: Trainer
    schedule: Schedule
    training: Manifest
    validation: Manifest
    checkpoints: Checkpoints
    notice: Callable[[], Wish]
    consensus: Consensus
    ledger: Ledger | None
    profiler: Profiler
    epoch: int
    position: Position
    so_far: EpochSoFar
    history: list[dict[str, Any]]
    checkpointed: float = field(default_factory=monotonic)
    """When the last checkpoint was asked for."""

    @property
    def is_writer(self) -> bool:
        return self.world.rank == 0

    def orders(self) -> Iterator[Order]:
        """All batches of this rank for the rest of the run: what is left of an epoch, its evaluation, and so on."""
        run, data = self.job.run, self.job.data
        start = self.position
        for epoch in range(self.epoch, run.epochs):
            view = TrainingView(run.augmentation, run.seed, epoch)
            for planned in self.plan(epoch, start).for_rank(self.world.rank):
                yield Order(planned, self.training.ref(data), view)
            for planned in self.evaluation_plan():
                yield Order(planned, self.validation.ref(data), EvaluationView(run.evaluation))
            start = EPOCH_START

    def plan(self, epoch: int, start: Position) -> EpochPlan:
        run, rows = self.job.run, self.training.group_rows
        return plan_epoch(rows, run.sampler, world=self.world.size, seed=run.seed, epoch=epoch, start=start)

    def evaluation_plan(self) -> Iterator[PlannedBatch]:
        """This rank's batches of the validation split."""
        view, world = self.job.run.evaluation, self.world
        return plan_evaluation(
            self.validation.num_samples, view.batch, world=world.size, rank=world.rank, resolution=view.crop
        )

    def train_epoch(self, batches: Iterator[Batch]) -> bool:
        """What is left of the epoch's steps; false if the run was told to stop."""
        plan = self.plan(self.epoch, self.position)
        batches = watch(
            islice(batches, plan.num_steps),
            self.so_far,
            self.job.folder.corrupt_rows,
            epoch=self.epoch,
            rank=self.world.rank,
        )
        meter = Meter(self.schedule, plan, self.so_far, self.job.folder.say if self.is_writer else None)
        self.profiler.begin(plan)
        for step in self.schedule.steps(plan):
            with self.profiler.phase(Phase.DATA_WAIT), meter.waiting():
                batch = next(batches)
            if step.closes:
                self.consensus.ask(self._wish())
            loss, left_out = self.trainer.step(self.epoch, batch, step, self.so_far.tally)
            self.profiler.stepped(batch)
            self.so_far.left_out += left_out
            with self.profiler.phase(Phase.REPORT):
                meter.stepped(batch, loss)
                if self.ledger:
                    self.ledger.record(self.epoch, step.number, batch, loss, dict(self.trainer.bare.named_parameters()))
            if step.closes:
                self.position = Position(step.number + 1, plan.consumed(step.number + 1))
                if not self._granted(self.consensus.answer(), step.number):
                    return False
        return True

    def _wish(self) -> Wish:
        minutes = self.job.keep.every_minutes
        is_due = minutes is not None and monotonic() - self.checkpointed >= 60 * minutes
        mine = Wish.CHECKPOINT if self.is_writer and is_due and not self.checkpoints.is_writing() else Wish.NOTHING
        return max(mine, self.notice())

    def _granted(self, wish: Wish, step: int) -> bool:
        """Does what all agreed on after a step; false if that is to stop."""
        every, together = self.job.keep.every_steps, self.job.run.optimizer.accumulate
        is_due = every is not None and (step + 1) // every > (step + 1 - together) // every
        if wish != Wish.NOTHING or is_due:
            with self.profiler.phase(Phase.CHECKPOINT):
                self.checkpoint()
        return wish != Wish.STOP

    def evaluate_epoch(self, batches: Iterator[Batch]) -> dict[str, float] | None:
        """Raw and EMA weights on every validation sample; nothing if the run was told to stop meanwhile."""
        trainer, device = self.trainer, self.world.device
        share_buffers(trainer.bare, trainer.ema.module)
        num_batches = sum(1 for _ in self.evaluation_plan())
        expected = watch(
            islice(batches, num_batches),
            self.so_far,
            self.job.folder.corrupt_rows,
            epoch=self.epoch,
            rank=self.world.rank,
        )
        models = {"val": trainer.bare, "val_ema": trainer.ema.module}
        tallies = evaluate(models, self._until_stopped(expected), self.job.run, device)
        self.consensus.ask(self.notice())
        if self.consensus.answer() == Wish.STOP:
            return None
        metrics: dict[str, float] = {}
        for name, tally in tallies.items():
            tally.sums = sum_over_ranks(tally.sums)
            metrics |= tally.metrics(name)
        return metrics | {"val/samples": tallies["val"].sums[0].item()}

    def _until_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.notice() == Wish.STOP:
                return
            yield batch

    def end_epoch(self, validated: dict[str, float], evaluation_s: float) -> None:
        """Writes down what the epoch came to, and makes a checkpoint after it."""
        so_far = self.so_far
        tally = so_far.tally
        tally.sums = sum_over_ranks(tally.sums)
        counted = torch.tensor([so_far.images, so_far.corrupt], dtype=torch.float64, device=self.world.device)
        images, corrupt = sum_over_ranks(counted).tolist()
        busy_s = max(so_far.busy_s, 1e-9)
        metrics: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "time_ms": time_ns() // 1_000_000,
            "update": self.trainer.updates,
            "lr": self.trainer.optimizer.param_groups[0]["lr"],
            **tally.metrics("train"),
            "train/updates_left_out": so_far.left_out,
            **validated,
            "images_per_s": images / busy_s,
            "data_wait_share": so_far.waited_s / busy_s,
            "train_s": so_far.busy_s,
            "epoch_s": so_far.busy_s + evaluation_s,
            "data/corrupt_rows": corrupt,
            "world_size": self.world.size,
        }
        if self.is_writer:
            metrics["weights_sha256"] = weights_sha256(self.trainer.ema.module.state_dict())
            append_epoch(self.job.folder.epochs, metrics)
        self.history.append(metrics)
        self.epoch, self.position, self.so_far = self.epoch + 1, EPOCH_START, EpochSoFar.zero(self.world.device)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Makes one of here and now; all ranks come here together, rank 0 writes beside the next steps."""
        so_far = of_all_ranks(self.so_far.pack(), self.world.device)
        self.checkpointed = monotonic()
        if self.is_writer:
            self.checkpoints.write(
                capture(
                    self.trainer,
                    epoch=self.epoch,
                    position=self.position,
                    world=self.world.size,
                    planned_world=self.schedule.world,
                    so_far=so_far,
                    history=self.history,
                    dataset_digest=self.training.digest,
                )
            )

    def settle(self) -> None:
        """Until the checkpoint is on the disk, on every rank: the first one that leaves takes the others with it."""
        self.checkpoints.wait()
        wait_for_all()
