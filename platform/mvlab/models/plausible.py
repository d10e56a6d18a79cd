"""Weights for networks that nobody trained, to convert and run them with."""

import torch
from torch import nn

BATCH = 8


@torch.no_grad()
def plausible(model: nn.Module, side: int, *, seed: int = 0) -> nn.Module:
    """Gives the model random weights, and statistics of what it sees then, as unlike their initial values as those of a
    trained one, such that what it computes from images of `side` pixels neither grows nor fades on its way.

    Returns:
        The model, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = 1.4 if isinstance(module, nn.Conv2d) else 1.0
            module.weight.normal_(std=gain * module.weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(std=0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(std=0.2, generator=generator)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the average over all batches: of the one that follows
                module.reset_running_stats()
    model.train()(torch.rand(BATCH, 3, side, side, generator=generator))
    return model.eval()
