"""CNNs of Tables 1, 2, 5 and Figure 6 that torchvision has.

The release trains ResNets of its own, with a 3x3 stem and a depthwise convolution in place of max pooling. The paper
compares with PyTorch's ResNet-50 and mentions no changes to it, so ours is PyTorch's.
"""

from functools import partial
from typing import Any

from torch import nn
from torchvision.models import (  # type: ignore[import-untyped]
    DenseNet,
    EfficientNet,
    MNASNet,
    ShuffleNetV2,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_small,
    resnet50,
    resnet101,
)
from torchvision.models.efficientnet import MBConvConfig  # type: ignore[import-untyped]

from mvlab.models.backbones.base import Backbone, StagedBackbone
from mvlab.models.norms import with_quick_averages
from mvlab.networks import TorchvisionConfig, TorchvisionName

RESNET_WIDTH = 64
"""Inner channels of a ResNet's first bottleneck."""
SHUFFLENET_CHANNELS = {0.5: 48, 1.0: 116, 1.5: 176, 2.0: 244}
"""Channels of the first stage, by width (Ma et al., 2018, Table 5); each stage after it has twice as many."""


RESNET_PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
PARTS: dict[TorchvisionName, tuple[str, ...]] = {
    "shufflenet_v2": ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
    "mnasnet": ("layers",),
    "resnet50": RESNET_PARTS,
    "resnet101": RESNET_PARTS,
}
"""Modules that make a backbone's maps, in order. For all other networks it is `features`."""


def build_torchvision(config: TorchvisionConfig, num_classes: int, *, output_stride: int = 32) -> nn.Module:
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes), with torchvision's own random initialisation.

    At a smaller output stride the last stages are dilated, which changes no parameter.

    Raises:
        ValueError: torchvision has no option for it.
    """
    width = config.width
    dilated = _dilated(config.name, output_stride)
    match config.name:
        case "mobilenet_v2":
            network: nn.Module = mobilenet_v2(num_classes=num_classes, width_mult=width)
        case "mobilenet_v3_small":
            network = mobilenet_v3_small(num_classes=num_classes, width_mult=width, **dilated)
        case "mobilenet_v3_large":
            network = mobilenet_v3_large(num_classes=num_classes, width_mult=width, **dilated)
        case "shufflenet_v2":
            network = _shufflenet(width, num_classes)
        case "mnasnet":
            network = MNASNet(width, num_classes)
        case "efficientnet_b0":
            network = _efficientnet_b0(width, num_classes)
        case "densenet169":
            network = DenseNet(
                growth_rate=int(32 * width),
                block_config=(6, 12, 32, 32),
                num_init_features=int(64 * width),
                num_classes=num_classes,
            )
        case "resnet50":
            network = resnet50(num_classes=num_classes, width_per_group=int(RESNET_WIDTH * width), **dilated)
        case "resnet101":
            network = resnet101(num_classes=num_classes, width_per_group=int(RESNET_WIDTH * width), **dilated)
    return with_quick_averages(network)


def torchvision_backbone(config: TorchvisionConfig, *, output_stride: int) -> Backbone:
    """Return the CNN's maps, with torchvision's own random initialisation.

    Raises:
        ValueError: torchvision has no option for a last map at this output stride.
    """
    classifier: Any = build_torchvision(config, 1, output_stride=output_stride)
    if config.name == "densenet169":
        classifier.features.add_module("relu5", nn.ReLU())  # a function in torchvision's classifier
    return StagedBackbone(classifier, PARTS.get(config.name, ("features",)))


def _dilated(name: TorchvisionName, output_stride: int) -> dict[str, Any]:
    """Return torchvision's options for maps at an output stride."""
    if output_stride == 32:
        return {}
    if name.startswith("resnet") and output_stride in (8, 16):
        return {"replace_stride_with_dilation": [False, output_stride == 8, True]}
    if name.startswith("mobilenet_v3") and output_stride == 16:
        return {"dilated": True}
    raise ValueError(
        f"torchvision's {name} cannot be dilated to an output stride of {output_stride}: its ResNets can to 16 and 8, "
        "its MobileNetv3 to 16"
    )


def _shufflenet(width: float, num_classes: int) -> nn.Module:
    """Build a ShuffleNetv2 of a published width, or of another in proportion. A unit splits channels in two, so they
    are even."""
    first = SHUFFLENET_CHANNELS.get(width, 2 * round(SHUFFLENET_CHANNELS[1.0] / 2 * width))
    channels = [24, first, 2 * first, 4 * first, 2048 if width >= 2 else 1024]
    network: nn.Module = ShuffleNetV2([4, 8, 4], channels, num_classes)
    return network


def _efficientnet_b0(width: float, num_classes: int) -> nn.Module:
    """Tan & Le (2019a), Table 1: expansion, kernel, stride, channels in and out, layers."""
    stage = partial(MBConvConfig, width_mult=width, depth_mult=1.0)
    stages = [
        stage(1, 3, 1, 32, 16, 1),
        stage(6, 3, 2, 16, 24, 2),
        stage(6, 5, 2, 24, 40, 2),
        stage(6, 3, 2, 40, 80, 3),
        stage(6, 5, 1, 80, 112, 3),
        stage(6, 5, 2, 112, 192, 4),
        stage(6, 3, 1, 192, 320, 1),
    ]
    network: nn.Module = EfficientNet(stages, dropout=0.2, num_classes=num_classes)
    return network
