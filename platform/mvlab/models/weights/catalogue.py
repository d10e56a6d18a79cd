"""The networks whose weights others keep too, by name."""

from dataclasses import replace

from mvlab.checks import did_you_mean
from mvlab.models.weights.errors import WeightsError
from mvlab.networks import XS, XXS, DeepLabv3Config, MobileViTConfig, NetworkConfig, S, SSDLiteConfig

MobileViTNetwork = MobileViTConfig | SSDLiteConfig | DeepLabv3Config
"""MobileViT, or one with it as its backbone."""


BACKBONES = {f"mobilevit_{widths.name}": MobileViTConfig(widths=widths) for widths in (XXS, XS, S)}
CATALOGUE: dict[str, MobileViTNetwork] = {
    **BACKBONES,
    **{f"ssdlite_{name}": SSDLiteConfig(backbone=backbone) for name, backbone in BACKBONES.items()},
    **{f"deeplabv3_{name}": DeepLabv3Config(backbone=backbone) for name, backbone in BACKBONES.items()},
    **{  # segmenters of the release's last version: a finer map, and a head twice as wide
        f"deeplabv3_os8_{name}": DeepLabv3Config(backbone=backbone, output_stride=8, channels=512, rates=(12, 24, 36))
        for name, backbone in BACKBONES.items()
    },
}


def require_known(name: str) -> None:
    """
    Raises:
        WeightsError: no network is called `name`; the nearest one is suggested.
    """
    if name not in CATALOGUE:
        raise WeightsError(f"there is no network {name!r}{did_you_mean(name, CATALOGUE)}")


def name_of(config: NetworkConfig) -> str | None:
    """Return the network's name, whatever its dropout; None if the catalogue has none like it."""
    names = [name for name, known in CATALOGUE.items() if _without_dropout(known) == _without_dropout(config)]
    return names[0] if names else None


def backbone_of(config: MobileViTNetwork) -> MobileViTConfig:
    """Return the MobileViT in one of the catalogue's networks."""
    backbone = config if isinstance(config, MobileViTConfig) else config.backbone
    assert isinstance(backbone, MobileViTConfig)
    return backbone


def _without_dropout(config: NetworkConfig) -> NetworkConfig:
    match config:
        case MobileViTConfig():
            return _backbone_without_dropout(config)
        case SSDLiteConfig(backbone=MobileViTConfig() as backbone):
            return replace(config, backbone=_backbone_without_dropout(backbone))
        case DeepLabv3Config(backbone=MobileViTConfig() as backbone):
            return replace(config, backbone=_backbone_without_dropout(backbone), dropout=0.0)
        case _:
            return config


def _backbone_without_dropout(config: MobileViTConfig) -> MobileViTConfig:
    return replace(config, widths=replace(config.widths, dropout=0.0), classifier_dropout=0.0)
