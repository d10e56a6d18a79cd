"""The CNNs of Table 5, as torchvision has them.

The release trains ResNets of its own, with a 3x3 stem and a depthwise convolution in place of max pooling. The
paper compares with PyTorch's ResNet-50 and says nothing of changes to it, so ours is PyTorch's.
"""

from torch import nn
from torchvision.models import mobilenet_v2, resnet50  # type: ignore[import-untyped]

from mvlab.networks import TorchvisionConfig

RESNET_WIDTH = 64
"""Inner channels of ResNet-50's first bottleneck."""


def build_torchvision(config: TorchvisionConfig, num_classes: int) -> nn.Module:
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes), with torchvision's own random initialisation."""
    match config.name:
        case "mobilenet_v2":
            network: nn.Module = mobilenet_v2(num_classes=num_classes, width_mult=config.width)
        case "resnet50":
            network = resnet50(num_classes=num_classes, width_per_group=int(RESNET_WIDTH * config.width))
    return network
