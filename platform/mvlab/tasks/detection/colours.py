"""Random changes of colours (Appendix D), by the rules of the paper's release (cvnets 0.1). Imports no torch.

Contrast multiplies all channels. The mean of the image does not matter, as it does in torchvision's `adjust_contrast`.
Saturation is HSV's, as in `PIL.Image.convert("HSV")`; torchvision's `adjust_saturation` mixes with grey instead. Two
things differ from the release. Hue wraps around the circle, where the release stops at its end. Levels are rounded,
where the release drops fractions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvlab.codecs.pillow import Pixels
from mvlab.tasks.detection.config import AugmentationConfig

NUM_DRAWS = 12
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Change of an image's colours. The fields are in the order in which they apply."""

    contrast: float = 1.0
    brightness: float = 0.0
    saturation: float = 1.0
    hue: float = 0.0
    late_contrast: float = 1.0
    order: tuple[int, int, int] = (0, 1, 2)
    """Old index of each new channel."""


def drawn(config: AugmentationConfig, draws: Sequence[float]) -> Change:
    """Return the change that NUM_DRAWS numbers, uniform in [0, 1), decide.

    Each change has the probability `config.colours`, p. Contrast has a second chance, after saturation and hue, if it
    did not change before: p + (1 - p) p in all, 0.75 for the release's 0.5.
    """
    coins, positions = draws[0::2], draws[1::2]

    def value(which: int, low: float, high: float, otherwise: float) -> float:
        return low + positions[which] * (high - low) if coins[which] < config.colours else otherwise

    is_early = coins[0] < config.colours
    return Change(
        contrast=value(0, *config.contrast, 1.0),
        brightness=value(1, -config.brightness, config.brightness, 0.0),
        saturation=value(2, *config.saturation, 1.0),
        hue=value(3, -config.hue, config.hue, 0.0),
        late_contrast=1.0 if is_early else value(4, *config.contrast, 1.0),
        order=_ORDERS[int(positions[5] * len(_ORDERS)) if coins[5] < config.colours else 0],
    )


def apply(change: Change, image: Pixels) -> None:
    """Change the colours of an image (3, H, W) in place.

    Raises:
        ValueError: the image is not contiguous in memory.
    """
    from mvlab.tasks.detection.colour_kernels import rescale, turn  # numba: a second to import

    values, planes = image.reshape(-1, copy=False), image.reshape(3, -1, copy=False)
    if change.contrast != 1 or change.brightness != 0:
        rescale(values, np.float32(change.contrast), np.float32(change.brightness * 255))
    if change.saturation != 1 or change.hue != 0:
        turn(planes[0], planes[1], planes[2], np.float32(change.saturation), np.float32(change.hue))
    if change.late_contrast != 1:
        rescale(values, np.float32(change.late_contrast), np.float32(0))
    if change.order != (0, 1, 2):
        planes[:] = planes[list(change.order)]
