"""A network's config as JSON and back: in files of weights, and, as the part `model`, in a run's config."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from mvlab.networks import AnyNetworkConfig


def network_to_json(network: AnyNetworkConfig) -> str:
    return json.dumps(asdict(network), sort_keys=True)


def network_from_json(text: str) -> AnyNetworkConfig:
    """The inverse of `network_to_json`.

    Raises:
        ValueError: no kind of network that we build has such fields and values.
    """
    return network_from_dict(json.loads(text))


def network_from_dict(values: Mapping[str, Any]) -> AnyNetworkConfig:
    """The config whose fields have these plain values; fields that are younger than they have their defaults.

    Raises:
        ValueError: no kind of network that we build has such fields and values.
    """
    why = "none has these fields"
    for kind in get_args(AnyNetworkConfig):
        if values.keys() <= {each.name for each in fields(kind)}:
            try:
                network: AnyNetworkConfig = from_plain(kind, values)
                return network
            except (TypeError, ValueError) as error:  # a field is lacking, or is no name of this kind's
                why = str(error)
    raise ValueError(f"{json.dumps(values)} is no network that is built here: {why}")


def from_plain(kind: Any, value: Any) -> Any:
    """`value` as the type `kind`: JSON has neither dataclasses nor tuples."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: from_plain(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        kinds = [first] * len(value) if others == [Ellipsis] else [first, *others]
        return tuple(from_plain(one, each) for one, each in zip(kinds, value, strict=True))
    return value
