"""One rank's part of a training run: its state, and the methods that advance it. Knows neither Ray nor MLflow."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import monotonic, perf_counter, time_ns
from typing import Any

import torch
from torch import nn

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order
from mvlab.data.plan import EPOCH_START, EpochPlan, PlannedBatch, Position, plan_epoch, plan_evaluation
from mvlab.data.store.manifest import Manifest
from mvlab.tasks.base import TRAIN, VAL, VAL_EMA, EvaluationPass, Evaluator
from mvlab.training.assignment import Assignment
from mvlab.training.build import World
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.collectives import (
    AllRanks,
    Consensus,
    Latch,
    Preempted,
    Wish,
    of_all_ranks,
    share_buffers,
    sum_over_ranks,
)
from mvlab.training.corrupt import watch
from mvlab.training.epoch_state import EpochState
from mvlab.training.files import append_epoch
from mvlab.training.ledger import Ledger
from mvlab.training.loop import Trainer, evaluate
from mvlab.training.meter import Meter
from mvlab.training.optimizer import lr_of
from mvlab.training.peak_memory import memory_metrics
from mvlab.training.profile import Phase, Profiler
from mvlab.training.schedule import Schedule
from mvlab.training.state import capture, weights_sha256


@dataclass(slots=True)
class Session:
    """Session of one rank. Between two method calls, all ranks are at the same place of the run."""

    job: Assignment
    world: World
    trainer: Trainer
    schedule: Schedule
    training: Manifest
    validation: Manifest
    checkpoints: Checkpoints
    notice: Latch
    consensus: Consensus
    ledger: Ledger | None
    profiler: Profiler
    epoch: int
    position: Position
    so_far: EpochState
    history: list[dict[str, Any]]
    checkpointed: float = field(default_factory=monotonic)
    """Time at which the last checkpoint was requested."""

    @property
    def is_writer(self) -> bool:
        return self.world.rank == 0

    def orders(self) -> Iterator[Order]:
        """Yield all batches of this rank for the rest of the run: the rest of an epoch, its evaluation, and so on."""
        run, data = self.job.run, self.job.data
        start = self.position
        for epoch in range(self.epoch, run.epochs):
            training = run.task.training_view(run.seed, epoch)
            for planned in self.plan(epoch, start).for_rank(self.world.rank):
                yield Order(planned, self.training.ref(data), training)
            for each in self.evaluations(epoch):
                for planned in self.evaluation_plan(each):
                    yield Order(planned, self.validation.ref(data), each.view)
            start = EPOCH_START

    def train_to_the_end(self, batches: Iterator[Batch]) -> bool:
        """Do the rest of the run. Return false if it was told to stop: then there is a checkpoint of where it is."""
        while self.epoch < self.job.run.epochs:
            if not self.train_epoch(batches):
                self.settle()
                return False
            started = perf_counter()
            validated = self.evaluate_epoch(batches)
            if validated is None:
                self.checkpoint()
                self.settle()
                return False
            self.end_epoch(validated, perf_counter() - started)
        return True

    def plan(self, epoch: int, start: Position) -> EpochPlan:
        run, rows = self.job.run, self.training.group_rows
        return plan_epoch(rows, run.sampler, world=self.world.size, seed=run.seed, epoch=epoch, start=start)

    def evaluations(self, epoch: int) -> tuple[EvaluationPass, ...]:
        """Return the passes over the validation split that follow an epoch."""
        return self.job.run.task.evaluations(last=epoch + 1 == self.job.run.epochs)

    def evaluation_plan(self, each: EvaluationPass) -> Iterator[PlannedBatch]:
        """Return this rank's batches of the validation split."""
        world = self.world
        return plan_evaluation(
            self.validation.num_samples, each.batch, world=world.size, rank=world.rank, size=each.size
        )

    def train_epoch(self, batches: Iterator[Batch]) -> bool:
        """Train the remaining steps of the epoch. Return false if the run was told to stop."""
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
        minutes = self.job.execution.keep.every_minutes
        is_due = minutes is not None and monotonic() - self.checkpointed >= 60 * minutes
        mine = Wish.CHECKPOINT if self.is_writer and is_due and not self.checkpoints.is_writing() else Wish.NOTHING
        return max(mine, self.notice())

    def _granted(self, wish: Wish, step: int) -> bool:
        """Do what all ranks agreed on after a step. Return false if no step is to follow."""
        every, together = self.job.execution.keep.every_steps, self.job.run.optimizer.accumulate
        is_due = every is not None and (step + 1) // every > (step + 1 - together) // every
        if wish != Wish.NOTHING or is_due:
            with self.profiler.phase(Phase.CHECKPOINT):
                self.checkpoint()
        return wish < Wish.LEAVE

    def evaluate_epoch(self, batches: Iterator[Batch]) -> dict[str, float] | None:
        """Return metrics of raw and EMA weights on all validation samples, and of the passes after the last epoch.

        None: a rank was told to stop meanwhile, and may not have seen all samples.
        """
        bare, average = self.trainer.bare, self.trainer.ema.module
        share_buffers(bare, average)
        main, *others = self.evaluations(self.epoch)
        evaluators, seen = self._evaluated({VAL: bare, VAL_EMA: average}, main, batches)
        for each in others:
            assert each.name is not None, "only the first pass measures everything"
            evaluators |= self._evaluated({each.name: average}, each, batches)[0]
        self.consensus.ask(self.notice())
        if self.consensus.answer() >= Wish.LEAVE:
            return None
        metrics: dict[str, float] = {}
        task = self.job.run.task
        for name, evaluator in evaluators.items():
            merged = evaluator.merged(AllRanks())
            measured = merged.metrics()
            if name == VAL_EMA and self.is_writer:
                finished = self.epoch + 1
                is_last = finished == self.job.run.epochs
                task.write_evaluation(merged, self.job.data, self.job.folder.evaluation, finished, is_last=is_last)
            if name not in (VAL, VAL_EMA):  # a run has at most 40 metrics: only the primary one is compared
                measured = {task.primary.name: measured[task.primary.name]}
            metrics |= {f"{name}/{metric}": value for metric, value in measured.items()}
        counted = torch.tensor(seen, dtype=torch.float64, device=self.world.device)
        return metrics | {f"{VAL}/samples": sum_over_ranks(counted).item()}

    def _evaluated(
        self, models: dict[str, nn.Module], each: EvaluationPass, batches: Iterator[Batch]
    ) -> tuple[dict[str, Evaluator], int]:
        """Return this rank's part of a pass, and the number of its samples."""
        expected = watch(
            islice(batches, sum(1 for _ in self.evaluation_plan(each))),
            self.so_far,
            self.job.folder.corrupt_rows,
            epoch=self.epoch,
            rank=self.world.rank,
        )
        seen = 0

        def until_stopped() -> Iterator[Batch]:
            nonlocal seen
            for batch in expected:
                if self.notice() >= Wish.LEAVE:
                    return
                seen += len(batch)
                yield batch

        trainer = self.trainer
        evaluators = evaluate(models, until_stopped(), self.job.run, self.world.device, trainer.objective)
        return evaluators, seen

    def end_epoch(self, validated: dict[str, float], evaluation_s: float) -> None:
        """Make a checkpoint after the epoch. Once it is complete, the epoch's metrics are recorded.

        They are not recorded before: if the machine is lost meanwhile, the epoch is trained again, perhaps to other
        weights.
        """
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
            "lr": lr_of(self.trainer.optimizer),
            **{f"{TRAIN}/{metric}": value for metric, value in tally.metrics().items()},
            "train/updates_left_out": so_far.left_out,
            **validated,
            "images_per_s": images / busy_s,
            "data_wait_share": so_far.waited_s / busy_s,
            "train_s": so_far.busy_s,
            "epoch_s": so_far.busy_s + evaluation_s,
            "data/corrupt_rows": corrupt,
            "world_size": self.world.size,
            **memory_metrics(self.world.device),
        }
        if self.is_writer:
            metrics["weights_sha256"] = weights_sha256(self.trainer.ema.module.state_dict())
        self.history.append(metrics)
        empty = self.trainer.objective.tally(self.world.device)
        self.epoch, self.position, self.so_far = self.epoch + 1, EPOCH_START, EpochState(empty)
        self.checkpoint(then=partial(append_epoch, self.job.folder.epochs, metrics))

    def checkpoint(self, *, then: Callable[[], object] = lambda: None) -> None:
        """Make a checkpoint of the current state. All ranks call this together; rank 0 writes beside the next steps.

        `then` is called on rank 0 as soon as the checkpoint is complete.
        """
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
                ),
                then=then,
            )

    def settle(self) -> None:
        """Wait until the checkpoint is on the disk, on every rank: the first rank that leaves ends the others too.

        Raises:
            Preempted: the run itself is not to stop. All ranks agree on that.
        """
        self.checkpoints.wait()
        self.consensus.ask(self.notice())  # what was asked for stands, and a stop may have come on top of it
        if self.consensus.answer() == Wish.LEAVE:
            raise Preempted("a worker was told to end: another resumes its run")

    def close(self) -> None:
        """Wait until everything is on the disk, and release what outlives the session otherwise."""
        with ExitStack() as last_to_first:
            last_to_first.callback(self.consensus.close)
            last_to_first.callback(self.checkpoints.close)
            last_to_first.callback(self.profiler.close)
