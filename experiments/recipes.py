"""Training recipes, frozen: section 4.1's for MobileViT, the release's where it differs, Table 5's for CNNs.

The release is apple/ml-cvnets. Its first version reads images as BGR, its last as RGB. The recipes do not differ in
this: a network trained from scratch on BGR equals one trained on RGB with permuted input channels of its stem.
"""

from dataclasses import replace

from mvlab.config import (
    NumericsConfig,
    OptimizerConfig,
    RunConfig,
    SamplerConfig,
)
from mvlab.networks import XS, XXS, MobileViTConfig, S, TorchvisionConfig, Widths
from mvlab.samplers import MOBILENETV2_MULTI_SCALE as CNN_MULTI_SCALE
from mvlab.samplers import MULTI_SCALE
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.classification.task import Classification

CNN_STANDARD = SamplerConfig(resolutions=(224,), base_resolution=224, base_batch=128)
"""Table 5's standard sampler at the resolution of its CNNs."""


def mobilevit(widths: Widths) -> RunConfig:
    """Section 4.1: 300 epochs on ImageNet-1k in fp16. Other numbers are defaults of `mvlab.config`, with sources."""
    return RunConfig(
        task=Classification(),
        model=MobileViTConfig(widths=widths),
        sampler=MULTI_SCALE,
        numerics=NumericsConfig(precision="fp16"),
    )


def mobilevit_xxs() -> RunConfig:
    return mobilevit(XXS)


def mobilevit_xs() -> RunConfig:
    return mobilevit(XS)


def mobilevit_s() -> RunConfig:
    return mobilevit(S)


def release(run: RunConfig) -> RunConfig:
    """MobileViT as the release's last version trains it: longer warm-up, and a cosine schedule in steps of an epoch."""
    return replace(run, optimizer=replace(run.optimizer, warmup_updates=20_000, schedule="epoch"))


def mobilenetv2(sampler: SamplerConfig) -> RunConfig:
    """Table 5, MobileNetv2-1.0: 300 epochs."""
    return _cnn(TorchvisionConfig(name="mobilenet_v2"), sampler, epochs=300, weight_decay=4e-5, nesterov=True)


def resnet50(sampler: SamplerConfig) -> RunConfig:
    """Table 5, ResNet-50: 150 epochs."""
    return _cnn(TorchvisionConfig(name="resnet50"), sampler, epochs=150, weight_decay=1e-4, nesterov=False)


def _cnn(
    model: TorchvisionConfig, sampler: SamplerConfig, *, epochs: int, weight_decay: float, nesterov: bool
) -> RunConfig:
    """Recipe of a CNN: epochs and updates are the paper's, the rest the release's first version's.

    There (mobilenetv2.yaml, resnet.yaml): SGD on 8 x 128 images, no decay of norms and biases, 256 -> 224 px for
    evaluation.
    """
    return RunConfig(
        task=Classification(evaluation=EvaluationConfig(resize=256, crop=224)),
        model=model,
        sampler=sampler,
        optimizer=OptimizerConfig(
            name="sgd",
            lr_start=0.05,
            lr_peak=0.4,
            lr_end=2e-4,
            warmup_updates=7_500,
            schedule="epoch",
            weight_decay=weight_decay,
            decay="matrices",
            nesterov=nesterov,
        ),
        numerics=NumericsConfig(precision="fp16"),
        epochs=epochs,
    )


def digits_xxs() -> RunConfig:
    """MobileViT-XXS, unshrunk, on the embedded digits; not in the paper. Two cores suffice (`--scale paper`).

    Digits are not mirrored, and crops stay large: a flipped or halved digit is another digit.
    """
    return RunConfig(
        task=Classification(
            augmentation=AugmentationConfig(crop_scale=(0.7, 1.0), crop_ratio=(0.85, 1.18), flip=0.0),
            evaluation=EvaluationConfig(resize=64, crop=64, batch=64),
        ),
        model=MobileViTConfig(widths=XXS),
        sampler=SamplerConfig(resolutions=(32, 64), base_resolution=64, base_batch=32),
        optimizer=OptimizerConfig(warmup_updates=100),
        epochs=36,
        ema_decay=0.95,
    )


RECIPES: dict[str, RunConfig] = {
    "mobilevit_xxs": mobilevit_xxs(),
    "mobilevit_xs": mobilevit_xs(),
    "mobilevit_s": mobilevit_s(),
    "mobilevit_xxs_release": release(mobilevit_xxs()),
    "mobilevit_xs_release": release(mobilevit_xs()),
    "mobilevit_s_release": release(mobilevit_s()),
    "mobilenetv2_standard": mobilenetv2(CNN_STANDARD),
    "mobilenetv2_multi_scale": mobilenetv2(CNN_MULTI_SCALE),
    "resnet50_standard": resnet50(CNN_STANDARD),
    "resnet50_multi_scale": resnet50(CNN_MULTI_SCALE),
    "digits_xxs": digits_xxs(),
}
"""Recipes by their name in `jobs/train.py`."""
