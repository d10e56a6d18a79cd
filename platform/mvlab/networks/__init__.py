"""The networks of the paper as values: Table 4's columns, what its ablations vary, its rivals, and heads on them."""

from mvlab.networks.base import NetworkConfig
from mvlab.networks.heads import DeepLabv3Config, SSDLiteConfig
from mvlab.networks.mobilevit import (
    ATTENTION_HEADS,
    NANO,
    XS,
    XXS,
    MobileViTConfig,
    MobileViTStage,
    S,
    Widths,
    halved,
)
from mvlab.networks.references import DetectorName, ReferenceConfig, ReferenceName, SegmenterName
from mvlab.networks.rivals import ONE_SIZE, TimmConfig, TimmName, TorchvisionConfig, TorchvisionName

__all__ = [
    "ATTENTION_HEADS",
    "NANO",
    "ONE_SIZE",
    "XS",
    "XXS",
    "DeepLabv3Config",
    "DetectorName",
    "MobileViTConfig",
    "MobileViTStage",
    "NetworkConfig",
    "ReferenceConfig",
    "ReferenceName",
    "S",
    "SSDLiteConfig",
    "SegmenterName",
    "TimmConfig",
    "TimmName",
    "TorchvisionConfig",
    "TorchvisionName",
    "Widths",
    "halved",
]
