"""Rebuild a run's config from its recorded plain values."""

from collections.abc import Mapping
from typing import Any

from mvlab.config import NumericsConfig, OptimizerConfig, RunConfig, SamplerConfig, as_written_now
from mvlab.models.weights.network_json import from_plain, network_from_dict
from mvlab.tasks.base import Task
from mvlab.tasks.known import task_of_kind

PARTS = {
    "sampler": SamplerConfig,
    "optimizer": OptimizerConfig,
    "numerics": NumericsConfig,
}


def run_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Invert `RunConfig.as_dict`, by way of JSON. Fields that are newer than the record have their defaults.

    Raises:
        KeyError, TypeError, ValueError: this code has no run with such fields and values.
    """
    values = as_written_now(values)
    kind = task_of_kind(values["task"]["kind"])
    task: Task = from_plain(kind, {name: value for name, value in values["task"].items() if name != "kind"})
    parts = {
        name: part(**{field: _tuple(value) for field, value in values[name].items()})
        for name, part in PARTS.items()
        if name in values
    }
    others = {name: value for name, value in values.items() if name not in ("task", "model", *PARTS)}
    return RunConfig(task=task, model=network_from_dict(values["model"]), **parts, **others)


def _tuple(value: Any) -> Any:
    """Replace lists by tuples, which JSON does not have."""
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
