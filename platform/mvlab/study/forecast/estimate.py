"""Work of a study: updates, images and bytes from its plans, and time from measured steps."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mvlab.codecs.pillow import Size
from mvlab.config import RunConfig, SamplerConfig
from mvlab.data.data_set import DataSet
from mvlab.data.plan import plan_epoch, plan_evaluation, updates_by_epoch
from mvlab.data.sources.digits import digits
from mvlab.data.store.manifest import read_manifest
from mvlab.durations import clock
from mvlab.markdown import markdown_table
from mvlab.sweep.trial import Trial

EVALUATED_MODELS = 2
"""Networks evaluated after every epoch: the weights, and their average."""


@dataclass(frozen=True, slots=True)
class Range:
    """Interval of seconds: of measured times, the 10th to the 90th percentile."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, times: float) -> "Range":
        return Range(self.low * times, self.high * times)


START_S = Range(8.0, 20.0)
"""Time until the workers of a run make their first step: 13 to 16 s on two cores, less if they have run before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Work of one run."""

    name: str
    updates: int
    images_trained: int
    """Images over all ranks and epochs, padding included."""
    images_evaluated: int
    """Images read for evaluation. Each goes through one or two networks."""
    bytes_read: int
    trained: Mapping[int, int]
    """Resolution -> images that one rank trains on."""
    evaluated: Mapping[Size, int]
    """Size of images -> images that one rank evaluates. An image counts twice if two networks see it."""

    @classmethod
    def of(cls, trial: Trial, data: DataSet, num_bytes: tuple[int, int], world: int) -> "Work":
        """Compute the work of a trial. `num_bytes`: stored bytes of the training and the validation split."""
        run, task = trial.run, trial.run.task
        rows = data.train_group_rows
        trained = _trained(rows, run.sampler, run.seed, run.epochs, world)
        every, after_last = task.evaluations(last=False), task.evaluations(last=True)
        passes = [(each, run.epochs - 1) for each in every] + [(each, 1) for each in after_last]
        evaluated: dict[Size, int] = {}
        for each, times in passes:
            mine = plan_evaluation(data.num_val, each.batch, world=world, rank=0, size=each.size)
            images = sum(len(planned.samples) for planned in mine)
            models = EVALUATED_MODELS if each.name is None else 1
            evaluated[each.size] = evaluated.get(each.size, 0) + images * times * models
        readings = sum(times for _, times in passes)
        return cls(
            name=trial.name,
            updates=updates(run, data.num_train, world),
            images_trained=world * sum(trained.values()),
            images_evaluated=data.num_val * readings,
            bytes_read=num_bytes[0] * run.epochs + num_bytes[1] * readings,
            trained=trained,
            evaluated=evaluated,
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds per image on one rank, by resolution in training and by image size in evaluation."""

    train: Mapping[int, Range]
    evaluate: Mapping[Size, Range]

    def seconds(self, work: Work) -> Range:
        """Return the duration of a run, from the start of its workers to its end."""
        steps = (self.train[side] * images for side, images in work.trained.items())
        evaluations = (self.evaluate[size] * images for size, images in work.evaluated.items())
        return sum((*steps, *evaluations), START_S)


def updates(run: RunConfig, num_train: int, world: int) -> int:
    """Return the optimizer updates of a whole run on `num_train` images and `world` ranks."""
    return _updates(num_train, run.sampler, run.seed, run.epochs, world, run.optimizer.accumulate)


def total(runs: Sequence[Range], at_once: int) -> Range:
    """Return the seconds that all runs take. `at_once` of them run at a time; each starts when an earlier one ends."""
    return Range(*(_ended_s([getattr(run, end) for run in runs], at_once) for end in ("low", "high")))


def describe_work(works: Sequence[Work], num_runs: int | None = None) -> str:
    """Return a table of `works`. These are all runs, or the first of `num_runs`."""
    rows: list[list[Any]] = [[w.name, w.updates, w.images_trained, w.images_evaluated, w.bytes_read] for w in works]
    times = (num_runs or len(works)) / len(works)
    if times > 1 or len(works) > 1:
        name = "all runs" if times == 1 else f"all {num_runs:,} runs, about"
        rows.append([name, *(round(sum(row[column] for row in rows) * times) for column in range(1, 5))])
    return markdown_table(
        ["run", "updates", "images trained on", "images evaluated", "read"],
        [[name, *(f"{count:,}" for count in counts), _bytes(read)] for name, *counts, read in rows],
    )


def span(seconds: Range) -> str:
    """Return the interval as text, e.g. "3m10s to 4m20s"."""
    return f"{clock(seconds.low)} to {clock(seconds.high)}"


def stored_bytes(data: DataSet) -> tuple[int, int]:
    """Return the bytes of the training and the validation split; of unwritten digits, those of the images alone."""
    if data.digest:
        return read_manifest(data.uri, "train").num_bytes, read_manifest(data.uri, "val").num_bytes
    return sum(len(each.image) for each in digits("train")), sum(len(each.image) for each in digits("val"))


def _bytes(count: int) -> str:
    """Return a number of bytes as text, e.g. "3.2 MB"."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _ended_s(runs: Sequence[float], at_once: int) -> float:
    free = [0.0] * at_once
    for seconds in runs:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


@lru_cache(maxsize=64)  # rows of an experiment share samplers and seeds
def _trained(rows: tuple[int, ...], sampler: SamplerConfig, seed: int, epochs: int, world: int) -> dict[int, int]:
    """Return resolution -> images of one rank, over all epochs."""
    images = dict.fromkeys(sampler.resolutions, 0)
    for epoch in range(epochs):
        plan = plan_epoch(rows, sampler, world=world, seed=seed, epoch=epoch)
        for side in images:
            images[side] += int(plan.batches[plan.resolutions == side].sum())
    return images


@lru_cache(maxsize=64)
def _updates(num_train: int, sampler: SamplerConfig, seed: int, epochs: int, world: int, accumulate: int) -> int:
    counts = updates_by_epoch(num_train, sampler, world=world, seed=seed, epochs=epochs, accumulate=accumulate)
    return int(counts.sum())
