"""Detectors and segmenters that the paper compares with (Tables 1, 2, 10 and 12), built from libraries' parts."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large  # type: ignore[import-untyped]
from torchvision.models.detection import ssd300_vgg16  # type: ignore[import-untyped]
from torchvision.models.detection.ssdlite import SSDLiteHead  # type: ignore[import-untyped]
from torchvision.models.feature_extraction import create_feature_extractor  # type: ignore[import-untyped]
from torchvision.models.segmentation import (  # type: ignore[import-untyped]
    FCN,
    deeplabv3_mobilenet_v3_large,
    lraspp_mobilenet_v3_large,
)
from torchvision.models.segmentation.deeplabv3 import ASPP  # type: ignore[import-untyped]
from torchvision.models.segmentation.fcn import FCNHead  # type: ignore[import-untyped]
from torchvision.ops import Conv2dNormActivation  # type: ignore[import-untyped]

from mvlab.models.backbones.timm_networks import timm_cnn, timm_features
from mvlab.networks import ReferenceConfig, ReferenceName

MOBILENETV3_CHANNELS = 960
"""Channels of the last map of MobileNetv3-Large."""
SSDLITE_EXTRA_CHANNELS = (512, 256, 256, 128)
"""Channels of the maps after the backbone's two (Liu et al., 2016; Sandler et al., 2018)."""
SSDLITE_ANCHORS = (3, 6, 6, 6, 6, 6)
"""Anchors per cell of each map."""
OUTPUT_STRIDE = 16
RATES = (6, 12, 18)
"""Dilation rates of DeepLabv3's pyramid at that stride (Chen et al., 2017)."""
CHANNELS = 256
"""Channels of each branch of the pyramid."""


NOTHING = {"weights": None, "weights_backbone": None}
"""Arguments for no downloads of weights."""

BUILDERS: dict[ReferenceName, Callable[[int], nn.Module]] = {
    "ssdlite_mobilenet_v1": lambda classes: SSDLiteOnCNN(
        timm_cnn("mobilenetv1_100"), {"blocks.3": 512, "blocks.4": 1024}, classes
    ),
    "ssdlite_mobilenet_v2": lambda classes: SSDLiteOnCNN(
        mobilenet_v2(), {"features.14.conv.0": 576, "features.18": 1280}, classes
    ),
    "ssdlite_mobilenet_v3_large": lambda classes: SSDLiteOnCNN(
        mobilenet_v3_large(), {"features.13.block.0": 672, "features.16": MOBILENETV3_CHANNELS}, classes
    ),
    "ssdlite_mixnet_s": lambda classes: SSDLiteOnCNN(
        timm_cnn("mixnet_s"), {"blocks.5.0.bn1": 720, "bn2": 1536}, classes
    ),
    "ssdlite_mixnet_m": lambda classes: SSDLiteOnCNN(
        timm_cnn("mixnet_m"), {"blocks.5.0.bn1": 720, "bn2": 1536}, classes
    ),
    "ssdlite_mnasnet_a1": lambda classes: SSDLiteOnCNN(
        timm_cnn("semnasnet_100"), {"blocks.5.0.bn1": 672, "bn2": 1280}, classes
    ),
    "ssdlite_mnasnet_b1": lambda classes: SSDLiteOnCNN(
        timm_cnn("mnasnet_100"), {"blocks.5.0.bn1": 576, "bn2": 1280}, classes
    ),
    "ssd300_vgg16": lambda classes: ssd300_vgg16(**NOTHING, num_classes=classes + 1),
    "lraspp_mobilenet_v3_large": lambda classes: lraspp_mobilenet_v3_large(**NOTHING, num_classes=classes),
    "fcn_mobilenet_v3_large": lambda classes: FCN(
        create_feature_extractor(mobilenet_v3_large(dilated=True), {"features": "out"}),
        FCNHead(MOBILENETV3_CHANNELS, classes),
    ),
    "deeplabv3_mobilenet_v3_large": lambda classes: deeplabv3_mobilenet_v3_large(**NOTHING, num_classes=classes),
    "deeplabv3_mobilenet_v1": lambda classes: DeepLabv3OnCNN("mobilenetv1_100", classes),
    "deeplabv3_mobilenet_v2": lambda classes: DeepLabv3OnCNN("mobilenetv2_100", classes),
    "deeplabv3_resnet101": lambda classes: DeepLabv3OnCNN("resnet101s", classes),
}


def build_reference(config: ReferenceConfig, num_classes: int) -> nn.Module:
    """Build with random weights, for `num_classes`. For a detector, these do not count the background."""
    return BUILDERS[config.name](num_classes)


class SSDLiteOnCNN(nn.Module):
    """Images (B, 3, H, W) -> box offsets (B, N, 4) and class logits (B, N, classes + 1), by torchvision's head.

    It reads the CNN at strides 16 and 32, in an inverted residual where it is widest. `maps` names modules, each with
    its channels.
    """

    def __init__(self, cnn: nn.Module, maps: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.backbone = create_feature_extractor(cnn, list(maps))
        *_, last = maps.values()
        self.extra = nn.ModuleList(_halving(*pair) for pair in pairwise((last, *SSDLITE_EXTRA_CHANNELS)))
        channels = [*maps.values(), *SSDLITE_EXTRA_CHANNELS]
        self.head = SSDLiteHead(channels, list(SSDLITE_ANCHORS), num_classes + 1, nn.BatchNorm2d)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        maps = list(self.backbone(images_BCHW).values())
        for smaller in self.extra:
            maps.append(smaller(maps[-1]))
        predicted = self.head(maps)
        return predicted["bbox_regression"], predicted["cls_logits"]


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build an extra layer: to half the channels, to half the size, to `out_channels`."""
    hidden = out_channels // 2
    return nn.Sequential(
        Conv2dNormActivation(in_channels, hidden, 1, activation_layer=nn.ReLU6),
        Conv2dNormActivation(hidden, hidden, 3, stride=2, groups=hidden, activation_layer=nn.ReLU6),
        Conv2dNormActivation(hidden, out_channels, 1, activation_layer=nn.ReLU6),
    )


class DeepLabv3OnCNN(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes, H / 16, W / 16), as DeepLab's authors build it.

    It has timm's CNN, torchvision's pyramid, and a 1x1 convolution without the 3x3 one that torchvision puts before it.
    """

    def __init__(self, backbone: str, num_classes: int) -> None:
        super().__init__()
        self.backbone, channels = timm_features(backbone, output_stride=OUTPUT_STRIDE)
        self.aspp = ASPP(channels, list(RATES), CHANNELS)
        self.classifier = nn.Conv2d(CHANNELS, num_classes, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        (last,) = self.backbone(images_BCHW)
        logits: Tensor = self.classifier(self.aspp(last))
        return logits
