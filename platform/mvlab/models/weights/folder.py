"""Folders of weights, in the form of Hugging Face's libraries: one file, or shards and an index."""

import json
from pathlib import Path

from mvlab.models.weights.errors import WeightsError, few

NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
"""Suffix of the file that names the shard of each weight."""


def weight_files(path: Path) -> list[Path]:
    """Return the weight files at `path`: itself, or those in a folder.

    Raises:
        WeightsError: the folder has none, or a shard is missing.
        OSError: it cannot be read.
    """
    if not path.is_dir():
        return [path]
    for name in NAMES:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}{INDEX}").is_file():
            return _shards(path / f"{name}{INDEX}")
    held = few(sorted(each.name for each in path.iterdir())) or "nothing"
    raise WeightsError(f"{path} is a folder without {' or '.join(NAMES)}: name a file with weights; it holds {held}")


def _shards(index: Path) -> list[Path]:
    try:
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        shards = [index.with_name(name) for name in files]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{index} is no index of files with weights: {error!r:.200}") from error
    if missing := [each.name for each in shards if not each.is_file()]:
        raise WeightsError(f"{index.parent} is not whole: it lacks {few(missing)}, which {index.name} names")
    return shards
