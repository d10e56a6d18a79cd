"""A training epoch and an evaluation; knows neither Ray nor MLflow nor how many we are."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvlab.config import RunConfig
from mvlab.data.batch import Batch
from mvlab.data.randomness import Stream, generator
from mvlab.tasks.classification import Tally, smoothed_loss
from mvlab.training.ema import Ema
from mvlab.training.optimizer import learning_rate


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an epoch stands after a step."""

    epoch: int
    step: int
    resolution: int
    batch: int
    loss: Tensor
    lr: float
    images: int
    """Of this rank, this epoch."""
    elapsed_s: float
    waited_s: float
    """Of `elapsed_s`, waiting for data."""


class NonFiniteLossError(ArithmeticError):
    """The loss is no number any more; nothing after it would mean anything."""


@dataclass(slots=True)
class Trainer:
    """One rank's model, its average and its optimizer, and how far they have come."""

    run: RunConfig
    model: nn.Module
    """What gradients go through: DistributedDataParallel around `bare`, or `bare` itself."""
    bare: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    num_updates: int
    """Of the whole run."""
    rank: int
    device: torch.device
    update: int = 0
    """Optimizer updates done."""

    def train_epoch(self, epoch: int, batches: Iterable[Batch], on_step: Callable[[Progress], None]) -> Tally:
        """Steps through `batches`; `on_step` is told after each.

        Raises:
            NonFiniteLossError: some loss of the epoch was infinite or no number.
        """
        self.model.train()
        tally = Tally.zero(self.device)
        started, waited, images = time.perf_counter(), 0.0, 0
        for batch, wait_s in _timed(batches):
            loss, lr = self._step(epoch, batch, tally)
            waited += wait_s
            images += len(batch.labels)
            elapsed = time.perf_counter() - started
            side = batch.pixels.shape[-1]
            on_step(Progress(epoch, batch.step, side, len(batch.labels), loss, lr, images, elapsed, waited))
        if not torch.isfinite(tally.sums).all():
            raise NonFiniteLossError(
                f"the training loss of epoch {epoch} is not finite. Lower optimizer.lr_peak, or warm up longer"
            )
        return tally

    def _step(self, epoch: int, batch: Batch, tally: Tally) -> tuple[Tensor, float]:
        lr = learning_rate(self.update, self.num_updates, self.run.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        draw = generator(self.run.seed, Stream.DROPOUT, epoch, batch.step, self.rank)
        torch.manual_seed(int(draw.integers(2**63)))

        images, labels = to_device(batch, self.device)
        logits = self.model(images)
        loss = smoothed_loss(logits, labels, self.run.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.ema.update(self.bare)
        self.update += 1
        tally.add(logits, labels, loss.detach())
        return loss.detach(), lr


@torch.no_grad()
def evaluate(models: Mapping[str, nn.Module], batches: Iterable[Batch], device: torch.device) -> dict[str, Tally]:
    """Tallies every model over the same batches, which are read once."""
    tallies = {name: Tally.zero(device) for name in models}
    for model in models.values():
        model.eval()
    for batch in batches:
        if not len(batch.labels):  # all of its rows were corrupt
            continue
        images, labels = to_device(batch, device)
        for name, model in models.items():
            logits = model(images)
            tallies[name].add(logits, labels, smoothed_loss(logits, labels, 0.0))
    return tallies


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1], channels last, and labels (B,). No mean or std: the release's input."""
    pixels = torch.empty(batch.pixels.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    pixels.numpy()[:] = batch.pixels
    images = pixels.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
    return images.div_(255), torch.from_numpy(batch.labels).to(device)


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds that were spent waiting for it."""
    source = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - asked
