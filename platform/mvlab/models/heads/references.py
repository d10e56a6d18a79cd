"""Segmenters that the paper compares with (Tables 2, 10 and 12), built from libraries' parts."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large  # type: ignore[import-untyped]
from torchvision.models.feature_extraction import create_feature_extractor  # type: ignore[import-untyped]
from torchvision.models.segmentation import (  # type: ignore[import-untyped]
    FCN,
    deeplabv3_mobilenet_v3_large,
    lraspp_mobilenet_v3_large,
)
from torchvision.models.segmentation.deeplabv3 import ASPP  # type: ignore[import-untyped]
from torchvision.models.segmentation.fcn import FCNHead  # type: ignore[import-untyped]

from mvlab.models.backbones.timm_networks import timm_features
from mvlab.networks import ReferenceConfig

MOBILENETV3_CHANNELS = 960
"""Channels of the last map of MobileNetv3-Large."""
OUTPUT_STRIDE = 16
RATES = (6, 12, 18)
"""Dilation rates of DeepLabv3's pyramid at that stride (Chen et al., 2017)."""
CHANNELS = 256
"""Channels of each branch of the pyramid."""


NOTHING = {"weights": None, "weights_backbone": None}
"""Arguments for no downloads of weights."""

BUILDERS: dict[str, Callable[[int], nn.Module]] = {
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


def build_segmenter(config: ReferenceConfig, num_classes: int) -> nn.Module:
    """Build with random weights, for `num_classes`, which count the background.

    Raises:
        KeyError: the network is a detector.
    """
    return BUILDERS[config.name](num_classes)


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
