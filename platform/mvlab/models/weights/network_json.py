"""A network's config <-> JSON: in files of weights, and as the part `model` of a run's config."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from mvlab.networks import (
    DeepLabv3Config,
    MobileViTConfig,
    NetworkConfig,
    ReferenceConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
)
from mvlab.networks.base import TYPE, network_as_dict, type_name

OURS: tuple[type[NetworkConfig], ...] = (
    MobileViTConfig,
    ReferenceConfig,
    TorchvisionConfig,
    TimmConfig,
    SSDLiteConfig,
    DeepLabv3Config,
)
"""Classes of networks whose fields alone distinguish them."""


def network_to_json(network: NetworkConfig) -> str:
    return json.dumps(network_as_dict(network), sort_keys=True)


def network_from_json(text: str) -> NetworkConfig:
    """Return the network of this JSON: the inverse of `network_to_json`.

    Raises:
        ValueError: no kind of network that we build has such fields and values.
    """
    return network_from_dict(json.loads(text))


def network_from_dict(values: Mapping[str, Any]) -> NetworkConfig:
    """Return the config whose fields have these plain values. Fields newer than the values have their defaults.

    A named class is looked for in modules that are already imported. No module is imported because a file names it.

    Raises:
        ValueError: no kind of network that is known has such fields and values.
    """
    others = {name: value for name, value in values.items() if name != TYPE}
    why = "none has these fields"
    for kind in [_imported(values[TYPE])] if TYPE in values else OURS:
        if others.keys() <= {each.name for each in fields(kind)}:  # type: ignore[arg-type]
            try:
                network: NetworkConfig = from_plain(kind, others)
                return network
            except (TypeError, ValueError) as error:  # a field is missing or unknown
                why = str(error)
    raise ValueError(f"{json.dumps(values)} is no network that is built here: {why}")


def _imported(name: str) -> type[NetworkConfig]:
    """Return the class of a network that has this full name.

    Raises:
        ValueError: no module that is imported has it.
    """
    parts = name.split(".")
    for count in range(1, len(parts)):
        found: Any = sys.modules.get(".".join(parts[:count]))
        for part in parts[count:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and is_dataclass(found) and type_name(found) == name:
            kind: Any = found
            return kind  # type: ignore[no-any-return]
    raise ValueError(
        f"the network is a {name}, a class that no module imported here has: import it before this is read, e.g. with "
        f"`import {name.rpartition('.')[0]}` in the file of the experiment"
    )


def from_plain(kind: Any, value: Any) -> Any:
    """Return `value` as the type `kind`: JSON has neither dataclasses nor tuples."""
    if kind is NetworkConfig:
        return network_from_dict(value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: from_plain(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        kinds = [first] * len(value) if others == [Ellipsis] else [first, *others]
        return tuple(from_plain(one, each) for one, each in zip(kinds, value, strict=True))
    return value
