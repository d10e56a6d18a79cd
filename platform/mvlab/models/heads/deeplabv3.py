"""DeepLabv3 (arXiv 1706.05587; section 4.2.2).

Shapes: B batch, C channels, H W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvlab.models.backbones.layers import ConvNormAct
from mvlab.models.backbones.mobilevit import initialise
from mvlab.networks import DeepLabv3Config


class DeepLabv3(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes, H, W), including the background's."""

    def __init__(self, config: DeepLabv3Config, num_classes: int) -> None:
        super().__init__()
        self.output_stride = config.output_stride
        self.backbone = config.backbone.build_backbone(output_stride=config.output_stride)
        self.backbone.require_strides([config.output_stride], "DeepLabv3")
        self.aspp = AtrousPyramid(self.backbone.channels[config.output_stride], config.channels, config.rates)
        self.dropout = nn.Sequential(nn.Dropout(config.dropout), nn.Dropout2d(config.dropout))
        self.classifier = nn.Conv2d(config.channels, num_classes, 1)
        self.aspp.apply(initialise)
        self.classifier.apply(initialise)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, images_BCHW: Tensor) -> Tensor:
        last = self.backbone.features(images_BCHW)[self.output_stride]
        logits = self.classifier(self.dropout(self.aspp(last)))
        return F.interpolate(logits, size=images_BCHW.shape[2:], mode="bilinear", align_corners=False)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling: a map (B, C, H, W) at several dilations, and its mean, fused."""

    def __init__(self, in_channels: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvNormAct(in_channels, channels, 1, act=nn.ReLU),
                *(ConvNormAct(in_channels, channels, 3, dilation=rate, act=nn.ReLU) for rate in rates),
            ]
        )
        self.pooled = ConvNormAct(in_channels, channels, 1, act=nn.ReLU)
        self.project = ConvNormAct((len(rates) + 2) * channels, channels, 1, act=nn.ReLU)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean = self.pooled(x_BCHW.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x_BCHW.shape[2:])
        fused: Tensor = self.project(torch.cat([*(branch(x_BCHW) for branch in self.branches), mean], dim=1))
        return fused
