"""The detectors of Table 1's rivals: SSDLite on CNNs (Sandler et al., 2018), and SSD300.

Shapes: B batch, C channels, H W pixels, N priors of an image.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large  # type: ignore[import-untyped]
from torchvision.models.detection.ssdlite import SSDLiteHead  # type: ignore[import-untyped]
from torchvision.ops import Conv2dNormActivation  # type: ignore[import-untyped]

from mvlab.models.backbones.base import CutBackbone
from mvlab.models.backbones.timm_networks import mixconv_mobilenet_v2, mnasnet_a1, mobilenet_v1
from mvlab.models.heads.detector import Detector, Predictions
from mvlab.models.heads.priors import Shape, shapes_of, tile
from mvlab.models.heads.ssd300 import SSD300, ssd300_resnet50, ssd300_vgg16
from mvlab.models.norms import with_quick_averages
from mvlab.networks import ReferenceConfig

EXTRA_CHANNELS = (512, 256, 256, 128)
"""Channels of the maps after the backbone's two."""
STRIDES = (16, 32, 64, 128, 256, 512)
"""Output stride of each map."""
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
"""Side of each map's smaller square, as a share of the image's; the larger one is halfway to the next map's."""
FINEST: list[Shape] = [(0.1, 0.1), *shapes_of(*SCALES[:2], (2,))[2:]]
"""Shapes of the first map's priors: a smaller square, and the ratios 2 and 1/2."""
SHAPES: list[list[Shape]] = [FINEST, *(shapes_of(*pair, (2, 3)) for pair in pairwise(SCALES[1:]))]
"""Shapes of each map's priors, those of TensorFlow's SSDLite by MobileNetv2's authors."""


def build_detector(config: ReferenceConfig, num_classes: int) -> Detector:
    """Build with random weights, for `num_classes`, which leaves out the background.

    Raises:
        KeyError: the network is a segmenter.
    """
    if config.name in SSD300S:
        return SSD300S[config.name](config.width, num_classes)
    return with_quick_averages(SSDLiteOnCNN(SSDLITES[config.name](config.width), config.width, num_classes))


class SSDLiteOnCNN(Detector):
    """SSDLite as MobileNetv2's authors build it, by torchvision's head. `num_classes` leaves out the background.

    It reads the CNN at strides 16 and 32, in an inverted residual where it is widest. The CNN is cut there.
    torchvision's feature extractor would trace it, and in a traced network `synchronise` does not find timm's norms.
    """

    def __init__(self, backbone: CutBackbone, width: float, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        extra = [max(16, int(channels * width)) for channels in EXTRA_CHANNELS]
        channels = [*backbone.channels.values(), *extra]
        self.extra = nn.ModuleList(_halving(*pair) for pair in pairwise(channels[1:]))
        self.head = SSDLiteHead(channels, list(map(len, SHAPES)), num_classes + 1, nn.BatchNorm2d)
        self.extra.apply(_initialise)

    def forward(self, images_BCHW: Tensor) -> Predictions:
        maps = [*self.backbone.features(images_BCHW).values()]
        for smaller in self.extra:
            maps.append(smaller(maps[-1]))
        predicted = self.head(maps)
        return predicted["bbox_regression"], predicted["cls_logits"]

    def priors(self, height: int, width: int) -> Tensor:
        return priors(height, width)


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of the maps of an image of this size: 20, 10, 5, 3, 2 and 1 at 320 pixels."""
    return [(-(-height // stride), -(-width // stride)) for stride in STRIDES]


def priors(height: int, width: int) -> Tensor:
    """Return (N, 4): centre x and y, width and height of each prior, as shares of the image, clipped to [0, 1]."""
    boxes = [tile(shapes, cells, cells) for shapes, cells in zip(SHAPES, map_sizes(height, width), strict=True)]
    return torch.cat(boxes).float().clamp(0, 1)


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build an extra layer: to half the channels, to half the size, to `out_channels`."""
    hidden = out_channels // 2
    return nn.Sequential(
        Conv2dNormActivation(in_channels, hidden, 1, activation_layer=nn.ReLU6),
        Conv2dNormActivation(hidden, hidden, 3, stride=2, groups=hidden, activation_layer=nn.ReLU6),
        Conv2dNormActivation(hidden, out_channels, 1, activation_layer=nn.ReLU6),
    )


def _initialise(module: nn.Module) -> None:
    """Initialise as torchvision's SSDLite and its authors' do."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.03)


def _cut_mobilenet_v1(cnn: Any) -> CutBackbone:
    """Cut timm's MobileNetv1, which has no inverted residuals."""
    return CutBackbone(cnn, {16: nn.Sequential(cnn.conv_stem, cnn.bn1, *cnn.blocks[:4]), 32: cnn.blocks[4]})


def _cut_timm(cnn: Any) -> CutBackbone:
    """Cut timm's MobileNetv2 or MNASNet after the first convolution of the stage with stride 32.

    They are MixConv's and MNASNet-A1, which this platform does not train as classifiers.
    """
    expand, norm, *others = cnn.blocks[5][0].children()
    first = nn.Sequential(cnn.conv_stem, cnn.bn1, *cnn.blocks[:5], expand, norm)
    last = nn.Sequential(*others, *cnn.blocks[5][1:], *cnn.blocks[6:], cnn.conv_head, cnn.bn2)
    return CutBackbone(cnn, {16: first, 32: last}, has_classifier=False)


def _cut_torchvision(cnn: Any, at: int) -> CutBackbone:
    """Cut torchvision's MobileNet after the first convolution of the inverted residual `at`, as torchvision does."""
    features = cnn.features
    expand, *others = next(iter(features[at].children()))
    first, last = nn.Sequential(*features[:at], expand), nn.Sequential(*others, *features[at + 1 :])
    return CutBackbone(cnn, {16: first, 32: last})


SSDLITES: dict[str, Callable[[float], CutBackbone]] = {
    "ssdlite_mobilenet_v1": lambda width: _cut_mobilenet_v1(mobilenet_v1(width)),
    "ssdlite_mobilenet_v2": lambda width: _cut_torchvision(mobilenet_v2(width_mult=width), 14),
    "ssdlite_mobilenet_v3_large": lambda width: _cut_torchvision(mobilenet_v3_large(width_mult=width), 13),
    "ssdlite_mobilenet_v2_mixconv": lambda width: _cut_timm(mixconv_mobilenet_v2(width)),
    "ssdlite_mnasnet_a1": lambda width: _cut_timm(mnasnet_a1(width)),
}
SSD300S: dict[str, Callable[[float, int], SSD300]] = {"ssd300_vgg16": ssd300_vgg16, "ssd300_resnet50": ssd300_resnet50}
