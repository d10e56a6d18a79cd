"""From a network as a value to the network itself."""

from typing import assert_never

from torch import nn

from mvlab.models.mobilevit import MobileViT
from mvlab.networks import MobileViTConfig, NetworkConfig, TorchvisionConfig


def build_network(config: NetworkConfig, num_classes: int) -> nn.Module:
    """The network, with random weights. Nothing is downloaded."""
    match config:
        case MobileViTConfig():
            return MobileViT(config, num_classes)
        case TorchvisionConfig():
            from mvlab.models.torchvision_networks import build_torchvision  # seconds to import

            return build_torchvision(config, num_classes)
        case _:
            assert_never(config)


def network_name(config: NetworkConfig) -> str:
    """As the paper writes it: "MobileViT-XXS", "MobileNetv2-1.0", "ResNet-50"."""
    match config:
        case MobileViTConfig():
            return f"MobileViT-{config.widths.name.upper()}"
        case TorchvisionConfig():
            if config.name == "mobilenet_v2":
                return f"MobileNetv2-{config.width}"
            return "ResNet-50" if config.width == 1 else f"ResNet-50 x{config.width}"
        case _:
            assert_never(config)
