"""Where a MobileViT's parameters are (Figure 3d): at each output stride, in MV2 and in MobileViT blocks."""

from collections.abc import Iterable
from dataclasses import dataclass

from mvlab.measure.architecture import Block
from mvlab.measure.cost import count_parameters
from mvlab.models.backbones.layers import MV2, MobileViTBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Parameters at an output stride."""

    stride: int
    mv2: int
    mobilevit: int
    other: int
    """Of the stem, or of the 1x1 convolution before the pooling."""

    @property
    def total(self) -> int:
        return self.mv2 + self.mobilevit + self.other


def levels(blocks: Iterable[Block]) -> list[Level]:
    """From the largest map to the smallest; the classifier is at none of them."""
    found: dict[int, dict[str, int]] = {}
    for block in blocks:
        level = found.setdefault(block.stride, {"mv2": 0, "mobilevit": 0, "other": 0})
        kind = {MV2: "mv2", MobileViTBlock: "mobilevit"}.get(type(block.module), "other")
        level[kind] += count_parameters(block.module)
    return [Level(stride=stride, **level) for stride, level in sorted(found.items())]
