"""Files of tensors, by safetensors or torch.save, alone or in a folder. No code in a file is executed."""

import io
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from mvlab.durable import atomic_file
from mvlab.models.weights.container import container_of
from mvlab.models.weights.errors import WeightsError, few

SAFETENSORS = ".safetensors"
IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")
"""File names in folders of Hugging Face's libraries."""
INDEX = ".index.json"
"""Suffix of the file that names the shard of each weight."""


def weight_files(path: Path) -> list[Path]:
    """Return the weight files at `path`: itself, or those in a folder, one file or shards with an index.

    Raises:
        WeightsError: the folder has none, or a shard is missing.
        OSError: it cannot be read.
    """
    if not path.is_dir():
        return [path]
    for name in IN_A_FOLDER:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}{INDEX}").is_file():
            return _shards(path / f"{name}{INDEX}")
    held = few(sorted(each.name for each in path.iterdir())) or "nothing"
    raise WeightsError(
        f"{path} is a folder without {' or '.join(IN_A_FOLDER)}: name a file with weights; it holds {held}"
    )


def _shards(index: Path) -> list[Path]:
    try:
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        shards = [index.with_name(name) for name in files]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{index} is no index of files with weights: {error!r:.200}") from error
    if missing := [each.name for each in shards if not each.is_file()]:
        raise WeightsError(f"{index.parent} is not whole: it lacks {few(missing)}, which {index.name} names")
    return shards


def is_safetensors(path: Path) -> bool:
    """Tell whether a file to write has the name of a safetensors file."""
    return path.suffix.lower() == SAFETENSORS


def read_contents(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file, with tensors on the CPU.

    Raises:
        WeightsError: reading it would execute its code, it is broken, or it is no dictionary.
        OSError: there is no such file.
    """
    content = path.read_bytes()
    container = container_of(content, path)
    try:
        if container == "safetensors":
            contents: Any = load(content)
        else:
            contents = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a broken file raises a dozen exception types, whose messages advise unsafe reading
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


def write_contents(contents: dict[str, Any], path: Path) -> None:
    """Write the file, whole or not at all. Its name decides whether it is safetensors.

    Raises:
        WeightsError: its folder is missing, or it is a folder itself.
        OSError: it cannot be written.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise WeightsError(f"{path} cannot be written: there is no folder {path.parent}, make it first")
    with atomic_file(path) as file:  # given a path, torch writes its name into the file, which changes the digest
        if is_safetensors(path):
            tensors = {name: tensor.contiguous() for name, tensor in contents.items()}
            file.write(save(tensors, metadata={"format": "pt"}))
        else:
            torch.save(contents, file)
