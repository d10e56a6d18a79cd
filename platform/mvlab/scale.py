"""Scales: the same runs, made smaller. What an experiment varies is kept; widths, pixels and epochs shrink."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from mvlab.config import OptimizerConfig, RunConfig, SamplerConfig
from mvlab.experiment import MadeFor
from mvlab.networks.base import SmallerScale

Scale = Literal["smoke", "mini", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)

PAPER_RANKS = 8
SMALL_SIDE = 64
"""Pixels of the base resolution, and of evaluation, at the smaller scales."""
SMALL_RANKS = 2
"""Ranks that the smaller scales are meant for, and the default."""


def ranks_made_for(scale: Scale, made_for: MadeFor) -> int:
    """Return the ranks that learning rates are made for, by scale and by the data that the recipe is made for."""
    return PAPER_RANKS if scale == "paper" and made_for == "imagenet" else SMALL_RANKS


@dataclass(frozen=True, kw_only=True, slots=True)
class _Smaller:
    """Values that a scale puts in place of the paper's."""

    name: SmallerScale
    epochs: int
    base_batch: int
    """Images per rank at the base resolution."""
    warmup_updates: int
    """Length of warm-up. Fewer updates need a shorter one, and an average over fewer of them (`ema_decay`)."""
    ema_decay: float


SMOKE = _Smaller(name="smoke", epochs=6, base_batch=16, warmup_updates=20, ema_decay=0.9)
MINI = _Smaller(name="mini", epochs=10, base_batch=32, warmup_updates=100, ema_decay=0.95)


def at_scale(run: RunConfig, scale: Scale, *, keep_network: bool = False) -> RunConfig:
    """Return `run` as it is at `scale`.

    smoke: a minute on two cores, on the embedded digits, with a network narrower than the paper's. CNNs have a quarter
        of their width (ResNet-50 still takes minutes). Digits are not mirrored, and crops stay large: a flipped or
        halved digit is another digit.
    mini: some minutes on two cores, on a small set of 64 px images, with MobileViT-XXS. CNNs have half their width.
    paper: the run itself.

    With `keep_network`, for experiments that compare networks, larger networks stay larger. Then mini has the paper's
    networks, and smoke has MobileViTs with half the width of the paper's.

    Networks of timm stay as they are, except that a ViT with a fixed image size gets the smaller size.

    Both smaller scales compute in fp32. SGD's learning rates follow the images of an update (linear scaling rule).
    These are two ranks' images at 64 px, relative to eight ranks' at the paper's base resolution. AdamW's rates stay.
    """
    match scale:
        case "paper":
            return run
        case "mini":
            return _shrunk(run, MINI, keep_network=keep_network)
        case "smoke":
            return _shrunk(run, SMOKE, keep_network=keep_network)


def _shrunk(run: RunConfig, to: _Smaller, *, keep_network: bool) -> RunConfig:
    images = to.base_batch * SMALL_RANKS / (run.sampler.base_batch * PAPER_RANKS)
    sides = (32, SMALL_SIDE, 96) if len(run.sampler.resolutions) > 1 else (SMALL_SIDE,)
    return replace(
        run,
        task=run.task.scaled(to.name, SMALL_SIDE),
        model=run.model.scaled(to.name, side=SMALL_SIDE, keep_apart=keep_network),
        sampler=SamplerConfig(resolutions=sides, base_resolution=SMALL_SIDE, base_batch=to.base_batch),
        optimizer=replace(_rates_scaled(run.optimizer, images), warmup_updates=to.warmup_updates),
        numerics=replace(run.numerics, precision="fp32"),
        epochs=to.epochs,
        ema_decay=to.ema_decay,
    )


def _rates_scaled(optimizer: OptimizerConfig, images: float) -> OptimizerConfig:
    """Scale the learning rates to updates of `images` times as many images."""
    if optimizer.name == "adamw":
        return optimizer
    return replace(
        optimizer,
        lr_start=optimizer.lr_start * images,
        lr_peak=optimizer.lr_peak * images,
        lr_end=optimizer.lr_end * images,
    )
