"""Fine-tuning: training starts from the weights of a checkpoint in place of random ones."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mvlab.data.store.storage import store_errors
from mvlab.errors import UserError
from mvlab.models.backbones.base import Backbone, load_backbone
from mvlab.models.heads.detector import Detector
from mvlab.models.weights.errors import WeightsError, few
from mvlab.models.weights.files import read_contents
from mvlab.models.weights.saved import MARK, preprocessing_in
from mvlab.models.weights.state_dict import is_state_dict, require_finite

BACKBONE = "backbone"
"""Name of the backbone in the networks that have one."""
OTHER_SHAPE = "have another shape"
NAMES_SHOWN = 5
"""Largest number of names in a message: a network has hundreds."""


class InitialWeightsError(UserError, ValueError):
    """Error: this network cannot start from these weights. The message says why, and what to do."""

    is_final = True


def file_sha256(path: Path) -> str:
    """Return the sha256 of the file's bytes, which `RunConfig.initial_weights` names.

    Raises:
        InitialWeightsError: there is no such file.
        StoreError: it cannot be read just now.
    """
    with store_errors(f"initial weights {path}"):
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise InitialWeightsError(f"initial weights {path} cannot be read: {error.strerror}") from error


def load_initial(model: nn.Module, file: Path, *, sha256: str) -> list[str]:
    """Copy the weights of the checkpoint `file` into `model`; averaged weights if it has them.

    It copies all but the layers of another number of classes, which keep their initial values. If `model` is a head on
    a backbone, `file` may also be of a classifier: its backbone is copied, and the head keeps its initial values.

    Args:
        model: the network to fine-tune. It is unchanged if something does not fit.
        file: a checkpoint of this platform.
        sha256: required sha256 of `file`.

    Returns:
        Names of the weights that keep their initial values.

    Raises:
        InitialWeightsError: the file is another one, cannot be read, or is of another network.
    """
    theirs = _weights(file, sha256)
    backbone = getattr(model, BACKBONE, None)
    if isinstance(backbone, Backbone) and not any(name.startswith(f"{BACKBONE}.") for name in theirs):
        return _load_classifier(model, backbone, theirs, file)
    return _load_same(model, theirs, file)


def _load_same(model: nn.Module, theirs: Mapping[str, Tensor], file: Path) -> list[str]:
    """Copy the weights of the same network, which may have another number of classes."""
    ours = model.state_dict()
    differing = _differing(ours, theirs)
    kept = [name for name in _outputs(model) if name in differing and ours[name].shape[1:] == theirs[name].shape[1:]]
    problems = {
        "are missing": [name for name in ours if name not in theirs],
        "are foreign": [name for name in theirs if name not in ours],
        OTHER_SHAPE: [differing[name] for name in differing if name not in kept],
    }
    _require_none(
        problems,
        f"{file} is of another network than this run's",
        "Begin with a checkpoint of the same network (only the number of classes may differ), or change the run's "
        "model to that of the checkpoint",
    )
    model.load_state_dict({name: ours[name] if name in kept else theirs[name] for name in ours})
    return kept


def _load_classifier(model: nn.Module, backbone: Backbone, classifier: Mapping[str, Tensor], file: Path) -> list[str]:
    """Copy a classifier's backbone. The rest of the classifier lies in modules of its own, after the backbone's."""
    if not backbone.has_classifier:
        raise InitialWeightsError(
            f"{file} is not of this run's network, and no classifier's weights fit: this platform trains no classifier "
            "that is the network's backbone. Begin with a checkpoint of the same network"
        )
    ours, theirs = backbone.state_dict(), {backbone.name_of(name): tensor for name, tensor in classifier.items()}
    modules = {name.partition(".")[0] for name in classifier if backbone.name_of(name) in ours}
    problems = {
        "are missing": [name for name in ours if name not in theirs],
        "are foreign": [
            name for name in classifier if backbone.name_of(name) not in ours and name.partition(".")[0] in modules
        ],
        OTHER_SHAPE: list(_differing(ours, theirs).values()),
    }
    _require_none(
        problems,
        f"{file} is neither of this run's network nor of a classifier on its backbone",
        "Begin with a checkpoint of the same network, or of a classifier that is the run's backbone, or change the "
        "run's model",
    )
    load_backbone(model, classifier)
    return [name for name in model.state_dict() if not name.startswith(f"{BACKBONE}.")]


def _differing(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of weights that differ in shape, each with both shapes."""
    return {
        name: f"{name} {tuple(theirs[name].shape)}, here {tuple(ours[name].shape)}"
        for name in ours
        if name in theirs and ours[name].shape != theirs[name].shape
    }


def _require_none(problems: Mapping[str, list[str]], what: str, advice: str) -> None:
    """Refuse weights with problems.

    Raises:
        InitialWeightsError: there are some. The message counts them and names a few.
    """
    if any(problems.values()):
        said = "; ".join(
            f"{len(names)} {problem} ({few(names, NAMES_SHOWN)})" for problem, names in problems.items() if names
        )
        raise InitialWeightsError(f"{what}: of its weights {said}. {advice}")


def _weights(file: Path, sha256: str) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint. Nothing in the file is executed."""
    found = file_sha256(file)
    if found != sha256:
        raise InitialWeightsError(
            f"{file} has sha256 {found}, but the run starts from {sha256}: "
            "it is another file, or was changed; name the file that the run was planned with"
        )
    try:
        contents = read_contents(file)
        for key in ("ema", "model"):
            if is_state_dict(contents.get(key)):
                weights: dict[str, Tensor] = contents[key]
                require_finite(weights, file)
                _require_plain_images(contents, file)
                return weights
    except (KeyError, TypeError, ValueError) as error:
        raise InitialWeightsError(f"initial weights cannot be read as a checkpoint: {error}") from error
    raise InitialWeightsError(
        f'{file} is no checkpoint of this platform: it has weights under neither "ema" nor "model"'
    )


def _require_plain_images(contents: Mapping[str, Any], file: Path) -> None:
    """Refuse weights that need normalised images.

    Raises:
        WeightsError: the weights are for images with a mean and a standard deviation; training has neither.
    """
    if MARK in contents and preprocessing_in(contents).is_normalised:
        raise WeightsError(
            f"{file} is for images prepared as {preprocessing_in(contents)}, and training feeds images in "
            "[0, 1], for which these weights give other outputs. Use the file for packages only, or start from weights "
            "for images in [0, 1]"
        )


def _outputs(model: nn.Module) -> list[str]:
    """Return the names of the parameters whose number may follow the classes: those of the layers that put out logits.

    They are a classifier's last linear layer, and other networks' convolutions with biases outside of the backbone.
    Linear layers in a list with the last count too: CrossViT has one for each of its two branches.
    """
    if isinstance(model, Detector) or hasattr(model, BACKBONE):
        layers = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and module.bias is not None and not name.startswith(f"{BACKBONE}.")
        ]
        return [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        return []
    parent = linear[-1].rpartition(".")[0]
    is_list = isinstance(model.get_submodule(parent), nn.ModuleList)
    heads = [name for name in linear if is_list and name.rpartition(".")[0] == parent] or linear[-1:]
    return [f"{head}.{name}" for head in heads for name in ("weight", "bias")]
