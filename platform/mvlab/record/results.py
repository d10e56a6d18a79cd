"""Results of a study's runs, read back from its journal: all that a report needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mvlab.errors import UserError
from mvlab.experiment import Reading
from mvlab.metrics import mean_test, side_of
from mvlab.record.journal import SWEEP, Journal, Status
from mvlab.record.tags import CONFIG_TAG, PRIMARY_TAG, PRUNED_TAG, ROW_TAG, WEIGHTS_TAG, current
from mvlab.tasks.base import VAL_EMA, MetricSpec


class ResultsError(UserError, ValueError):
    """Error: there are no results to read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """One run: an arm of the experiment with one seed."""

    arm: str
    """Name of the run in `Experiment.runs`."""
    seed: int
    network: str
    """Network that was trained. At a smaller scale, it may be smaller than the paper's."""
    planned_epochs: int
    epochs: Sequence[Mapping[str, float]]
    """Metrics of each finished epoch, in order."""
    costs: Mapping[str, float]
    """Costs of the paper's network: cost/params, cost/macs, cost/attention_macs, cost/latency_ms,
    cost/latency_fastest_ms."""
    status: Status | None
    config_digest: str
    """Digest of the config that the run ended with. A study with accepted changes may have resumed with another."""
    dataset_digest: str
    """Digest of the training split that the run read last."""
    revision: str
    """Revision of the code, e.g. "0123456789ab" or "0123456789ab with changes"."""
    weights_sha256: str
    """sha256 of the EMA weights after the last finished epoch; empty before the first."""
    primary: str = "top1"
    """Plain name of the task's primary metric."""
    was_told_to_stop: bool = False
    """True if successive halving stopped the run, whether or not it had time to stop."""

    @property
    def ending(self) -> str:
        """Return the ending in one word for people. A pruned run ended as intended."""
        if self.was_told_to_stop and self.status == "KILLED":
            return "pruned"
        return (self.status or "running").lower()

    @property
    def is_complete(self) -> bool:
        """True if it has all of its epochs. A run that stopped before counts for nothing."""
        return len(self.epochs) == self.planned_epochs

    def value(self, metric: str) -> float | None:
        """Return a metric of the last epoch, or one of these; None if the run has none, or is not complete.

        updates: number of optimizer updates. train_s: seconds of training, without evaluation.
        gap: training minus validation metric of the raw weights (Figure 9; under augmentation, as there).
        test/mean_top1, or of another primary metric: mean over the test resolutions.
        """
        if not self.is_complete:
            return None
        last = self.epochs[-1]
        if metric == mean_test(self.primary):
            by_side = self.by_resolution()
            return fmean(by_side.values()) if by_side else None
        match metric:
            case "updates":
                return last.get("update")
            case "train_s":
                return sum(epoch["train_s"] for epoch in self.epochs) if "train_s" in last else None
            case "gap":
                train = last.get(f"train/{self.primary}")
                return None if train is None else train - last[f"val/{self.primary}"]
        return last.get(metric)

    def curve(self, metric: str) -> list[float]:
        """Return the metric after each epoch; empty if it was not measured after every one."""
        return [epoch[metric] for epoch in self.epochs] if all(metric in epoch for epoch in self.epochs) else []

    def by_resolution(self) -> dict[int, float]:
        """Return the primary metric of the EMA weights by side of the test images in pixels."""
        last = self.epochs[-1] if self.is_complete else {}
        found = {side: value for name, value in last.items() if (side := side_of(name)) is not None}
        return dict(sorted(found.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Runs of a study, and the origin of their numbers."""

    experiment: str
    scale: str
    data: str
    """Data set that the runs were trained on, for people."""
    tags: Mapping[str, str]
    """Tags of the study: revision, versions, digests, world size, time."""
    runs: Sequence[RunResult]

    def values(self, reading: Reading) -> dict[int, float]:
        """Return the value by seed, of the complete runs that have one."""
        ours = (run for run in self.runs if run.arm == reading.run)
        found = {run.seed: run.value(reading.metric or f"{VAL_EMA}/{run.primary}") for run in ours}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def sample_worth(self, metric: MetricSpec) -> float:
        """Return the points of one validation sample; 0 if the metric counts no samples, or no run is complete."""
        if not metric.step_per_sample:
            return 0.0
        return max((100 / run.epochs[-1]["val/samples"] for run in self.runs if run.is_complete), default=0.0)

    def test_sides(self) -> list[int]:
        """Return the sides of the test images, pixels, at which any run was evaluated in addition."""
        return sorted({side for run in self.runs for side in run.by_resolution()})

    def of_arm(self, arm: str) -> list[RunResult]:
        """Return the complete runs of an arm, by seed."""
        return sorted((run for run in self.runs if run.arm == arm and run.is_complete), key=lambda run: run.seed)


def read_results(path: Path) -> Results:
    """Read the results in the journal at `path`.

    Raises:
        ResultsError: no study was recorded there.
    """
    epochs: dict[str, dict[int, Mapping[str, float]]] = {}
    costs: dict[str, dict[str, float]] = {}
    journal = Journal(path)
    for event in journal.events():
        if event.kind == "metrics" and event.step:
            epochs.setdefault(event.run, {})[event.step] = event.metrics
        elif event.kind == "metrics":
            costs.setdefault(event.run, {}).update(event.metrics)
    begun = {name: run for name, run in journal.runs().items() if run.is_begun}
    if SWEEP not in begun:
        raise ResultsError(f"{path}: no study is recorded there")
    study = begun[SWEEP].tags
    return Results(
        experiment=study["mvlab.study"],
        scale=study["mvlab.scale"],
        data=study.get("mvlab.data", study["mvlab.dataset"]),
        tags=study,
        runs=[
            run_result(run.tags, run.params, epochs.get(name, {}), costs.get(name, {}), run.status, primary_of(study))
            for name, run in begun.items()
            if name != SWEEP
        ],
    )


def run_result(
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    epochs: Mapping[int, Mapping[str, float]],
    costs: Mapping[str, float],
    status: Status | None,
    primary: str,
) -> RunResult:
    """Return a run as it is recorded, in a journal or in MLflow; `epochs` by number, from 1, may come in any order."""
    params = current(params, tags)
    dirty = " with changes" if tags.get("mvlab.git.dirty") == "true" else ""
    return RunResult(
        arm=tags[ROW_TAG],
        seed=int(params["seed"]),
        network=params["model"],
        planned_epochs=int(params["epochs"]),
        epochs=[epochs[number] for number in sorted(epochs)],
        costs=costs,
        status=status,
        config_digest=tags[CONFIG_TAG],
        dataset_digest=tags.get("mvlab.dataset_digest", ""),
        revision=tags.get("mvlab.git.revision", "unknown")[:12] + dirty,
        weights_sha256=tags.get(WEIGHTS_TAG, ""),
        primary=primary,
        was_told_to_stop=PRUNED_TAG in tags,
    )


def primary_of(study: Mapping[str, str]) -> str:
    """Return the plain name of the primary metric of a study with these tags."""
    return study.get(PRIMARY_TAG, "top1")
