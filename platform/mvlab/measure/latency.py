"""Inference latency on this machine."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mvlab.checks import require
from mvlab.models.cpu.optimize import optimize

WARMUPS = 5
DISTURBED = 1.5
"""Ratio of median to fastest time, above which the median says little about the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a latency measurement."""

    repeats: int = 100
    """Number of timed runs; the median is reported."""
    threads: int | None = None
    """CPU threads; None for all that this process may use."""
    device: Literal["cpu", "cuda"] = "cpu"
    batch: int = 1
    """Images in a batch. Times are given for one image."""

    def __post_init__(self) -> None:
        require(self.repeats >= 1, f"repeats={self.repeats}: at least one is needed")
        require(self.threads is None or self.threads >= 1, f"threads={self.threads}: at least one is needed")
        require(self.batch >= 1, f"batch={self.batch}: at least one image is needed")
        require(self.device == "cpu" or torch.cuda.is_available(), "device=cuda: torch sees no GPU here; use cpu")


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency in milliseconds for one image."""

    median_ms: float
    fastest_ms: float
    """Fastest time. On a CPU, time spent waiting for a core is left out, since a machine may be busy throughout."""

    @property
    def is_disturbed(self) -> bool:
        """Tell whether other work on the machine seems to have disturbed the measurement."""
        return self.median_ms > DISTURBED * self.fastest_ms


@torch.no_grad()
def latencies(
    models: Mapping[str, nn.Module],
    resolution: int | Mapping[str, int],
    *,
    repeats: int,
    device: str = "cpu",
    batch: int = 1,
) -> dict[str, Latency]:
    """Measure each model on RGB images of `resolution` pixels (one for all models, or one each), fp32, channels last.

    The models take turns, so that other load on the machine affects all of them alike. On a CPU they are made fast
    first, as in training, and stay so.
    """
    sides = dict.fromkeys(models, resolution) if isinstance(resolution, int) else resolution
    images = {
        side: torch.rand(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
        for side in sorted(set(sides.values()))
    }
    if device == "cpu":
        for model in models.values():
            optimize(model)
    ready = {
        name: model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in ready}
    alone: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(WARMUPS + repeats):
        for name, model in ready.items():
            started, computed = _now(device)
            model(images[sides[name]])
            ended, computed_then = _now(device)
            if turn >= WARMUPS:
                times[name].append(1000 * (ended - started) / batch)
                alone[name].append(1000 * (computed_then - computed) / batch)
    return {name: Latency(statistics.median(times[name]), min(times[name] + alone[name])) for name in ready}


def _now(device: str) -> tuple[float, float]:
    """Return the seconds of the clock, and of this thread's CPU time, once the device has finished its work.

    For a GPU both are the clock's: its thread may use no CPU time.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter(), time.perf_counter()
    return time.perf_counter(), time.thread_time()


def enliven(model: nn.Module) -> nn.Module:
    """Give convolutions and linear layers weights that keep activations near 1, as trained ones do.

    Small initial weights, as in transformers, let activations fade to denormal numbers. A CPU then takes ten times as
    long.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model
