"""Plausible weights and images, untrained and synthetic, to convert and run networks with."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 32
"""Number of images for statistics. For a map of one pixel, these are all its samples."""
BRANCH = 0.3
"""Factor of the scale of the last norm in a ResNet's residual branch. It brings the branch nearer to the identity, as
training leaves it (or begins with it: Goyal et al. 2017, 5.1). Without it, a hundred layers amplify the first rounding
errors to noise."""
CELLS = (2, 5, 11, 23, 47, 95)
"""Number of clouds along either side of an image, for each size of clouds."""


def clouds(count: int, height: int, width: int, *, seed: int) -> Tensor:
    """Return coloured clouds with some noise, float32 (count, 3, height, width) in [0, 1]; no two channels are alike.

    As in photographs, neighbouring pixels have much in common, and there is detail of every size. Deep networks with
    the statistics of noise explode over photographs. In smooth images, edges drown in fp16's rounding errors.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = sum(
        F.interpolate(torch.randn(count, 3, cells, cells, generator=generator), (height, width), mode="bilinear")
        for cells in CELLS
    )
    noise = torch.randn(count, 3, height, width, generator=generator)
    tint = torch.randn(count, 3, 1, 1, generator=generator)
    return torch.sigmoid(tint + 0.8 * shapes + 0.6 * noise)


@torch.no_grad()
def plausible(model: nn.Module, side: int, *, seed: int = 0) -> nn.Module:
    """Give the model random weights, and the normalisation statistics of its activations with these weights.

    Both differ from their initial values as much as those of a trained model. The values that it computes from `clouds`
    of `side` pixels neither grow nor fade from layer to layer.

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
            module.bias.normal_(0.2, 0.2, generator=generator)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # average over all batches: there is only the one below
                module.reset_running_stats()
    for norm in _last_norms_of_branches(model):
        norm.weight.mul_(BRANCH)
    model.train()(clouds(BATCH, side, side, seed=seed + 1))
    return model.eval()


def _last_norms_of_branches(model: nn.Module) -> Iterator[nn.BatchNorm2d]:
    """Yield the last norm of each residual block in torchvision's and timm's ResNets."""
    for block in model.modules():
        if hasattr(block, "downsample"):
            yield [each for each in block.children() if isinstance(each, nn.BatchNorm2d)][-1]
