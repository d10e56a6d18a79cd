"""The paper's training recipe (section 4.1), for its three networks."""

from mvlab.config import XS, XXS, MobileViTConfig, RunConfig, S, Widths
from mvlab.samplers import MULTI_SCALE


def mobilevit(widths: Widths) -> RunConfig:
    """300 epochs on ImageNet-1k; every other number is a default of `mvlab.config`, which names its source."""
    return RunConfig(model=MobileViTConfig(widths=widths), sampler=MULTI_SCALE)


def mobilevit_xxs() -> RunConfig:
    return mobilevit(XXS)


def mobilevit_xs() -> RunConfig:
    return mobilevit(XS)


def mobilevit_s() -> RunConfig:
    return mobilevit(S)
