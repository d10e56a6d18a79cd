"""The paper's rivals that libraries have, as values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from mvlab.checks import require, require_fields
from mvlab.networks.base import NetworkConfig, SmallerScale

if TYPE_CHECKING:
    from torch import nn

    from mvlab.models.backbones.base import Backbone

NAMES: dict[str, str] = {
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
"""Names as the paper writes them (Tables 1 to 3, Figures 6 and 7), or as in their own papers if it omits the size."""
NAMED_WITH_WIDTH = ("MobileNetv1", "MobileNetv2", "ShuffleNetv2")
"""Networks whose authors write the width behind the name, even if it is 1."""
SHARES: dict[SmallerScale, float] = {"smoke": 0.25, "mini": 0.5}
"""Factor of a CNN's width at a smaller scale."""


def _title(name: str, width: float) -> str:
    """Return the name of a network, and its width where it needs one."""
    title = NAMES[name]
    if title in NAMED_WITH_WIDTH:
        return f"{title}-{width}"
    return title if width == 1 else f"{title} x{width}"


TorchvisionName = Literal[
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2",
    "mnasnet",
    "efficientnet_b0",
    "densenet169",
    "resnet50",
    "resnet101",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchvisionConfig(NetworkConfig):
    """CNN of torchvision's, by torchvision's name for it, without the width that some names include."""

    name: TorchvisionName
    width: float = 1.0
    """Multiplier of all channels; for a ResNet, of the bottlenecks' inner channels."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.width > 0, f"model.width={self.width} must be positive")

    @property
    def title(self) -> str:
        return _title(self.name, self.width)

    def build(self, num_classes: int) -> "nn.Module":
        from mvlab.models.backbones.torchvision_networks import build_torchvision

        return build_torchvision(self, num_classes)

    def build_backbone(self, *, output_stride: int = 32) -> "Backbone":
        from mvlab.models.backbones.torchvision_networks import torchvision_backbone

        return torchvision_backbone(self, output_stride=output_stride)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        """Return a narrower network. With `keep_apart`, it stays as it is at the scale mini."""
        return self if keep_apart and scale == "mini" else replace(self, width=self.width * SHARES[scale])


TimmName = Literal[
    "mobilenetv1_100",
    "mixnet_s",
    "mixnet_m",
    "mixnet_l",
    "seresnet101",
    "deit_tiny_patch16_224",
    "pit_ti_224",
    "pit_xs_224",
    "cait_xxs24_224",
    "convit_tiny",
    "crossvit_tiny_240",
    "crossvit_9_240",
]
ONE_SIZE: tuple[TimmName, ...] = (
    "deit_tiny_patch16_224",
    "pit_ti_224",
    "pit_xs_224",
    "cait_xxs24_224",
    "convit_tiny",
)
"""ViTs with position embeddings for images of one size. (CrossViT resizes its input to 240 pixels itself.)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmConfig(NetworkConfig):
    """Network of timm's, by timm's name for it: the rivals of Tables 1 to 3 and Figure 7 that torchvision lacks."""

    name: TimmName
    width: float = 1.0
    """Multiplier of all channels; for MobileNetv1 only."""
    image_size: int | None = None
    """Side of its images in pixels, for a network of ONE_SIZE. The others take any size."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(
            self.width == 1 or (self.name == "mobilenetv1_100" and self.width > 0),
            f"model.width={self.width}: only mobilenetv1_100 comes in other widths, above 0; leave it at 1",
        )
        if self.name not in ONE_SIZE:
            require(
                self.image_size is None,
                f"model.image_size={self.image_size}: {self.name} takes images of any size; leave it out",
            )
            return
        require(
            self.image_size is not None and self.image_size >= 32,
            f"model.image_size={self.image_size}: the position embeddings of {self.name} are made for images of one "
            "size, of 32 pixels or more; say which, e.g. 224, the paper's",
        )

    @property
    def title(self) -> str:
        return _title(self.name, self.width)

    def build(self, num_classes: int) -> "nn.Module":
        from mvlab.models.backbones.timm_networks import build_timm

        return build_timm(self, num_classes)

    def build_backbone(self, *, output_stride: int = 32) -> "Backbone":
        from mvlab.models.backbones.timm_networks import timm_backbone

        return timm_backbone(self, output_stride=output_stride)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        """Return the same network. A network of ONE_SIZE is returned for images of `side` pixels."""
        return self if self.image_size is None else replace(self, image_size=side)

    def require_sizes(self, sides: Iterable[int]) -> None:
        sides = sorted(set(sides))
        NetworkConfig.require_sizes(self, sides)
        require(
            self.image_size is None or sides == [self.image_size],
            f"{self.name} takes images of {self.image_size} px only, and the run has images of {sides} px: train and "
            "evaluate at model.image_size alone",
        )
