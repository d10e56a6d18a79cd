"""Training step and evaluation. Knows neither Ray nor MLflow, nor the number of ranks."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mvlab.config import RunConfig
from mvlab.data.feed.batch import Batch
from mvlab.data.randomness import Stream, generator
from mvlab.targets import Column, Ragged
from mvlab.tasks.base import Evaluator, Objective, Tally
from mvlab.training.ema import Ema
from mvlab.training.optimizer import set_lr
from mvlab.training.profile import Phase, PhaseOf, unprofiled
from mvlab.training.schedule import Step

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteError(ArithmeticError):
    """Error: gradients are infinite or NaN, so that nothing after them would mean anything."""

    is_final = True

    batches: list[Batch]
    """Batches of this rank that the update was made from."""

    @classmethod
    def at(cls, epoch: int, step: Step, batches: list[Batch]) -> Self:
        error = cls(  # its only argument is the message: pickle repeats this call in another process
            f"the gradients of epoch {epoch + 1}, step {step.number + 1} are not finite (learning rate {step.lr:.2g}): "
            "lower optimizer.lr_peak, warm up longer, clip (optimizer.clip_norm), or leave such updates out "
            "(numerics.non_finite='skip')"
        )
        error.batches = batches
        return error


@dataclass(slots=True)
class Trainer:
    """Model, average and optimizer of one rank, and the updates done."""

    run: RunConfig
    model: nn.Module
    """Model that gradients go through: `bare`, compiled and wrapped in DistributedDataParallel as the run asks."""
    bare: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    objective: Objective
    scaler: torch.amp.GradScaler
    rank: int
    device: torch.device
    updates: int = 0
    """Updates done, including those that were left out."""
    phase: PhaseOf = unprofiled
    _since_update: list[Batch] = field(default_factory=list)
    _at_update: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Tensors that steps change besides gradients, with copies from before the first step of this update."""

    def step(self, epoch: int, batch: Batch, step: Step, tally: Tally) -> tuple[Tensor, bool]:
        """Train on one batch. The last step of an update applies it.

        Returns:
            The batch's mean loss, and whether an update was left out because it was not finite.

        Raises:
            NonFiniteError: an update was not finite, and the run is to stop at it.
        """
        draw = generator(self.run.seed, Stream.DROPOUT, epoch, batch.step, self.rank)
        torch.manual_seed(int(draw.integers(2**63)))
        if not self.bare.training:
            self.model.train()
        if not self._since_update and self._may_leave_out:
            self._at_update = [(each, each.clone()) for each in (*self.bare.buffers(), tally.sums)]
        with self._gradients_stay(not step.closes):
            with self.phase(Phase.FORWARD):
                images, targets = to_device(batch, self.device, channels_last=self.run.numerics.channels_last)
                with autocast(self.run, self.device):
                    outputs = self.model(images)
                parts = self.objective.loss(outputs, targets)
                loss = parts.sum()
            with self.phase(Phase.BACKWARD):
                self.scaler.scale(loss if step.weight == 1 else loss * step.weight).backward()
        tally.add(outputs, targets, parts.detach())
        self._since_update.append(batch)
        with self.phase(Phase.OPTIMIZER):
            left_out = self._update(epoch, step) if step.closes else False
        return loss.detach(), left_out

    @property
    def _may_leave_out(self) -> bool:
        return self.scaler.is_enabled() or self.run.numerics.non_finite == "skip"

    def _gradients_stay(self, stay: bool) -> AbstractContextManager[None]:
        """Return a context that sums gradients on this rank without exchanging them, if they are to stay."""
        if stay and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _update(self, epoch: int, step: Step) -> bool:
        """Update the weights, unless the gradients are not finite. All ranks have the same gradients by now.

        An update that is left out leaves no trace: buffers (BatchNorm's statistics) and tally are restored.
        """
        groups = self.optimizer.param_groups
        set_lr(self.optimizer, step.lr)
        self.scaler.unscale_(self.optimizer)
        parameters = [each for group in groups for each in group["params"] if each.grad is not None]
        norm = get_total_norm([each.grad for each in parameters])
        finite = bool(torch.isfinite(norm))
        if not finite and not self._may_leave_out:
            raise NonFiniteError.at(epoch, step, self._since_update)
        if finite:
            if self.run.optimizer.clip_norm is not None:
                clip_grads_with_norm_(parameters, self.run.optimizer.clip_norm, norm)
            self.scaler.step(self.optimizer)
            self.ema.update()
        else:
            for latest, before in self._at_update:
                latest.copy_(before)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._since_update.clear()
        self.updates += 1
        return not finite


@torch.no_grad()
def evaluate(
    models: Mapping[str, nn.Module],
    batches: Iterable[Batch],
    run: RunConfig,
    device: torch.device,
    objective: Objective,
) -> dict[str, Evaluator]:
    """Evaluate every model on the same batches, which are read once."""
    evaluators = {name: objective.evaluator(device) for name in models}
    for model in models.values():
        model.eval()
    for batch in batches:
        if not len(batch):  # all of its rows were corrupt
            continue
        images, targets = to_device(batch, device, channels_last=run.numerics.channels_last)
        for name, model in models.items():
            with autocast(run, device):
                outputs = model(images)
            evaluators[name].add(outputs, targets)
    return evaluators


def autocast(run: RunConfig, device: torch.device) -> torch.autocast:
    """Return a context with the run's precision."""
    precision = run.numerics.precision
    return torch.autocast(device.type, AUTOCAST[precision], enabled=precision != "fp32")


def to_device(batch: Batch, device: torch.device, *, channels_last: bool) -> tuple[Tensor, dict[str, Any]]:
    """Return images (B, 3, H, W) in [0, 1], and targets by field name. A ragged target is a list of tensors, one per
    sample.

    Mean and std are not applied: the input is the release's.
    """
    pixels = torch.empty(batch.pixels.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    pixels.numpy()[:] = batch.pixels
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = pixels.to(device, non_blocking=True).to(torch.float32, memory_format=layout)
    return images.div_(255), {name: _on_device(column, device) for name, column in batch.targets.items()}


def _on_device(column: Column, device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(column, Ragged):
        return [torch.from_numpy(column[number]).to(device) for number in range(len(column))]
    return torch.from_numpy(column).to(device)
