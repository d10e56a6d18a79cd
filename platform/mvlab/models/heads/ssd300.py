"""SSD300 (Liu et al., 2016) with VGG16, as torchvision builds it, and with ResNet-50, as NVIDIA does.

Shapes: B batch, C channels, H W pixels, N priors of an image.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet50  # type: ignore[import-untyped]
from torchvision.models.detection.ssd import SSDHead  # type: ignore[import-untyped]
from torchvision.models.vgg import cfgs, make_layers  # type: ignore[import-untyped]

from mvlab.models.backbones.base import CutBackbone
from mvlab.models.heads.detector import Detector, Predictions
from mvlab.models.heads.priors import shapes_of, tile

STRIDES = (8, 16, 32, 64)
"""Output strides of the first maps. At 300 pixels they have 38, 19, 10 and 5 rows, the other two 3 and 1."""
ASPECT_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
"""Aspect ratios of each map's priors. The inverse of each, and two squares, are added."""
SCALES = tuple(pixels / 300 for pixels in (21, 45, 99, 153, 207, 261, 315))
"""Side of each map's smaller square, as a share of the image's; the larger one is halfway to the next map's."""
RESNET_WIDTH = 64
"""Inner channels of a ResNet's first bottleneck."""
VGG_SCALE = 20.0
"""Initial length of the vectors of VGG16's conv4_3, which are normalised."""
KERNEL = 3
Extra = tuple[int, int]
"""Channels of an extra layer: after its 1x1 and after its 3x3 convolution."""
VGG_EXTRAS: tuple[Extra, ...] = ((256, 512), (128, 256), (128, 256), (128, 256))
RESNET_EXTRAS: tuple[Extra, ...] = ((256, 512), (256, 512), (128, 256), (128, 256), (128, 256))


