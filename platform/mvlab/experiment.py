"""Experiments as values: runs that differ from one baseline only in what the paper varied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from mvlab.checks import did_you_mean, require, require_fields
from mvlab.config import RunConfig
from mvlab.errors import InvalidValueError
from mvlab.metrics import each_test, ema_metric, mean_test, require_measured
from mvlab.names import require_distinct_folders, require_folder_name
from mvlab.tasks.base import Task

Panel = Literal["accuracy", "errors", "latency", "parameters", "resolutions", "varied"]
"""A part of an experiment's figure.

accuracy: the rows' metric over the epochs, where it is measured after each. errors: training and validation error over
the epochs. latency, parameters: the rows' metric against the cost of the network. resolutions: the primary metric at
several test resolutions. varied: the rows' metric over the value that the runs differ in.
"""


MadeFor = Literal["imagenet", "coco", "digits", "scenes"]
"""Data set that the runs at paper scale are made for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Content of a table's row: a metric of a run's last epoch."""

    run: str
    metric: str = ""
    """Name of a metric in `mvlab.metrics`. Empty: the task's primary metric, of the EMA weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Claim of the paper about two rows, measured as `row` minus `than` for each seed."""

    says: str
    """The claim in one sentence, as a table can show it."""
    row: str
    than: str
    metric: str | None = None
    """Metric of both runs' last epochs. None: the one that the rows show."""
    paper: float | None
    """The paper's difference, in the metric's unit. None: the paper gives only the direction."""
    higher: bool = True
    """Direction: true if `row` is above `than`. Ignored where there is a margin."""
    margin: float | None = None
    """Largest difference at which the rows count as equal. None: the claim is that they differ."""
    percent: bool = False
    """True: the difference is in percent of the absolute value of `than`. There is none where that value is 0."""

    def __post_init__(self) -> None:
        require_fields(self)
        if self.margin is None:
            return
        require(self.margin >= 0, f"claim {self.says!r}: a margin of {self.margin:g} is negative")
        require(
            self.paper is None or abs(self.paper) < self.margin or self.paper == self.margin == 0,
            f"claim {self.says!r}: the paper's own difference of {self.paper} is not within the margin of "
            f"{self.margin:g}, so that no number of seeds would find it reproduced; widen the margin",
        )


@dataclass(frozen=True, slots=True)
class Point:
    """Network in one of the paper's plots."""

    name: str
    parameters_M: float  # noqa: N815 - millions
    value: float
    """Primary metric of the network."""

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Table or figure of the paper: the runs to make, and the paper's values to compare them with."""

    name: str
    """Name of the experiment, of its folder and of its MLflow experiment, e.g. "table6_patch_size"."""
    title: str
    question: str
    source: str
    """Place in the paper, e.g. "Table 6"."""
    varies: str
    """Dotted name of the field that the runs differ in, e.g. "model.patch_sizes"."""
    label: str
    """Heading of the rows in tables and figures, e.g. "patch"."""
    runs: Mapping[str, RunConfig]
    """Run name -> its configuration at paper scale."""
    rows: Mapping[str, Reading] = field(default_factory=dict)
    """Row name -> its content. Empty: one row per run, with the primary metric of its EMA weights."""
    paper: Mapping[str, Mapping[str, float]]
    """Row name -> metric -> the paper's value. The primary metric has its plain name here, e.g. "top1"."""
    claims: tuple[Claim, ...] = ()
    columns: tuple[str, ...] = ()
    """Further metrics to show for each row. `metrics.each_test` stands for one column per test resolution."""
    points: tuple[Point, ...] = ()
    """Other networks of the paper's plot, shown besides our runs."""
    note: str = ""
    """Remark on the paper's values, for readers of the report."""
    panels: tuple[Panel, ...] = ("accuracy", "latency")
    compares_networks: bool = False
    """True if runs differ in the size of their network. A smaller scale then keeps these sizes apart."""
    made_for: MadeFor = "imagenet"
    """Data set that the runs at paper scale are made for. The digits and the scenes come with the package."""

    def __post_init__(self) -> None:
        require_fields(self)
        require_folder_name("experiment", self.name)
        require(len(self.runs) > 0, f"{self.name}: it has no runs")
        require_distinct_folders(f"{self.name}: run", self.runs)
        primaries = {run.task.primary.name for run in self.runs.values()}
        require(len(primaries) == 1, f"{self.name}: its runs have several primary metrics: {', '.join(primaries)}")
        rows = self.rows or {name: Reading(name) for name in self.runs}
        primary = ema_metric(self.task)
        rows = {row: replace(reading, metric=reading.metric or primary) for row, reading in rows.items()}
        object.__setattr__(self, "rows", rows)
        if unknown := {reading.run for reading in self.rows.values()} - set(self.runs):
            raise ValueError(f"{self.name}: rows of {sorted(unknown)}, which are no runs of it")
        if unknown := set(self.paper) - set(self.rows):
            raise ValueError(f"{self.name}: paper values for {sorted(unknown)}, which are no rows of it")
        if unknown := {row for claim in self.claims for row in (claim.row, claim.than)} - set(self.rows):
            raise ValueError(f"{self.name}: claims about {sorted(unknown)}, which are no rows of it")
        for row, reading in self.rows.items():
            require_measured(reading.metric, self.runs[reading.run], where=f"{self.name}, row {row!r}")
            for column in self.columns:
                name = self.task.primary.name
                metric = mean_test(name) if column == each_test(name) else column
                require_measured(metric, self.runs[reading.run], where=f"{self.name}, column {column!r}")
        for claim in self.claims:
            for row in (claim.row, claim.than):
                reading = reading_of(claim, self.rows[row])
                require_measured(reading.metric, self.runs[reading.run], where=f"{self.name}, claim {claim.says!r}")

    @property
    def task(self) -> Task:
        """Task of the runs, which may differ in its fields."""
        return next(iter(self.runs.values())).task

    def select(self, names: Iterable[str]) -> dict[str, RunConfig]:
        """Return the runs called `names`, in the experiment's order; all runs if `names` is empty.

        Raises:
            InvalidValueError: a name is no run of this experiment; the nearest one is suggested.
        """
        wanted = list(names) or list(self.runs)
        for name in wanted:
            if name not in self.runs:
                raise InvalidValueError(f"{self.name} has no run {name!r}{did_you_mean(name, self.runs)}")
        return {name: run for name, run in self.runs.items() if name in wanted}


def reading_of(claim: Claim, reading: Reading) -> Reading:
    """Return the reading that a claim compares, for a row that shows `reading`."""
    return reading if claim.metric is None else Reading(reading.run, claim.metric)


def vary(run: RunConfig, path: str, value: Any) -> RunConfig:
    """Return `run` with the field at the dotted `path` set to `value`. Nothing else changes.

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
