"""Weights in our format: with the network's config, its classes, and the preprocessing of images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mvlab.config import as_written_now
from mvlab.models.build import build_network
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.files import is_safetensors, read_contents, write_contents
from mvlab.models.weights.layout import class_biases
from mvlab.models.weights.network_json import network_from_dict, network_to_json
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.state_dict import state_dict_in
from mvlab.networks import NetworkConfig

MARK = "mvlab_weights"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedNetwork:
    """Network in a file of ours: one that `mvlab weights import` wrote, or a run's checkpoint."""

    network: NetworkConfig
    num_classes: int
    """Number of classes: of a detector without the background, of a segmenter with it."""
    preprocessing: Preprocessing
    weights: dict[str, Tensor]
    """Weights; the averaged ones if training averaged them."""
    source: dict[str, str] = field(default_factory=dict)
    """Origin of imported weights: format, name and sha256 of what was read; which preprocessing was assumed."""

    def build(self) -> nn.Module:
        """Return the network with these weights, in evaluation mode.

        Raises:
            WeightsError: they are another network's.
        """
        network = build_network(self.network, self.num_classes)
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            raise WeightsError(f"the weights do not fit the network that the file names: {error}") from error
        return network.eval()


def write_saved(saved: SavedNetwork, path: Path) -> None:
    """Write a file that `read_saved` reads, and that fine-tuning can start from (`load_initial`).

    Raises:
        WeightsError: the file has a name for files that hold tensors only.
        OSError: it cannot be written.
    """
    if is_safetensors(path):
        raise WeightsError(f"{path}: safetensors holds no config beside the weights; call the file .pt")
    contents = {
        MARK: VERSION,
        "ema": saved.weights,
        "network": network_to_json(saved.network),
        "num_classes": saved.num_classes,
        "preprocessing": json.dumps(saved.preprocessing.as_dict(), sort_keys=True),
        "source": json.dumps(saved.source, sort_keys=True),
    }
    write_contents(contents, path)


def read_saved(path: Path) -> SavedNetwork:
    """Read a file that `mvlab weights import` wrote, or a run's state.pt.

    Raises:
        WeightsError: it is neither, or broken, or nothing that this version reads.
        OSError: there is no such file.
    """
    contents = read_contents(path)
    if not is_saved(contents):
        raise WeightsError(
            f"{path} is neither a run's checkpoint nor what `mvlab weights import` writes: import it first"
        )
    try:
        return _of_import(contents, path) if MARK in contents else _of_run(contents, path)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not what this version of mvlab writes: {error}") from error


def is_saved(contents: Mapping[str, Any]) -> bool:
    """Tell whether these are the contents of a file of ours."""
    return MARK in contents or {"config", "config_digest", "ema"} <= contents.keys()


def preprocessing_in(contents: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing in a file that `mvlab weights import` wrote."""
    return Preprocessing.from_dict(json.loads(contents["preprocessing"]))


def _of_import(contents: Mapping[str, Any], path: Path) -> SavedNetwork:
    if contents[MARK] != VERSION:
        raise WeightsError(f"it has version {contents[MARK]}, and {VERSION} is read")
    return SavedNetwork(
        network=network_from_dict(json.loads(contents["network"])),
        num_classes=contents["num_classes"],
        preprocessing=preprocessing_in(contents),
        weights=state_dict_in(contents, path),
        source=json.loads(contents["source"]),
    )


def _of_run(contents: Mapping[str, Any], path: Path) -> SavedNetwork:
    """Return the network of a run's checkpoint. Its preprocessing is that of the run's evaluation."""
    config = as_written_now(json.loads(contents["config"]))
    evaluation = config["task"].get("evaluation")
    if evaluation is None:
        raise WeightsError(f"{path} is of a run for {config['task']['kind']}: its config says nothing of preprocessing")
    network, weights = network_from_dict(config["model"]), state_dict_in(contents, path)
    biases = class_biases(network)
    return SavedNetwork(
        network=network,
        num_classes=biases.num_classes(weights[biases.name].numel()),
        preprocessing=_preprocessing_of(evaluation),
        weights=weights,
    )


def _preprocessing_of(evaluation: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of an evaluation: a centre crop, or the whole image warped to a square (detection)."""
    if "side" in evaluation:
        return Preprocessing(resize=None, crop=evaluation["side"])
    return Preprocessing(resize=evaluation["resize"], crop=evaluation["crop"])
