"""A run's config from the plain values that are recorded of it."""

from collections.abc import Mapping
from typing import Any

from mvlab.config import AugmentationConfig, EvaluationConfig, NumericsConfig, OptimizerConfig, RunConfig, SamplerConfig
from mvlab.models.weights.network_json import network_from_dict
from mvlab.networks import NetworkConfig

PARTS = {
    "sampler": SamplerConfig,
    "augmentation": AugmentationConfig,
    "optimizer": OptimizerConfig,
    "evaluation": EvaluationConfig,
    "numerics": NumericsConfig,
}


def run_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of `RunConfig.as_dict`, by way of JSON; fields that are younger than the record have their defaults.

    Raises:
        KeyError, TypeError, ValueError: no run of this code has such fields and values.
    """
    model = network_from_dict(values["model"])
    if not isinstance(model, NetworkConfig):
        raise ValueError(f"{type(model).__name__} is no network that a run trains")
    parts = {name: kind(**_tuples(values[name])) for name, kind in PARTS.items() if name in values}
    others = {name: value for name, value in values.items() if name not in ("model", *PARTS)}
    return RunConfig(model=model, **parts, **others)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists in their place."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
