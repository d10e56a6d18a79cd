"""MobileViT as a value: Table 4's columns, and the fields that its ablations vary."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mvlab.checks import require, require_fields, require_number
from mvlab.networks.base import NetworkConfig, SmallerScale

if TYPE_CHECKING:
    from torch import nn

    from mvlab.models.backbones.base import Backbone

ATTENTION_HEADS = 4
"""Attention heads in each transformer layer of MobileViT, as in the release."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileViTStage:
    """Row pair of Table 4: the MV2 block that downsamples, and the MobileViT block after it."""

    channels: int
    """C, output channels of both blocks."""
    depth: int
    """L, transformer layers."""
    dim: int
    """d, the transformer's width; a multiple of ATTENTION_HEADS."""

    def __post_init__(self) -> None:
        require_fields(self)
        for name in ("channels", "depth", "dim"):
            require_number(f"stage.{name}", getattr(self, name), least=1)
        require(self.dim % ATTENTION_HEADS == 0, f"stage.dim={self.dim} is no multiple of {ATTENTION_HEADS}, the heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """Column of Table 4: width and depth of the network."""

    name: str
    stem: int
    """Channels of the 3x3 convolution at output stride 2."""
    mv2: tuple[int, int]
    """Channels of the MV2 blocks at output strides 2 and 4."""
    stages: tuple[MobileViTStage, MobileViTStage, MobileViTStage]
    """Stages at output strides 8, 16 and 32."""
    tail: int
    """Channels of the 1x1 convolution before global pooling."""
    expansion: int
    """MV2's expansion factor."""
    dropout: float
    """Dropout after the attention's output and the second FFN layer."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.name != "", "widths.name is empty: reports call the network by it")
        channels = {"stem": self.stem, "mv2": min(self.mv2), "tail": self.tail, "expansion": self.expansion}
        for name, number in channels.items():
            require_number(f"widths.{name}", number, least=1)
        require_number("widths.dropout", self.dropout, least=0, below=1)


XXS = Widths(
    name="xxs",
    stem=16,
    mv2=(16, 24),
    stages=(
        MobileViTStage(channels=48, depth=2, dim=64),
        MobileViTStage(channels=64, depth=4, dim=80),
        MobileViTStage(channels=80, depth=3, dim=96),
    ),
    tail=320,
    expansion=2,
    dropout=0.05,
)
XS = Widths(
    name="xs",
    stem=16,
    mv2=(32, 48),
    stages=(
        MobileViTStage(channels=64, depth=2, dim=96),
        MobileViTStage(channels=80, depth=4, dim=120),
        MobileViTStage(channels=96, depth=3, dim=144),
    ),
    tail=384,
    expansion=4,
    dropout=0.1,
)
S = Widths(
    name="s",
    stem=16,
    mv2=(32, 64),
    stages=(
        MobileViTStage(channels=96, depth=2, dim=144),
        MobileViTStage(channels=128, depth=4, dim=192),
        MobileViTStage(channels=160, depth=3, dim=240),
    ),
    tail=640,
    expansion=4,
    dropout=0.1,
)
NANO = Widths(
    name="nano",
    stem=8,
    mv2=(8, 16),
    stages=(
        MobileViTStage(channels=24, depth=1, dim=32),
        MobileViTStage(channels=32, depth=1, dim=48),
        MobileViTStage(channels=48, depth=1, dim=64),
    ),
    tail=192,
    expansion=2,
    dropout=0.0,
)
"""Widths that are not the paper's: small enough to learn digits in half a minute on two cores."""


SMALLER: dict[SmallerScale, Widths] = {"smoke": NANO, "mini": XXS}


def halved(widths: Widths) -> Widths:
    """Widths that are not the paper's: half as wide, one transformer layer per stage, and no dropout."""
    stages = tuple(MobileViTStage(channels=stage.channels // 2, depth=1, dim=stage.dim // 2) for stage in widths.stages)
    return Widths(
        name=f"{widths.name}-half",
        stem=widths.stem // 2,
        mv2=(widths.mv2[0] // 2, widths.mv2[1] // 2),
        stages=(stages[0], stages[1], stages[2]),
        tail=widths.tail // 2,
        expansion=widths.expansion,
        dropout=0.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileViTConfig(NetworkConfig):
    """MobileViT: a column of Table 4, and the fields that the paper's ablations vary."""

    widths: Widths
    patch_sizes: tuple[int, int, int] = (2, 2, 2)
    """Side h = w of the patches at output strides 8, 16 and 32 (Table 6)."""
    kernel_size: int = 3
    """Kernel size n of the MobileViT block's convolutions."""
    skip_connection: bool = True
    """True if the block concatenates its input and fuses (Figure 12)."""
    classifier_dropout: float = 0.1

    def __post_init__(self) -> None:
        require_fields(self)
        require(min(self.patch_sizes) >= 1, f"patch_sizes={self.patch_sizes} must be positive")
        require(
            self.kernel_size >= 1 and self.kernel_size % 2 == 1,
            f"kernel_size={self.kernel_size} must be odd and positive",
        )
        require_number("classifier_dropout", self.classifier_dropout, least=0, below=1)

    @property
    def title(self) -> str:
        return f"MobileViT-{self.widths.name.upper()}"

    @property
    def full_title(self) -> str:
        return f"{self.title}-{','.join(map(str, self.patch_sizes))}"

    @property
    def trains_optimized(self) -> bool:
        return True

    def build(self, num_classes: int) -> "nn.Module":
        from mvlab.models.backbones.mobilevit import MobileViT

        return MobileViT(self, num_classes)

    def build_backbone(self, *, output_stride: int = 32) -> "Backbone":
        from mvlab.models.backbones.mobilevit import mobilevit_backbone

        return mobilevit_backbone(self, output_stride=output_stride)

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        """Return one of the scale's widths. With `keep_apart`, it is half as wide (smoke) or as wide as it is
        (mini)."""
        if not keep_apart:
            return replace(self, widths=SMALLER[scale])
        return self if scale == "mini" else replace(self, widths=halved(self.widths))