class SSD300(Detector):
    """Detector of a backbone's maps and those of `extras`, each of which makes a map of the one before.

    `num_classes` leaves out the background. Images may have any size from 64 pixels on: a stage of stride 2 rounds up.
    """

    def __init__(
        self,
        backbone: CutBackbone,
        extras: Sequence[nn.Module],
        rescale: nn.Module,
        channels: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.extras = nn.ModuleList(extras)
        self.rescale = rescale
        self.head = SSDHead(list(channels), [2 + 2 * len(ratios) for ratios in ASPECT_RATIOS], num_classes + 1)

    def forward(self, images_BCHW: Tensor) -> Predictions:
        maps = [*self.backbone.features(images_BCHW).values()]
        for smaller in self.extras:
            maps.append(smaller(maps[-1]))
        predicted = self.head([self.rescale(maps[0]), *maps[1:]])
        return predicted["bbox_regression"], predicted["cls_logits"]

    def priors(self, height: int, width: int) -> Tensor:
        return priors(height, width)


def ssd300_vgg16(width: float, num_classes: int) -> SSD300:
    """Build SSD300 with VGG16. `width` multiplies all channels.

    Poolings round up, as in Caffe, for which SSD was made. In torchvision's only the third does, which is the same at
    300 pixels.
    """
    layers = make_layers([each if each == "M" else _scaled(each, width) for each in cfgs["D"]], batch_norm=False)
    layers.apply(_initialise_vgg)
    poolings = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    for index in poolings:
        layers[index].ceil_mode = True
    conv4, conv7 = _scaled(512, width), _scaled(1024, width)
    fully_connected = _xavier(
        nn.MaxPool2d(KERNEL, stride=1, padding=1),
        nn.Conv2d(conv4, conv7, KERNEL, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        nn.Conv2d(conv7, conv7, 1),
        nn.ReLU(inplace=True),
    )
    extras, channels = _extras(conv7, VGG_EXTRAS, width, normalised=False)
    last = nn.Sequential(*layers[poolings[3] : poolings[4]], *fully_connected)
    backbone = CutBackbone(layers, {8: layers[: poolings[3]], 16: last}, has_classifier=False)
    return SSD300(backbone, extras, Rescale(conv4), [conv4, *channels], num_classes)


def ssd300_resnet50(width: float, num_classes: int) -> SSD300:
    """Build NVIDIA's SSD300 (DeepLearningExamples): ResNet-50 without conv5, and conv4 at stride 1.

    `width` multiplies the inner channels of bottlenecks and the channels of extra layers. Biases of the head begin at
    zero, as torchvision's.
    """
    network: Any = resnet50(width_per_group=int(RESNET_WIDTH * width))
    first = network.layer3[0]
    for convolution in (first.conv2, first.downsample[0]):
        convolution.stride = (1, 1)
    parts = (network.conv1, network.bn1, network.relu, network.maxpool, network.layer1, network.layer2, network.layer3)
    extras, channels = _extras(first.conv3.out_channels, RESNET_EXTRAS, width, normalised=True)
    return SSD300(CutBackbone(network, {8: nn.Sequential(*parts)}), extras, nn.Identity(), channels, num_classes)


class Rescale(nn.Module):
    """A map (B, C, H, W) with the vector of each pixel at a learnt length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), VGG_SCALE))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.normalize(x_BCHW) * self.scale[:, None, None]


class Unpadded(nn.Conv2d):
    """3x3 convolution without padding. A side with fewer cells than the kernel is padded, and keeps its size.

    That does not happen at 300 pixels. Below 257 it does.
    """

    def forward(self, input: Tensor) -> Tensor:
        padding = [int(side < KERNEL) for side in input.shape[2:]]
        return F.conv2d(input, self.weight, self.bias, padding=padding)


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of the maps of an image of this size: 38, 19, 10, 5, 3 and 1 at 300 pixels."""
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    for _ in ASPECT_RATIOS[len(STRIDES) :]:
        rows, columns = (side if side < KERNEL else side - KERNEL + 1 for side in sizes[-1])
        sizes.append((rows, columns))
    return sizes


def priors(height: int, width: int) -> Tensor:
    """Return (N, 4): centre x and y, width and height of each prior, as shares of the image, clipped to [0, 1].

    Cells of the first maps lie at multiples of their stride. Those of the last two share the image among them. At 300
    pixels these are SSD's steps of 8, 16, 32, 64, 100 and 300 pixels. Centres beyond the image are clipped as NVIDIA's
    are; torchvision's are not (at 300 pixels, 114 of 8,732).
    """
    sizes = map_sizes(height, width)
    spans = [(height / stride, width / stride) for stride in STRIDES] + [*sizes[len(STRIDES) :]]
    boxes = [
        tile(shapes_of(*scales, ratios), cells, span)
        for cells, span, scales, ratios in zip(sizes, spans, pairwise(SCALES), ASPECT_RATIOS, strict=True)
    ]
    return torch.cat(boxes).float().clamp(0, 1)


def _extras(
    before: int, extras: Sequence[Extra], width: float, *, normalised: bool
) -> tuple[list[nn.Module], list[int]]:
    """Build the extra layers, of which the last two are `Unpadded`; and return the channels before and after each."""
    layers: list[nn.Module] = []
    channels = [before]
    for index, extra in enumerate(extras):
        hidden, after = (_scaled(each, width) for each in extra)
        bias = not normalised
        if index < len(extras) - 2:
            spatial: nn.Conv2d = nn.Conv2d(hidden, after, KERNEL, stride=2, padding=1, bias=bias)
        else:
            spatial = Unpadded(hidden, after, KERNEL, bias=bias)
        parts = [nn.Conv2d(channels[-1], hidden, 1, bias=bias), nn.ReLU(inplace=True), spatial, nn.ReLU(inplace=True)]
        if normalised:
            parts = [*parts[:1], nn.BatchNorm2d(hidden), *parts[1:3], nn.BatchNorm2d(after), *parts[3:]]
        layers.append(_xavier(*parts))
        channels.append(after)
    return layers, channels


def _scaled(channels: int, width: float) -> int:
    return max(16, int(channels * width))


def _xavier(*layers: nn.Module) -> nn.Sequential:
    """Return the layers, initialised as torchvision's and NVIDIA's SSD are."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _initialise_vgg(layer: nn.Module) -> None:
    """Initialise as torchvision's VGG16 does."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
