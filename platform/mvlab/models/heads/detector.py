"""Interface of all detectors: predictions for each prior of an image.

Shapes: B batch, N priors, K classes with the background.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

Predictions = tuple[Tensor, Tensor]
"""Output of a detector for a batch of images, in the order of its priors.

offsets (B, N, 4): offset of each prior's box, of the centre x and y, then of the logarithms of width and height.
logits (B, N, K): logits of the classes of each prior. The first is the background.
"""


class Detector(nn.Module, ABC):
    """Images (B, 3, H, W) in [0, 1] -> predictions for the priors of an image of this size."""

    @abstractmethod
    def forward(self, images_BCHW: Tensor) -> Predictions:
        """Return the predictions."""

    @abstractmethod
    def priors(self, height: int, width: int) -> Tensor:
        """Return (N, 4) float32, on the CPU: centre x and y, width and height of each prior, as shares of the image."""
