"""Detectors and segmenters as values."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from mvlab.checks import require, require_fields, require_number
from mvlab.networks.base import NetworkConfig, SmallerScale, is_value

if TYPE_CHECKING:
    from torch import nn


def _require_backbone(backbone: NetworkConfig) -> None:
    """Require a backbone that can carry a head.

    Raises:
        ValueError: a head cannot stand on this network.
    """
    require(is_value(backbone), f"backbone: {type(backbone).__name__} may change: make it a dataclass with frozen=True")
    require(backbone.task == "classification", f"backbone: {backbone.title} is for {backbone.task}; name a classifier")


@dataclass(frozen=True, kw_only=True, slots=True)
class SSDLiteConfig(NetworkConfig):
    """SSDLite (section 4.2.1): an object detector. It reads its backbone at output strides 16 and 32."""

    backbone: NetworkConfig

    def __post_init__(self) -> None:
        require_fields(self)
        _require_backbone(self.backbone)

    @property
    def title(self) -> str:
        return f"SSDLite-{self.backbone.title}"

    @property
    def full_title(self) -> str:
        return f"SSDLite-{self.backbone.full_title}"

    @property
    def trains_optimized(self) -> bool:
        return self.backbone.trains_optimized

    @property
    def task(self) -> str:
        return "detection"

    def build(self, num_classes: int) -> "nn.Module":
        from mvlab.models.heads.ssdlite import SSDLite

        return SSDLite(self, num_classes)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        return replace(self, backbone=self.backbone.scaled(scale, side=side, keep_apart=keep_apart))


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepLabv3Config(NetworkConfig):
    """DeepLabv3 (section 4.2.2): a segmenter. The defaults of the head are those of the release."""

    backbone: NetworkConfig
    output_stride: Literal[8, 16] = 16
    """Ratio of the image's side to that of the map that the head reads."""
    channels: int = 256
    """Channels of each branch of the atrous pyramid."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations of the pyramid's 3x3 convolutions."""
    dropout: float = 0.1
    """Dropout after the pyramid and, of whole channels, before the classifier."""

    def __post_init__(self) -> None:
        require_fields(self)
        _require_backbone(self.backbone)
        require_number("channels", self.channels, least=1)
        require(min(self.rates) >= 1, f"rates={self.rates} must be positive")
        require_number("dropout", self.dropout, least=0, below=1)

    @property
    def title(self) -> str:
        return f"DeepLabv3-{self.backbone.title}"

    @property
    def full_title(self) -> str:
        return f"DeepLabv3-{self.backbone.full_title}"

    @property
    def trains_optimized(self) -> bool:
        return self.backbone.trains_optimized

    @property
    def task(self) -> str:
        return "segmentation"

    def build(self, num_classes: int) -> "nn.Module":
        from mvlab.models.heads.deeplabv3 import DeepLabv3

        return DeepLabv3(self, num_classes)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        return replace(self, backbone=self.backbone.scaled(scale, side=side, keep_apart=keep_apart))
