"""Detectors and segmenters that the paper compares with, as values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self, get_args

from mvlab.checks import require, require_fields
from mvlab.networks.base import NetworkConfig, SmallerScale
from mvlab.networks.rivals import SHARES

if TYPE_CHECKING:
    from torch import nn

DetectorName = Literal[
    "ssdlite_mobilenet_v1",
    "ssdlite_mobilenet_v2",
    "ssdlite_mobilenet_v3_large",
    "ssdlite_mobilenet_v2_mixconv",
    "ssdlite_mnasnet_a1",
    "ssd300_vgg16",
    "ssd300_resnet50",
]
SegmenterName = Literal[
    "lraspp_mobilenet_v3_large",
    "fcn_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_mobilenet_v1",
    "deeplabv3_mobilenet_v2",
    "deeplabv3_resnet101",
]
ReferenceName = Literal[DetectorName, SegmenterName]
TITLES: dict[ReferenceName, str] = {
    "ssdlite_mobilenet_v1": "SSDLite-MobileNetv1",
    "ssdlite_mobilenet_v2": "SSDLite-MobileNetv2",
    "ssdlite_mobilenet_v3_large": "SSDLite-MobileNetv3-Large",
    "ssdlite_mobilenet_v2_mixconv": "SSDLite-MobileNetv2-MixConv",
    "ssdlite_mnasnet_a1": "SSDLite-MNASNet-A1",
    "ssd300_vgg16": "SSD300-VGG16",
    "ssd300_resnet50": "SSD300-ResNet-50",
    "lraspp_mobilenet_v3_large": "LR-ASPP-MobileNetv3-Large",
    "fcn_mobilenet_v3_large": "FCN-MobileNetv3-Large",
    "deeplabv3_mobilenet_v3_large": "DeepLabv3-MobileNetv3-Large",
    "deeplabv3_mobilenet_v1": "DeepLabv3-MobileNetv1",
    "deeplabv3_mobilenet_v2": "DeepLabv3-MobileNetv2",
    "deeplabv3_resnet101": "DeepLabv3-ResNet-101",
}
SSD300_LEAST_SIDE = 64
"""Pixels of the smallest image that SSD300 takes. The cells of its fourth map are as wide."""
SSD300_SHARE = 0.25
"""Factor of SSD300's width at the smaller scales."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceConfig(NetworkConfig):
    """Detector or segmenter that the paper compares with (Tables 1, 2, 10 and 12). The segmenters are only counted."""

    name: ReferenceName
    width: float = 1.0
    """Multiplier of a detector's channels; in a ResNet's bottlenecks, of the inner channels."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.width > 0, f"model.width={self.width} must be positive")
        require(
            self.width == 1 or self.task == "detection",
            f"model.width={self.width}: only detectors come in other widths; leave it at 1 for {self.name}",
        )

    @property
    def title(self) -> str:
        return TITLES[self.name] if self.width == 1 else f"{TITLES[self.name]} x{self.width}"

    @property
    def task(self) -> str:
        return "detection" if self.name in get_args(DetectorName) else "segmentation"

    @property
    def stride(self) -> int:
        """Return 1 for SSD300, whose maps round up: images may have any side, such as its 300 pixels."""
        return 1 if self.is_ssd300 else 32

    @property
    def is_ssd300(self) -> bool:
        """Tell whether it is one of the two SSD300."""
        return self.name.startswith("ssd300")

    def build(self, num_classes: int) -> "nn.Module":
        if self.task == "detection":
            from mvlab.models.heads.rival_detectors import build_detector

            return build_detector(self, num_classes)
        from mvlab.models.heads.references import build_segmenter

        return build_segmenter(self, num_classes)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        """Return a narrower detector. With `keep_apart`, an SSDLite stays as it is at the scale mini.

        SSD300 has a quarter of its width at both smaller scales, whatever `keep_apart`: it has 15 or more times the
        multiplications of the widest SSDLite, so that its full width would train for hours on two cores. Segmenters
        always stay as they are.
        """
        if self.is_ssd300:
            return replace(self, width=self.width * SSD300_SHARE)
        if self.task == "segmentation" or (keep_apart and scale == "mini"):
            return self
        return replace(self, width=self.width * SHARES[scale])

    def require_sizes(self, sides: Iterable[int]) -> None:
        sides = list(sides)
        NetworkConfig.require_sizes(self, sides)
        require(
            not self.is_ssd300 or min(sides, default=SSD300_LEAST_SIDE) >= SSD300_LEAST_SIDE,
            f"images of {min(sides, default=0)} px for {self.title}: their side must be at least {SSD300_LEAST_SIDE}",
        )
