"""Weights and statistics as unlike their defaults, and as like trained ones, as random ones can be."""

import torch
from torch import nn


@torch.no_grad()
def realistic(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """The model in evaluation mode; what it computes stays of the order of its input through all layers."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.2 * noise.abs())
        elif name.endswith("running_mean"):
            tensor.copy_(0.1 * noise)
        elif tensor.dim() == 1:
            tensor.copy_(("weight" in name) + 0.1 * noise)
        elif tensor.dim() == 2:
            tensor.copy_(noise / tensor.shape[1] ** 0.5)
        elif tensor.dim() == 4:
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
    return model.eval()
