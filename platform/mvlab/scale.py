"""Scales: the same runs, made smaller. What an experiment varies is kept; widths, pixels and epochs shrink."""

from dataclasses import replace
from typing import Literal, get_args

from mvlab.config import OptimizerConfig, RunConfig, SamplerConfig
from mvlab.experiment import MadeFor
from mvlab.networks.base import SmallerScale

Scale = Literal["smoke", "mini", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)

PAPER_RANKS = 8
COCO_RANKS = 4
"""Ranks of the paper's detectors (Appendix D)."""
SMALL_RANKS = 2
"""Ranks that the smaller scales are meant for, and the default."""


def ranks_made_for(scale: Scale, made_for: MadeFor) -> int:
    """Return the ranks that learning rates are made for, by scale and by the data that the recipe is made for."""
    if scale != "paper":
        return SMALL_RANKS
    return {"imagenet": PAPER_RANKS, "coco": COCO_RANKS}.get(made_for, SMALL_RANKS)


def at_scale(run: RunConfig, scale: Scale, *, keep_network: bool = False) -> RunConfig:
    """Return `run` as it is at `scale`.

    smoke: some minutes on two cores, on an embedded set, with a network narrower than the paper's. CNNs have a quarter
        of their width (ResNet-50 still takes minutes). Digits are not mirrored, and crops stay large: a flipped or
        halved digit is another digit.
    mini: some minutes on two cores, on a small set, with MobileViT-XXS. CNNs have half their width.
    paper: the run itself.

    Image sizes and epochs of the smaller scales are the task's (`Task.small_runs`).

    With `keep_network`, for experiments that compare networks, larger networks stay larger. Then mini has the paper's
    networks, and smoke has MobileViTs with half the width of the paper's.

    Networks of timm stay as they are, except that a ViT with a fixed image size gets the smaller size.

    Both smaller scales compute in fp32, and normalise over the images of a rank: on CPUs, an exchange between ranks at
    every BatchNorm layer takes as long as all else. SGD's learning rates follow the images of an update (linear
    scaling rule). These are two ranks' images, relative to eight ranks' at the paper's base resolution. AdamW's are
    multiplied by the task's factor.
    """
    match scale:
        case "paper":
            return run
        case _:
            return _shrunk(run, scale, keep_network=keep_network)


def _shrunk(run: RunConfig, scale: SmallerScale, *, keep_network: bool) -> RunConfig:
    to = run.task.small_runs[scale]
    images = to.base_batch * SMALL_RANKS / (run.sampler.base_batch * PAPER_RANKS)
    factor = to.adamw_rates if run.optimizer.name == "adamw" else images
    sides = (to.side // 2, to.side, to.side * 3 // 2) if len(run.sampler.resolutions) > 1 else (to.side,)
    return replace(
        run,
        task=run.task.scaled(scale, to.side),
        model=run.model.scaled(scale, side=to.side, keep_apart=keep_network),
        sampler=SamplerConfig(resolutions=sides, base_resolution=to.side, base_batch=to.base_batch),
        optimizer=replace(_rates_scaled(run.optimizer, factor), warmup_updates=to.warmup_updates),
        numerics=replace(run.numerics, precision="fp32", batch_norm="rank"),
        epochs=to.epochs,
        ema_decay=to.ema_decay,
    )


def _rates_scaled(optimizer: OptimizerConfig, factor: float) -> OptimizerConfig:
    """Multiply the learning rates."""
    return replace(
        optimizer,
        lr_start=optimizer.lr_start * factor,
        lr_peak=optimizer.lr_peak * factor,
        lr_end=optimizer.lr_end * factor,
    )
