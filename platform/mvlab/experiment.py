"""An experiment is a value: runs that differ from one baseline in what the paper varied, and nothing else."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from mvlab.config import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A table or figure of the paper, as runs to make and values to hold them against."""

    name: str
    """Also its folder and its MLflow experiment, e.g. "table6_patch_size"."""
    title: str
    question: str
    source: str
    """Where in the paper, e.g. "Table 6"."""
    varies: str
    """Dotted name of the field that the runs differ in, e.g. "model.patch_sizes"."""
    label: str
    """What a row is called in tables and in MLflow, e.g. "patch"."""
    runs: Mapping[str, RunConfig]
    """Row name -> the paper-scale run."""
    paper: Mapping[str, Mapping[str, float]]
    """Row name -> metric -> the paper's value; "top1" in percent."""
    made_for: Literal["imagenet", "digits"] = "imagenet"
    """The data that the runs at paper scale are made for; only the digits come with the package."""

    def __post_init__(self) -> None:
        if unknown := set(self.paper) - set(self.runs):
            raise ValueError(f"{self.name}: paper values for {sorted(unknown)}, which are no runs of it")

    def select(self, names: Iterable[str]) -> dict[str, RunConfig]:
        """The runs called `names` (all of them where empty), in the experiment's order.

        Raises:
            ValueError: a name is no run of this experiment; the nearest one is suggested.
        """
        wanted = list(names) or list(self.runs)
        for name in wanted:
            if name not in self.runs:
                raise ValueError(f"{self.name} has no run {name!r}{did_you_mean(name, self.runs)}")
        return {name: run for name, run in self.runs.items() if name in wanted}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error about an unknown `name`."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    return f"{hint} It has {', '.join(map(repr, known))}"


def vary(run: RunConfig, path: str, value: Any) -> RunConfig:
    """`run` with the field at the dotted `path` set to `value`; nothing else changes.

    Raises:
        ValueError: `path` names no field.
    """
    replaced: RunConfig = _replace_at(run, path.split("."), value, path)
    return replaced


def _replace_at(node: Any, keys: list[str], value: Any, path: str) -> Any:
    names = [f.name for f in fields(node)] if is_dataclass(node) else []
    if keys[0] not in names:
        raise ValueError(f"{path!r} is no field of a run{did_you_mean(keys[0], names)}")
    if len(keys) > 1:
        value = _replace_at(getattr(node, keys[0]), keys[1:], value, path)
    return replace(node, **{keys[0]: value})
