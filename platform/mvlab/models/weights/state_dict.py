"""State dicts as they occur: within checkpoints, and with prefixes that wrappers add to names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvlab.models.weights.errors import WeightsError, few

AVERAGED = ("ema", "ema_state_dict", "state_dict_ema", "model_ema", "swa_model", "averaged_model")
TRAINED = ("model", "model_state_dict", "state_dict")
"""Keys of averaged and of other weights in checkpoints (ours, ml-cvnets', timm's, Lightning's)."""
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes of DistributedDataParallel and AveragedModel, torch.compile, and common Lightning modules."""
COUNTERS = re.compile(r"(.*\.)?(n_averaged|total_ops|total_params)")
"""Tensors that are no weights: AveragedModel counts its updates, thop counts operations."""


def state_dict_in(contents: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the contents if they are a state dict, or that of a checkpoint, averaged weights before others.

    Raises:
        WeightsError: there is none.
    """
    found = [contents[key] for key in (*AVERAGED, *TRAINED) if is_state_dict(contents.get(key))]
    if not found and not is_state_dict(contents):
        keys = few([str(key) for key in contents])
        raise WeightsError(
            f"{path} holds no state dict: its keys are {keys or 'none'}; one of {', '.join((*AVERAGED, *TRAINED))}, or "
            "names of weights, were expected"
        )
    return dict(found[0] if found else contents)


def unwrapped(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights by the network's own names, and the names of entries left out as no weights."""
    left_out = tuple(name for name in weights if COUNTERS.fullmatch(name))
    bare = {name: tensor for name, tensor in weights.items() if name not in left_out}
    while (wrapper := _wrapper_of(bare)) is not None:
        bare = {name.removeprefix(wrapper): tensor for name, tensor in bare.items()}
    return bare, left_out


def require_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Check that all weights are finite.

    Raises:
        WeightsError: a weight is infinite or NaN.
    """
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"{path} has NaN or infinity in {few(broken)}: it is damaged, or of a training that diverged; take another "
            "checkpoint"
        )


def _wrapper_of(names: Mapping[str, Tensor]) -> str | None:
    """Return a prefix of most names without which all names still differ."""
    for wrapper in WRAPPERS:
        wrapped = sum(name.startswith(wrapper) for name in names)
        if 2 * wrapped > len(names) == len({name.removeprefix(wrapper) for name in names}):
            return wrapper
    return None


def is_state_dict(value: Any) -> bool:
    """Tell whether this is a non-empty dictionary of tensors."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(each, Tensor) for each in value.values())
