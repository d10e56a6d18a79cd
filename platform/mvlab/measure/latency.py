"""Inference time on the machine at hand."""

import statistics
import time
from collections.abc import Mapping

import torch
from torch import nn

WARMUPS = 5


@torch.no_grad()
def latencies_ms(models: Mapping[str, nn.Module], resolution: int, *, repeats: int) -> dict[str, float]:
    """Median milliseconds for one RGB image of `resolution` pixels, on the CPU, fp32, channels last.

    The models take turns, so that whatever else the machine does falls on all of them alike.
    """
    image = torch.rand(1, 3, resolution, resolution).to(memory_format=torch.channels_last)
    ready = {name: model.eval().to(memory_format=torch.channels_last) for name, model in models.items()}  # type: ignore[call-overload]
    times: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(WARMUPS + repeats):
        for name, model in ready.items():
            started = time.perf_counter()
            model(image)
            if turn >= WARMUPS:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}
