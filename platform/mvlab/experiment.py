"""An experiment is a value: runs that differ from one baseline in what the paper varied, and nothing else."""

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


MadeFor = Literal["imagenet", "digits"]
"""Data that runs at paper scale are made for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Content of a table's row: a metric of a run's last epoch."""

    run: str
    metric: str = ""
    """One of those in `mvlab.metrics`; empty for the primary one of the task, of the EMA weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What the paper says of two rows; measured as `row` minus `than`, seed by seed."""

    says: str
    """In a sentence, as a table can show it."""
    row: str
    than: str
    metric: str | None = None
    """Of their runs' last epochs, if not the one that the rows show."""
    paper: float | None
    """The paper's difference, in the metric's unit; None where it says only which way."""
    higher: bool = True
    """Which way: whether `row` is above `than`; of no account where there is a margin."""
    margin: float | None = None
    """Says that the rows are equal to within this much; None says that they are not."""
    percent: bool = False
    """True for a difference in percent of the size of `than`; there is none where that measures 0."""

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
    """A network in one of the paper's plots."""

    name: str
    parameters_M: float  # noqa: N815 - millions
    value: float
    """Its primary metric."""

    def __post_init__(self) -> None:
        require_fields(self)


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
    """Name -> the paper-scale run."""
    rows: Mapping[str, Reading] = field(default_factory=dict)
    """Row name -> its content; empty for one row a run, with the primary metric of its EMA weights."""
    paper: Mapping[str, Mapping[str, float]]
    """Row name -> metric -> the paper's value; the primary metric goes by its plain name, e.g. "top1"."""
    claims: tuple[Claim, ...] = ()
    columns: tuple[str, ...] = ()
    """Metrics that are shown for each row besides its own; `metrics.each_test` stands for one a resolution."""
    points: tuple[Point, ...] = ()
    """Of the paper's plot, besides our runs."""
    note: str = ""
    """What whoever reads the report should know of the paper's values."""
    panels: tuple[Panel, ...] = ("accuracy", "latency")
    compares_networks: bool = False
    """Whether runs differ in the size of their network, which a smaller scale then keeps apart."""
    made_for: MadeFor = "imagenet"
    """The data that the runs at paper scale are made for; only the digits come with the package."""

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
        """Task of its runs; they may vary its fields."""
        return next(iter(self.runs.values())).task

    def select(self, names: Iterable[str]) -> dict[str, RunConfig]:
        """The runs called `names` (all of them where empty), in the experiment's order.

        Raises:
            InvalidValueError: a name is no run of this experiment; the nearest one is suggested.
        """
        wanted = list(names) or list(self.runs)
        for name in wanted:
            if name not in self.runs:
                raise InvalidValueError(f"{self.name} has no run {name!r}{did_you_mean(name, self.runs)}")
        return {name: run for name, run in self.runs.items() if name in wanted}


def reading_of(claim: Claim, reading: Reading) -> Reading:
    """What the claim is about, of a row that shows `reading`."""
    return reading if claim.metric is None else Reading(reading.run, claim.metric)


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
