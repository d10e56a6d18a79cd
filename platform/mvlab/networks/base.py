"""Network as a value that builds, names and scales itself. Importing it imports no torch."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from mvlab.checks import require

if TYPE_CHECKING:
    from torch import nn

    from mvlab.models.backbones.base import Backbone

SmallerScale = Literal["smoke", "mini"]


@runtime_checkable
class NetworkConfig(Protocol):
    """Network that a run can train, report and record: a frozen dataclass, the platform's or your own.

    A derived class defines its title (`title`) and how it is built (`build`), and inherits the rest.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the network in reports, e.g. "MobileViT-XXS"."""

    @abstractmethod
    def build(self, num_classes: int) -> "nn.Module":
        """Return the network with random weights; nothing is downloaded.

        torch is imported in here. `num_classes` leaves out the background of a detector, and counts a segmenter's.
        """

    def __hash__(self) -> int:
        """Refuse, until a frozen dataclass puts the hash of its fields in place of this."""
        raise TypeError(f"{type(self).__name__} is no frozen dataclass: it cannot be a key")

    @property
    def full_title(self) -> str:
        """Return the title, with whatever distinguishes networks of one title."""
        return self.title

    @property
    def task(self) -> str:
        """Name of the task that the network is for."""
        return "classification"

    @property
    def stride(self) -> int:
        """Ratio of the image's side to that of the last feature map. Sides of images are multiples of it."""
        return 32

    @property
    def trains_optimized(self) -> bool:
        """True if training on a CPU takes the faster layers of `models/cpu`, whose rounding is not PyTorch's."""
        return False

    def build_backbone(self, *, output_stride: int = 32) -> "Backbone":
        """Return the network without its classifier, with random weights: feature maps for the head of another task.

        Args:
            output_stride: stride of the last map. If it is not the network's own, the last stages are dilated.

        Raises:
            ValueError: the network gives no maps, or none at this output stride.
        """
        raise ValueError(f"{self.title} gives no maps for a head: its config has no build_backbone")

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        """Return the network for a smaller scale. By default, this is the network itself.

        Args:
            scale: the scale; smoke is the smaller one.
            side: pixels of its images.
            keep_apart: networks of different sizes stay different, for experiments that compare them.
        """
        return self

    def require_sizes(self, sides: Iterable[int]) -> None:
        """Require image sizes that the network takes.

        Raises:
            ValueError: the network does not take square images with one of these sides, in pixels.
        """
        for side in sides:
            require(
                side > 0 and side % self.stride == 0,
                f"images of {side} px for {self.title}: their side must be a positive multiple of {self.stride}, the "
                f"network's stride: try {max(1, round(side / self.stride)) * self.stride}",
            )


def is_value(network: object) -> bool:
    """Tell whether a network is a frozen dataclass: it cannot change, and equal values mean equal networks."""
    parameters: Any = getattr(type(network), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


TYPE = "type"
"""Key, beside the fields, of a network whose class is not the platform's."""


def type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def network_as_dict(network: Any) -> dict[str, Any]:
    """Return a network as nested plain values, for JSON. A foreign class is named; our classes differ in fields."""
    plain = asdict(network)
    for field in fields(network):
        value = getattr(network, field.name)
        if isinstance(value, NetworkConfig):
            plain[field.name] = network_as_dict(value)
    is_ours = type(network).__module__.startswith(f"{__package__}.")
    return plain if is_ours else {TYPE: type_name(type(network)), **plain}
