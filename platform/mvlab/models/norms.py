"""Batch normalisation layers, told apart by what they compute: a subclass may do more than normalise."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

TIMMS = ("timm.layers.norm_act", "BatchNormAct2d")
"""Module and name of timm's batch norm, which holds the activation after it. Importing timm takes seconds."""


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
