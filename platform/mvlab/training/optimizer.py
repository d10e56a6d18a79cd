"""AdamW and its learning rate (section 4.1)."""

import math

from torch import nn
from torch.optim import AdamW

from mvlab.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW over all parameters, norms and biases decayed too, as in the release."""
    return AdamW(model.parameters(), lr=config.lr_start, betas=config.betas, weight_decay=config.weight_decay)


def learning_rate(update: int, num_updates: int, config: OptimizerConfig) -> float:
    """The rate of optimizer update `update` (from 0) of `num_updates`.

    Linear from `lr_start` to `lr_peak` over the warm-up, then cosine to `lr_end` at the last update.
    """
    warmup = config.warmup_updates
    if update < warmup:
        return config.lr_start + (config.lr_peak - config.lr_start) * update / warmup
    progress = (update - warmup) / max(1, num_updates - 1 - warmup)
    return config.lr_end + (config.lr_peak - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2
