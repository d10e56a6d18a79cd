"""State dicts in files: .safetensors, and what torch.save wrote. Nothing in a file is executed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mvlab.durable import atomic_file
from mvlab.models.weights.errors import WeightsError, few

SAFETENSORS = ".safetensors"
AVERAGED = ("ema", "ema_state_dict", "state_dict_ema", "model_ema")
TRAINED = ("model", "model_state_dict", "state_dict")
"""What checkpoints (ours, ml-cvnets', timm's) keep averaged and other weights under."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def read_contents(path: Path) -> dict[str, Any]:
    """The dictionary in a file, its tensors on the CPU.

    Raises:
        WeightsError: it cannot be read without running code from it, is broken, or is no dictionary.
        OSError: there is no such file.
    """
    try:
        contents: Any = _load(path)
    except OSError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(
                f"{path} holds more than tensors: to read its {code[1]} could run code from the file, so it was not "
                "read. Where you trust it, save its state dict alone, e.g. "
                f"torch.save(torch.load({str(path)!r}, weights_only=False)['state_dict'], 'weights.pt')"
            ) from error
        raise WeightsError(f"{path} is broken, or no file of weights: {error!r:.200}") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} holds a {type(contents).__name__}, not a state dict")
    return contents


def state_dict_in(contents: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The contents if they are a state dict, or the one of a checkpoint, averaged weights before others.

    Raises:
        WeightsError: there is none.
    """
    found = [contents[key] for key in (*AVERAGED, *TRAINED) if _is_state_dict(contents.get(key))]
    if not found and not _is_state_dict(contents):
        keys = few([str(key) for key in contents])
        raise WeightsError(
            f"{path} holds no state dict: its keys are {keys or 'none'}; one of {', '.join((*AVERAGED, *TRAINED))}, or "
            "names of weights, were expected"
        )
    weights = dict(found[0] if found else contents)
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): tensor for name, tensor in weights.items()}
    return weights


def write_contents(contents: dict[str, Any], path: Path) -> None:
    """Writes the file, as safetensors if it is called so; nobody finds half of it.

    Raises:
        WeightsError: it would lie in no folder, or is one.
        OSError: it cannot be written.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise WeightsError(f"{path} cannot be written: there is no folder {path.parent}, make it first")
    with atomic_file(path) as file:  # given a path, torch writes its name into the file, and so into its digest
        if path.suffix == SAFETENSORS:
            tensors = {name: tensor.contiguous() for name, tensor in contents.items()}
            file.write(save(tensors, metadata={"format": "pt"}))
        else:
            torch.save(contents, file)


def _load(path: Path) -> Any:
    if path.suffix == SAFETENSORS:
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(each, Tensor) for each in value.values())
