"""The paper's training recipe (section 4.1), for its three networks."""

from mvlab.config import XS, XXS, MobileViTConfig, RunConfig, S, SamplerConfig, Widths

MULTI_SCALE = SamplerConfig(resolutions=(160, 192, 256, 288, 320), base_resolution=256, base_batch=128)
"""Section 4.1's set; 128 images on each of 8 GPUs at 256 px."""


def mobilevit(widths: Widths) -> RunConfig:
    """300 epochs on ImageNet-1k; every other number is a default of `mvlab.config`, which names its source."""
    return RunConfig(model=MobileViTConfig(widths=widths), sampler=MULTI_SCALE)


def mobilevit_xxs() -> RunConfig:
    return mobilevit(XXS)


def mobilevit_xs() -> RunConfig:
    return mobilevit(XS)


def mobilevit_s() -> RunConfig:
    return mobilevit(S)
