"""`--scale`: the same runs, shrunk. What an experiment varies survives; widths, pixels and epochs do not."""

from dataclasses import replace
from typing import Literal, get_args

from mvlab.config import NANO, XXS, AugmentationConfig, EvaluationConfig, RunConfig, SamplerConfig, Widths

Scale = Literal["smoke", "mini", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)


def at_scale(run: RunConfig, scale: Scale) -> RunConfig:
    """`run` as it is done at `scale`.

    smoke: a minute on two cores, on the embedded digits, with a network narrower than the paper's. Digits are
        not mirrored, and crops stay large: a flipped or halved digit is another digit.
    mini: under an hour on two cores, on a small set of 64 px images, with MobileViT-XXS.
    paper: the run itself.
    """
    match scale:
        case "paper":
            return run
        case "mini":
            return _shrunk(run, widths=XXS, epochs=20, base_batch=32, warmup_updates=100, ema_decay=0.99)
        case "smoke":
            small = _shrunk(run, widths=NANO, epochs=6, base_batch=16, warmup_updates=20, ema_decay=0.9)
            return replace(small, augmentation=AugmentationConfig(crop_scale=(0.6, 1.0), flip=0.0))


def _shrunk(
    run: RunConfig, *, widths: Widths, epochs: int, base_batch: int, warmup_updates: int, ema_decay: float
) -> RunConfig:
    """Fewer updates want a shorter warm-up, and an average over fewer of them."""
    return replace(
        run,
        model=replace(run.model, widths=widths),
        sampler=SamplerConfig(resolutions=(32, 64, 96), base_resolution=64, base_batch=base_batch),
        evaluation=EvaluationConfig(resize=64, crop=64, batch=64),
        optimizer=replace(run.optimizer, warmup_updates=warmup_updates),
        epochs=epochs,
        ema_decay=ema_decay,
    )
