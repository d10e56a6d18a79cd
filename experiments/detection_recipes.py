"""Recipes of detectors, frozen: Appendix D's for SSDLite on MobileViT, the release's where it differs, and rivals.

The rivals' recipes are ours: the paper quotes their authors' numbers. All train like MobileViT's.
"""

from dataclasses import replace
from typing import get_args

from mvlab.config import NumericsConfig, OptimizerConfig, RunConfig, SamplerConfig
from mvlab.networks import XS, XXS, DetectorName, MobileViTConfig, NetworkConfig, ReferenceConfig, S, SSDLiteConfig
from mvlab.tasks.detection.config import AugmentationConfig, EvaluationConfig, LossConfig
from mvlab.tasks.detection.task import Detection

SSD300 = ("ssd300_vgg16", "ssd300_resnet50")
"""Rivals that read images of 300 pixels."""


def detector(network: NetworkConfig, side: int = 320) -> RunConfig:
    """Appendix D: 200 epochs on MS-COCO, 32 images on each of 4 GPUs, as the release implements it.

    The paper's numbers begin with ImageNet weights (`--initial-weights`).
    """
    return RunConfig(
        task=Detection(evaluation=EvaluationConfig(side=side)),
        model=network,
        sampler=SamplerConfig(resolutions=(side,), base_resolution=side, base_batch=32),
        optimizer=OptimizerConfig(lr_start=9e-5, lr_peak=9e-4, lr_end=9e-5, warmup_updates=500, schedule="epoch"),
        numerics=NumericsConfig(precision="fp16", batch_norm="all_ranks"),
        epochs=200,
    )


def release(network: NetworkConfig) -> RunConfig:
    """Return a recipe with what differs in the release's first version: the normaliser of the loss, the place of colour
    changes, and the last learning rate.

    Three of its details are not followed. Its hue stops at the ends of the circle; here it goes around. Its loss of a
    batch without objects is NaN; here it is 0. It adds 1e-5 to the denominator of each IoU; here nothing is added.
    """
    run = detector(network)
    task = Detection(augmentation=AugmentationConfig(colours_at="source"), loss=LossConfig(normalised_by="rank"))
    return replace(run, task=task, optimizer=replace(run.optimizer, lr_end=1e-6))


NETWORKS = {
    f"ssdlite_mobilevit_{name}": SSDLiteConfig(backbone=MobileViTConfig(widths=widths))
    for name, widths in (("xxs", XXS), ("xs", XS), ("s", S))
}


def scenes_xxs() -> RunConfig:
    """SSDLite-MobileViT-XXS, unshrunk, on the embedded scenes; not in the paper. Two cores suffice (`--scale paper`).

    Crops are large, and scenes are not mirrored: a part of a digit, or a mirrored one, is another digit.
    """
    appendix_d = detector(NETWORKS["ssdlite_mobilevit_xxs"])
    mild = AugmentationConfig(crop_sides=(0.6, 1.0), colours=0.0, flip=0.0)
    rates = replace(
        appendix_d.optimizer, lr_start=1.5e-4, lr_peak=1.5e-3, lr_end=1.5e-4, warmup_updates=100, clip_norm=5.0
    )
    return replace(
        appendix_d,
        task=Detection(augmentation=mild, evaluation=EvaluationConfig(side=192)),
        sampler=SamplerConfig(resolutions=(192,), base_resolution=192, base_batch=4),
        optimizer=rates,
        numerics=NumericsConfig(),
        epochs=40,
        ema_decay=0.98,
    )


RIVALS: dict[str, RunConfig] = {
    name: detector(ReferenceConfig(name=name), side=300 if name in SSD300 else 320) for name in get_args(DetectorName)
}
DETECTORS: dict[str, RunConfig] = {
    **{name: detector(network) for name, network in NETWORKS.items()},
    **{f"{name}_release": release(network) for name, network in NETWORKS.items()},
    **RIVALS,
    "scenes_xxs": scenes_xxs(),
}
"""Recipes by their name in `jobs/train.py`."""
