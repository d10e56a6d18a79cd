"""SSDLite (section 4.2.1): SSD (arXiv 1512.02325) with separable convolutions, and its priors.

Shapes: B batch, C channels, H W pixels, N priors of an image.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mvlab.models.backbones.layers import ConvNormAct
from mvlab.models.heads.detector import Detector, Predictions
from mvlab.models.heads.priors import shapes_of, tile
from mvlab.networks import SSDLiteConfig

READ_AT = (16, 32)
"""Output strides of the backbone's maps that heads read."""
EXTRA_CHANNELS = (256, 128, 128, 64)
"""Channels of the maps after the backbone's two. Each map is half as large as the one before; the last is a single
cell."""
HEAD_CHANNELS = (512, 256, 256, 128, 128, 64)
"""Input channels of each map's head. A map with other channels is projected."""
ASPECT_RATIOS = ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2,))
"""Aspect ratios, width to height, of each map's priors. The inverse of each, and two squares, are added."""
SCALES = torch.linspace(0.1, 1.05, len(ASPECT_RATIOS) + 1, dtype=torch.float64, device="cpu").tolist()
"""Side of each map's smaller square, as a share of the image's; the larger one is halfway to the next map's."""
BOX = 4


class SSDLite(Detector):
    """Detector with the priors of `priors(H, W)`. `num_classes` does not count the background."""

    def __init__(self, config: SSDLiteConfig, num_classes: int) -> None:
        super().__init__()
        self.backbone = config.backbone.build_backbone()
        self.backbone.require_strides(READ_AT, "SSDLite")
        channels = [self.backbone.channels[stride] for stride in READ_AT] + [*EXTRA_CHANNELS]
        halving = [
            Separable(before, ConvNormAct(before, after, 1, act=nn.ReLU), stride=2)
            for before, after in pairwise(channels[1:-1])
        ]
        single_cell = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels[-2], channels[-1], 1, bias=False), nn.ReLU()
        )
        self.extra = nn.ModuleList([*halving, single_cell])
        self.heads = nn.ModuleList(
            Head(have, want, priors_per_cell(ratios), BOX + 1 + num_classes, separable=want != EXTRA_CHANNELS[-1])
            for have, want, ratios in zip(channels, HEAD_CHANNELS, ASPECT_RATIOS, strict=True)
        )
        self.extra.apply(_initialise)
        self.heads.apply(_initialise)

    def forward(self, images_BCHW: Tensor) -> Predictions:
        features = self.backbone.features(images_BCHW)
        maps = [features[stride] for stride in READ_AT]
        for smaller in self.extra:
            maps.append(smaller(maps[-1]))
        predicted = torch.cat([head(x_BCHW) for head, x_BCHW in zip(self.heads, maps, strict=True)], dim=1)
        return predicted[..., :BOX], predicted[..., BOX:]

    def priors(self, height: int, width: int) -> Tensor:
        return priors(height, width)


class Separable(nn.Sequential):
    """Depthwise 3x3 convolution with BatchNorm, then `pointwise`."""

    def __init__(self, channels: int, pointwise: nn.Module, *, stride: int = 1) -> None:
        super().__init__(ConvNormAct(channels, channels, 3, stride=stride, groups=channels, act=None), pointwise)


class Head(nn.Module):
    """A map (B, C, H, W) -> the predictions for its priors (B, priors, values)."""

    def __init__(self, have: int, want: int, num_priors: int, num_values: int, *, separable: bool) -> None:
        super().__init__()
        self.num_values = num_values
        self.project = ConvNormAct(have, want, 1, act=nn.ReLU) if have != want else nn.Identity()
        predict = nn.Conv2d(want, num_priors * num_values, 1)
        self.predict = Separable(want, predict) if separable else predict

    def forward(self, x_BCHW: Tensor) -> Tensor:
        predicted_BHWC: Tensor = self.predict(self.project(x_BCHW)).permute(0, 2, 3, 1)
        return predicted_BHWC.reshape(x_BCHW.shape[0], -1, self.num_values)


def priors_per_cell(ratios: tuple[int, ...]) -> int:
    return 2 + 2 * len(ratios)


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of the maps of an image of this size: 20, 10, 5, 3, 2 and 1 at 320 pixels."""
    strides = [16 * 2**index for index in range(len(ASPECT_RATIOS) - 1)]
    return [(-(-height // stride), -(-width // stride)) for stride in strides] + [(1, 1)]


def priors(height: int, width: int) -> Tensor:
    """Return (N, 4): centre x and y, width and height of each prior, as shares of the image, clipped to [0, 1]."""
    boxes = [
        tile(shapes_of(*scales, ratios), cells, cells)
        for cells, scales, ratios in zip(map_sizes(height, width), pairwise(SCALES), ASPECT_RATIOS, strict=True)
    ]
    return torch.cat(boxes).float().clamp(0, 1)


def _initialise(module: nn.Module) -> None:
    """Initialise as the release does."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
