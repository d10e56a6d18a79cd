"""Metrics of a run by name: a task's, after a prefix, and those that every run has."""

import re
from dataclasses import replace

from mvlab.checks import require, require_one_of
from mvlab.config import RunConfig
from mvlab.tasks.base import LOSS, TRAIN, VAL, VAL_EMA, MetricSpec, Task

OF_EVERY_RUN = (
    *("update", "lr", "images_per_s", "data_wait_share", "train_s", "epoch_s", "world_size"),
    *("train/updates_left_out", "val/samples", "data/corrupt_rows", "system/max_rss_gb", "system/gpu_memory_gb"),
)
"""Metrics recorded after every epoch, whatever the task."""
UPDATES, GAP, TRAIN_S = "updates", "gap", "train_s"
"""Metrics computed once a run is complete, by `RunResult.value`."""
LABELS = {TRAIN_S: "training s"}
"""Labels of metrics that are no task's; others go by their name."""
OTHER_SIZE = re.compile(r"test_(\d+)px/(\w+)")


def ema_metric(task: Task | type[Task]) -> str:
    """Primary metric of the EMA weights, e.g. "val_ema/top1"."""
    return f"{VAL_EMA}/{task.primary.name}"


def raw_metric(task: Task) -> str:
    """Primary metric of the weights themselves, e.g. "val/top1"."""
    return f"{VAL}/{task.primary.name}"


def metric_at(side: int, primary: str) -> str:
    """Primary metric of the EMA weights on test images of `side` pixels, after the last epoch."""
    return f"test_{side}px/{primary}"


def each_test(primary: str) -> str:
    """Placeholder for the primary metric at every other test resolution: which those are depends on the scale."""
    return f"test/{primary}"


def mean_test(primary: str) -> str:
    """Mean of the primary metric over the test resolutions."""
    return f"test/mean_{primary}"


def every_epoch(task: Task) -> list[str]:
    """Metrics that are recorded after every epoch of a run of `task`."""
    only_evaluated = {f"{TRAIN}/{spec.name}" for spec in task.metrics if not spec.in_training}
    of_task = [f"{prefix}/{spec.name}" for prefix in (TRAIN, VAL, VAL_EMA) for spec in (LOSS, *task.metrics)]
    of_task = [name for name in of_task if name not in only_evaluated]
    return [*of_task, *OF_EVERY_RUN]


def side_of(metric: str) -> int | None:
    """Side of the test images in pixels, of a metric that `metric_at` names; None for others."""
    found = OTHER_SIZE.fullmatch(metric)
    return int(found[1]) if found else None


def spec_of(metric: str, task: Task) -> MetricSpec:
    """Description of a recorded or computed metric of runs of `task`."""
    primary, side = task.primary, side_of(metric)
    if metric in (ema_metric(task), raw_metric(task)):
        return primary
    if side is not None:
        return replace(primary, name=metric, label=f"{primary.label} at {side} px")
    if metric == mean_test(primary.name):
        return replace(primary, name=metric, label=f"mean test {primary.label}")
    if metric == GAP:
        return replace(primary, name=metric, label=metric)
    prefix, _, name = metric.rpartition("/")
    for spec in (*task.metrics, LOSS):
        if prefix in (TRAIN, VAL, VAL_EMA) and name == spec.name:
            return replace(spec, name=metric, label=spec.label if prefix == VAL_EMA else metric)
    return MetricSpec(name=metric, label=LABELS.get(metric, metric), higher_is_better=False)


def require_measured(metric: str, run: RunConfig, *, where: str) -> None:
    """
    Raises:
        ValueError: runs like `run` have no such metric; `where` begins the message, the nearest name is suggested.
    """
    task = run.task
    if metric == mean_test(task.primary.name) or side_of(metric) is not None:
        require(
            len(task.evaluations(last=True)) > len(task.evaluations(last=False)),
            f"{where}: metric={metric!r} needs other test resolutions, and these runs are evaluated at none: "
            "name some in their task (for classification in task.evaluation.also)",
        )
        return
    gap = (GAP,) if task.primary.in_training else ()
    require_one_of(f"{where}: metric", metric, (*every_epoch(task), UPDATES, *gap))
