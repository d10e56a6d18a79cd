"""Files of tensors: safetensors, and what torch.save wrote. Nothing in a file is executed."""

import io
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from mvlab.durable import atomic_file
from mvlab.models.weights.container import container_of
from mvlab.models.weights.errors import WeightsError

SAFETENSORS = ".safetensors"


def is_safetensors(path: Path) -> bool:
    """Return whether a file that is to be written is called as one of safetensors."""
    return path.suffix.lower() == SAFETENSORS


def read_contents(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file, its tensors on the CPU.

    Raises:
        WeightsError: it cannot be read without running code from it, is broken, or is no dictionary.
        OSError: there is no such file.
    """
    content = path.read_bytes()
    container = container_of(content, path)
    try:
        contents = load(content) if container == "safetensors" else _load_torch(content)
    except MemoryError:
        raise
    except Exception as error:  # a broken file raises a dozen kinds, whose messages advise to read it unsafely
        if code := re.search(r"GLOBAL (\w\S*)", str(error)):
            raise WeightsError(
                f"{path} holds more than tensors: to read its {code[1]} could run code from the file, so it was not "
                "read. Where it was made, save the weights alone: torch.save(network.state_dict(), 'weights.pt')"
            ) from error
        raise WeightsError(
            f"{path} is broken: it begins as a file of weights does, and cannot be read as one "
            f"({type(error).__name__}); copy or download it again"
        ) from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} holds a {type(contents).__name__}, not a state dict")
    return contents


def _load_torch(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def write_contents(contents: dict[str, Any], path: Path) -> None:
    """Write the file, as safetensors if it is called so; nobody finds half of it.

    Raises:
        WeightsError: it would lie in no folder, or is one.
        OSError: it cannot be written.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise WeightsError(f"{path} cannot be written: there is no folder {path.parent}, make it first")
    with atomic_file(path) as file:  # given a path, torch writes its name into the file, and so into its digest
        if is_safetensors(path):
            tensors = {name: tensor.contiguous() for name, tensor in contents.items()}
            file.write(save(tensors, metadata={"format": "pt"}))
        else:
            torch.save(contents, file)
