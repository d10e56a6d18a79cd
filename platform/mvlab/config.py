"""What one training run is: a frozen, complete, validated value whose digest names it in every record.

Where it runs (workers, devices, folders, servers) is never in here; that arrives as arguments.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NETWORK_STRIDE = 32
"""Ratio of the input's side to that of the last feature map (Table 4); resolutions are multiples of it."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_resolution(name: str, side: int) -> None:
    _require(
        side > 0 and side % NETWORK_STRIDE == 0,
        f"{name}={side} is not a positive multiple of {NETWORK_STRIDE}, the network's stride: "
        f"try {max(1, round(side / NETWORK_STRIDE)) * NETWORK_STRIDE}",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileViTStage:
    """A row pair of Table 4: the MV2 block that downsamples, and the MobileViT block after it."""

    channels: int
    """C, output channels of both blocks."""
    depth: int
    """L, transformer layers."""
    dim: int
    """d, the transformer's width."""


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
        _require(
            len(self.patch_sizes) == 3 and all(p >= 1 for p in self.patch_sizes),
            f"patch_sizes={self.patch_sizes}: three positive sides are needed, for output strides 8, 16 and 32",
        )
        _require(self.kernel_size % 2 == 1, f"kernel_size={self.kernel_size} must be odd")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """Section 3.2's samplers: a step draws a resolution r, and has b_t = floor(base_resolution^2 base_batch / r^2).

    The paper and its code state several batch rules; they are this formula with other numbers
    (`mvlab.samplers` has them by name):

    - base resolution (the release): `base_batch` images at 256 px, more below and fewer above;
    - Listing 1: the same over its own printed resolutions. Its batch sizes are floats, which cannot index a list;
      here they are floored;
    - maximum resolution (section 3.2's equation): `base_resolution = max(resolutions)`, so `base_batch` is the
      smallest batch;
    - standard: one resolution, the base.

    Raises:
        ValueError: no resolutions, one that the network's stride does not divide, or a batch below 2.
    """

    resolutions: tuple[int, ...]
    """Sides of the square training inputs, pixels; one is drawn for each step."""
    base_resolution: int
    base_batch: int
    """Images a rank at `base_resolution`; b_t = floor(base_resolution^2 base_batch / H_t W_t)."""

    def __post_init__(self) -> None:
        _require(len(self.resolutions) > 0, "sampler.resolutions is empty: name at least one")
        for side in (*self.resolutions, self.base_resolution):
            _require_resolution("sampler resolution", side)
        smallest = self.batch_at(max(self.resolutions))
        _require(
            smallest >= 2,
            f"base_batch={self.base_batch} leaves {smallest} image(s) a rank at {max(self.resolutions)} px: "
            "BatchNorm needs 2; raise base_batch or drop the largest resolution",
        )

    def batch_at(self, resolution: int) -> int:
        """Images a rank in a step at `resolution` pixels."""
        return self.base_resolution**2 * self.base_batch // resolution**2


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Section 4.1: "basic data augmentation"."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area that a random resized crop covers."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    """Probability of a horizontal flip."""

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        _require(0 < low <= high <= 1, f"crop_scale={self.crop_scale} must satisfy 0 < low <= high <= 1")
        _require(0 <= self.flip <= 1, f"flip={self.flip} is not a probability")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """A single centre crop (section 4.1; sizes from the authors' release)."""

    resize: int = 288
    """The shorter side is resized to this many pixels."""
    crop: int = 256
    batch: int = 128
    """Images a rank."""

    def __post_init__(self) -> None:
        _require_resolution("evaluation.crop", self.crop)
        _require(self.batch >= 1, f"evaluation.batch={self.batch}: at least one image is needed")
        _require(
            self.resize >= self.crop,
            f"evaluation.resize={self.resize} is smaller than the crop of {self.crop} px",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW, linear warm-up, cosine decay (section 4.1)."""

    lr_start: float = 2e-4
    lr_peak: float = 2e-3
    lr_end: float = 2e-4
    warmup_updates: int = 3_000
    """Optimizer updates, not epochs: multi-scale batches change how many an epoch has."""
    weight_decay: float = 0.01
    """On all parameters, norms and biases included, as in the release."""
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        rates = (self.lr_start, self.lr_peak, self.lr_end)
        _require(min(rates) >= 0 and self.lr_peak > 0, f"learning rates {rates} must not be negative, nor the peak 0")
        _require(self.warmup_updates >= 0, f"warmup_updates={self.warmup_updates} is negative")
        _require(self.weight_decay >= 0, f"weight_decay={self.weight_decay} is negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run, complete."""

    model: MobileViTConfig
    sampler: SamplerConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    epochs: int = 300
    label_smoothing: float = 0.1
    ema_decay: float = 0.9995
    """ema = decay * ema + (1 - decay) * weights, at every update from the first, BN statistics included."""
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs={self.epochs}: at least one is needed")
        _require(0 <= self.label_smoothing < 1, f"label_smoothing={self.label_smoothing} must be in [0, 1)")
        _require(0 <= self.ema_decay < 1, f"ema_decay={self.ema_decay} must be in [0, 1)")
        _require(0 <= self.seed < 2**32, f"seed={self.seed} must be in [0, 2^32)")

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, for JSON."""
        return asdict(self)

    def digest(self) -> str:
        """First 16 hex digits of the sha256 of the canonical JSON of every field."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`: the dotted names that `vary` takes and people read."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
