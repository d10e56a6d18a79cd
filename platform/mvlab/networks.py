"""The networks of the paper as values: Table 4's columns, what its ablations vary, and its rivals."""

from dataclasses import dataclass
from typing import Literal

from mvlab.checks import require, require_fields, require_number

ATTENTION_HEADS = 4
"""In each transformer layer of MobileViT, as in the release."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileViTStage:
    """A row pair of Table 4: the MV2 block that downsamples, and the MobileViT block after it."""

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
    """A column of Table 4: how wide and deep the network is."""

    name: str
    stem: int
    """Channels of the 3x3 convolution at output stride 2."""
    mv2: tuple[int, int]
    """Channels of the MV2 blocks at output strides 2 and 4."""
    stages: tuple[MobileViTStage, MobileViTStage, MobileViTStage]
    """Output strides 8, 16 and 32."""
    tail: int
    """Channels of the 1x1 convolution before global pooling."""
    expansion: int
    """MV2's expansion factor."""
    dropout: float
    """After the attention's output and the second FFN layer."""

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
"""Not the paper's: the same network, small enough to learn digits in half a minute on two cores."""


def halved(widths: Widths) -> Widths:
    """Not the paper's: half as wide, one transformer layer a stage, and without dropout."""
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
class MobileViTConfig:
    """MobileViT: a column of Table 4, and what the paper's ablations vary."""

    widths: Widths
    patch_sizes: tuple[int, int, int] = (2, 2, 2)
    """h = w of the patches at output strides 8, 16 and 32 (Table 6)."""
    kernel_size: int = 3
    """n, of the MobileViT block's convolutions."""
    skip_connection: bool = True
    """Whether the block concatenates its input and fuses (Figure 12)."""
    classifier_dropout: float = 0.1

    def __post_init__(self) -> None:
        require_fields(self)
        require(min(self.patch_sizes) >= 1, f"patch_sizes={self.patch_sizes} must be positive")
        require(
            self.kernel_size >= 1 and self.kernel_size % 2 == 1,
            f"kernel_size={self.kernel_size} must be odd and positive",
        )
        require_number("classifier_dropout", self.classifier_dropout, least=0, below=1)


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
class TorchvisionConfig:
    """A CNN of torchvision's, by torchvision's name for it, without the width that some have in theirs."""

    name: TorchvisionName
    width: float = 1.0
    """The multiplier of all channels; of a ResNet, of the bottlenecks' inner channels."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.width > 0, f"model.width={self.width} must be positive")


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
"""ViTs whose position embeddings are those of images of one size. (CrossViT resizes its input to 240 pixels itself.)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmConfig:
    """A network of timm's, by timm's name for it: the rivals of Tables 1 to 3 and Figure 7 that torchvision lacks."""

    name: TimmName
    width: float = 1.0
    """Of MobileNetv1: the multiplier of all channels."""
    image_size: int | None = None
    """Side of its images in pixels, for one of ONE_SIZE; the others take any."""

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


NetworkConfig = MobileViTConfig | TorchvisionConfig | TimmConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SSDLiteConfig:
    """SSDLite on MobileViT (section 4.2.1): an object detector."""

    backbone: MobileViTConfig

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepLabv3Config:
    """DeepLabv3 on MobileViT (section 4.2.2): a segmenter. The head's numbers are those of the release."""

    backbone: MobileViTConfig
    output_stride: Literal[8, 16] = 16
    """Ratio of the image's side to that of the map that the head reads."""
    channels: int = 256
    """Of each branch of the atrous pyramid."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations of the pyramid's 3x3 convolutions."""
    dropout: float = 0.1
    """After the pyramid, and, of whole channels, before the classifier."""

    def __post_init__(self) -> None:
        require_fields(self)
        require_number("channels", self.channels, least=1)
        require(min(self.rates) >= 1, f"rates={self.rates} must be positive")
        require_number("dropout", self.dropout, least=0, below=1)


ReferenceName = Literal[
    "ssdlite_mobilenet_v1",
    "ssdlite_mobilenet_v2",
    "ssdlite_mobilenet_v3_large",
    "ssdlite_mixnet_s",
    "ssdlite_mixnet_m",
    "ssdlite_mnasnet_a1",
    "ssdlite_mnasnet_b1",
    "ssd300_vgg16",
    "lraspp_mobilenet_v3_large",
    "fcn_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_mobilenet_v1",
    "deeplabv3_mobilenet_v2",
    "deeplabv3_resnet101",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceConfig:
    """A detector or segmenter that the paper compares with (Tables 1, 2, 10 and 12): counted here, not trained."""

    name: ReferenceName

    def __post_init__(self) -> None:
        require_fields(self)


AnyNetworkConfig = NetworkConfig | SSDLiteConfig | DeepLabv3Config
"""Of every task; what a run trains so far is a `NetworkConfig`, a classifier."""
