"""From a network as a value to the network itself."""

from typing import assert_never

from torch import nn

from mvlab.models.backbones.mobilevit import MobileViT
from mvlab.models.heads.deeplabv3 import DeepLabv3
from mvlab.models.heads.ssdlite import SSDLite
from mvlab.networks import (
    AnyNetworkConfig,
    DeepLabv3Config,
    MobileViTConfig,
    SSDLiteConfig,
    TimmConfig,
    TimmName,
    TorchvisionConfig,
    TorchvisionName,
)

NAMES: dict[TorchvisionName | TimmName, str] = {
    "mobilenetv1_100": "MobileNetv1",
    "mobilenet_v2": "MobileNetv2",
    "mobilenet_v3_small": "MobileNetv3-Small",
    "mobilenet_v3_large": "MobileNetv3-Large",
    "shufflenet_v2": "ShuffleNetv2",
    "mnasnet": "MNASNet",
    "mixnet_s": "MixNet-S",
    "mixnet_m": "MixNet-M",
    "mixnet_l": "MixNet-L",
    "efficientnet_b0": "EfficientNet-B0",
    "densenet169": "DenseNet-169",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "seresnet101": "ResNet-101-SE",
    "deit_tiny_patch16_224": "DeiT-Ti",
    "pit_ti_224": "PiT-Ti",
    "pit_xs_224": "PiT-XS",
    "cait_xxs24_224": "CaiT-XXS-24",
    "convit_tiny": "ConViT-Ti",
    "crossvit_tiny_240": "CrossViT-Ti",
    "crossvit_9_240": "CrossViT-9",
}
"""As the paper writes them (Tables 1 to 3, Figures 6 and 7), and their own papers where it leaves the size out."""
NAMED_WITH_WIDTH = ("MobileNetv1", "MobileNetv2", "ShuffleNetv2")
"""Whose authors write the width behind the name, also where it is 1."""


def build_network(config: AnyNetworkConfig, num_classes: int) -> nn.Module:
    """The network, with random weights. Nothing is downloaded.

    The background is none of a detector's classes, and one of a segmenter's.
    """
    match config:
        case MobileViTConfig():
            return MobileViT(config, num_classes)
        case SSDLiteConfig():
            return SSDLite(config, num_classes)
        case DeepLabv3Config():
            return DeepLabv3(config, num_classes)
        case TorchvisionConfig():
            from mvlab.models.backbones.torchvision_networks import build_torchvision  # seconds to import

            return build_torchvision(config, num_classes)
        case TimmConfig():
            from mvlab.models.backbones.timm_networks import build_timm  # seconds to import

            return build_timm(config, num_classes)
        case _:
            assert_never(config)


def network_name(config: AnyNetworkConfig) -> str:
    """As the paper writes it: "MobileViT-XXS", "MobileNetv2-1.0", "ResNet-50"."""
    match config:
        case MobileViTConfig():
            return f"MobileViT-{config.widths.name.upper()}"
        case SSDLiteConfig():
            return f"SSDLite-{network_name(config.backbone)}"
        case DeepLabv3Config():
            return f"DeepLabv3-{network_name(config.backbone)}"
        case TorchvisionConfig() | TimmConfig():
            name = NAMES[config.name]
            if name in NAMED_WITH_WIDTH:
                return f"{name}-{config.width}"
            return name if config.width == 1 else f"{name} x{config.width}"
        case _:
            assert_never(config)
