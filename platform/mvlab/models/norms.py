"""Batch normalisation layers, told apart by what they compute: a subclass may do more than normalise."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)
TIMMS = ("timm.layers.norm_act", "BatchNormAct2d")
"""Module and name of timm's batch norm, which holds the activation after it. Importing timm takes seconds."""
MOMENTUM = 0.1
"""Share of a batch in the running averages of a norm, after it."""


def is_timms(norm: nn.Module) -> bool:
    """Tell whether the layer is timm's batch norm with its activation inside."""
    return (type(norm).__module__, type(norm).__name__) == TIMMS


def after_norm(layer: nn.Module) -> nn.Module | None:
    """Return the layer that a batch norm computes after it has normalised, in evaluation.

    Returns:
        An identity for PyTorch's own layer, the activation for timm's, None for every other layer.
    """
    if type(layer) is nn.BatchNorm2d:
        return nn.Identity()
    if is_timms(layer):
        activation = layer.act
        assert isinstance(activation, nn.Module)
        return activation
    return None


def batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    """Yield every layer that normalises over the images of a batch, of whatever class."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def with_quick_averages(model: Model) -> Model:
    """Return the model, whose norms' running averages follow batches as `MOMENTUM` says.

    torchvision's MobileNetv3 and MNASNet follow by 0.01 and 0.0003, and are evaluated with the averages of random
    weights for the first hundreds, or thousands, of updates. The release has 0.1 in all networks.
    """
    for norm in batch_norms(model):
        norm.momentum = MOMENTUM  # type: ignore[assignment]
    return model
