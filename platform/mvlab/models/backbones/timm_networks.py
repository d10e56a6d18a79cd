"""Rivals that timm has. Only this module imports timm."""

from functools import partial
from typing import Any

import timm
from timm.layers.norm_act import convert_sync_batchnorm
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet, _gen_mnasnet_a1, _gen_mobilenet_v1
from torch import Tensor, nn

from mvlab.errors import UserError
from mvlab.models.backbones.base import Backbone
from mvlab.networks import ONE_SIZE, TimmConfig

MIXCONV_MOBILENET_V2 = (
    "ds_r1_k3.5.7_s1_c16",
    "ir_r2_k3.5.7_s2_e6_c24",
    "ir_r3_k3.5.7_s2_e6_c32",
    "ir_r4_k3.5.7_s2_e6_c64",
    "ir_r3_k3.5.7_s1_e6_c96",
    "ir_r3_k3.5.7_s2_e6_c160",
    "ir_r1_k3.5.7_s1_e6_c320",
)
"""Stages in timm's notation: kind, repeats, kernels, stride, expansion and channels of its blocks."""


class ImageSizeError(UserError, ValueError):
    """Error: the image size is not the one that a ViT's position embeddings are made for."""


def build_timm(config: TimmConfig, num_classes: int) -> nn.Module:
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes), with timm's own random initialisation.

    Where `config` fixes the size of the images, others are refused with an ImageSizeError.
    """
    if config.image_size is not None:
        vit: nn.Module = timm.create_model(config.name, num_classes=num_classes, img_size=config.image_size)
        vit.register_forward_pre_hook(partial(_require_size, config))
        return vit
    if config.width != 1:
        mobilenet_v1: Any = _gen_mobilenet_v1
        slimmer: nn.Module = mobilenet_v1(config.name, channel_multiplier=config.width, num_classes=num_classes)
        return slimmer
    network: nn.Module = timm.create_model(config.name, num_classes=num_classes)
    return network


class TimmBackbone(Backbone):
    """Backbone that gives the maps of a timm CNN."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.strides: tuple[int, ...] = tuple(network.feature_info.reduction())
        self.channels = dict(zip(self.strides, network.feature_info.channels(), strict=True))

    def features(self, images_BCHW: Tensor) -> dict[int, Tensor]:
        return dict(zip(self.strides, self.network(images_BCHW), strict=True))

    def name_of(self, classifiers: str) -> str:
        return f"network.{classifiers}"


def timm_backbone(config: TimmConfig, *, output_stride: int) -> Backbone:
    """Return the network's maps, with timm's own random initialisation; timm dilates where stages keep their size.

    Raises:
        ValueError: the network gives no maps, or none at this output stride.
    """
    if config.name in ONE_SIZE or config.name.startswith("crossvit"):
        raise ValueError(f"timm's {config.name} gives no maps by output stride: take a CNN, e.g. mobilenetv1_100")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"timm's {config.name} cannot be dilated to an output stride of {output_stride}: 8, 16 or 32")
    options: dict[str, Any] = {"features_only": True, "output_stride": output_stride}
    if config.width != 1:
        mobilenet_v1: Any = _gen_mobilenet_v1
        return TimmBackbone(mobilenet_v1(config.name, channel_multiplier=config.width, **options))
    return TimmBackbone(timm.create_model(config.name, **options))


def _require_size(config: TimmConfig, _network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    height, width = inputs[0].shape[-2:]
    if height != config.image_size or width != config.image_size:
        raise ImageSizeError(
            f"{config.name} was built for images of {config.image_size}x{config.image_size} pixels, to which its "
            f"position embeddings belong, and is given {height}x{width}: resize them, or build it with "
            f"TimmConfig(name={config.name!r}, image_size={height})"
        )


def synchronised(model: nn.Module) -> nn.Module:
    """Return the model with batch norms over all ranks, for a GPU. timm's norms keep their activations."""
    convert: Any = convert_sync_batchnorm
    converted: nn.Module = convert(model)
    return converted


def mobilenet_v1(width: float) -> nn.Module:
    """Build MobileNetv1 (Howard et al., 2017) without a classifier. `width` multiplies all channels."""
    build: Any = _gen_mobilenet_v1
    network: nn.Module = build("mobilenetv1_100", channel_multiplier=width, num_classes=0)
    return network


def mnasnet_a1(width: float) -> nn.Module:
    """Build MnasNet-A1 (Tan et al., 2019) without a classifier. `width` multiplies all channels."""
    build: Any = _gen_mnasnet_a1
    network: nn.Module = build("semnasnet_100", channel_multiplier=width, num_classes=0)
    return network


def mixconv_mobilenet_v2(width: float) -> nn.Module:
    """Build MobileNetv2 with depthwise kernels of 3, 5 and 7 (MixConv; Tan and Le, 2019), without a classifier.

    Each third of the channels has one of the kernels. `width` multiplies the channels of blocks.
    """
    build: Any = EfficientNet
    blocks: Any = decode_arch_def
    network: nn.Module = build(
        blocks([[block] for block in MIXCONV_MOBILENET_V2]),
        num_classes=0,
        act_layer=nn.ReLU6,
        round_chs_fn=partial(round_channels, multiplier=width),
    )
    return network


def timm_features(name: str, *, output_stride: int) -> tuple[nn.Module, int]:
    """Images (B, 3, H, W) -> a list of one map, at `output_stride`; and how many channels it has."""
    features: Any = timm.create_model(name, features_only=True, output_stride=output_stride, out_indices=(4,))
    return features, features.feature_info.channels()[-1]
