"""Exponential moving average of a model's whole state (section 4.1; Table 7)."""

import copy

import torch
from torch import nn


class Ema:
    """`module` follows a model: ema = decay * ema + (1 - decay) * model, statistics of BatchNorm included."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One optimizer update further."""
        averaged, latest = [], []
        for ema, new in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
            if ema.is_floating_point():
                averaged.append(ema)
                latest.append(new)
            else:
                ema.copy_(new)  # BatchNorm's count of batches
        torch._foreach_lerp_(averaged, latest, 1 - self.decay)
