"""What a study takes: updates, images and bytes from its plans, and hours from what a step was measured to take."""

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
"""After every epoch: the weights, and their average."""


@dataclass(frozen=True, slots=True)
class Range:
    """Seconds, from a tenth to nine tenths of what was measured."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, times: float) -> "Range":
        return Range(self.low * times, self.high * times)


START_S = Range(8.0, 20.0)
"""Until the workers of a run make their first step: 13 to 16 s on two cores, less where they have run before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one run takes."""

    name: str
    updates: int
    images_trained: int
    """Over all ranks and epochs, padding included."""
    images_evaluated: int
    """As many as are read: each goes through one or two networks."""
    bytes_read: int
    trained: Mapping[int, int]
    """Resolution -> images that a rank trains on."""
    evaluated: Mapping[Size, int]
    """Size of images -> number that a rank's networks see; twice where two networks see them."""

    @classmethod
    def of(cls, trial: Trial, data: DataSet, num_bytes: tuple[int, int], world: int) -> "Work":
        """`num_bytes` of the training and the validation split, as stored."""
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
    """Seconds an image on one rank, by resolution or size."""

    train: Mapping[int, Range]
    evaluate: Mapping[Size, Range]

    def seconds(self, work: Work) -> Range:
        """Of a run, from the start of its workers to its end."""
        steps = (self.train[side] * images for side, images in work.trained.items())
        evaluations = (self.evaluate[size] * images for size, images in work.evaluated.items())
        return sum((*steps, *evaluations), START_S)


def updates(run: RunConfig, num_train: int, world: int) -> int:
    """Optimizer updates of a whole run on so many images and ranks."""
    return _updates(num_train, run.sampler, run.seed, run.epochs, world, run.optimizer.accumulate)


def total(runs: Sequence[Range], at_once: int) -> Range:
    """Seconds that the runs take together, `at_once` of them at a time, each beginning when one before it ends."""
    return Range(*(_ended_s([getattr(run, end) for run in runs], at_once) for end in ("low", "high")))


def describe_work(works: Sequence[Work], num_runs: int | None = None) -> str:
    """A table of `works`, which are all runs or the first of `num_runs`."""
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
    """ "3m10s to 4m20s"."""
    return f"{clock(seconds.low)} to {clock(seconds.high)}"


def stored_bytes(data: DataSet) -> tuple[int, int]:
    """Of the training and the validation split; of the digits' images alone where they are not written yet."""
    if data.digest:
        return read_manifest(data.uri, "train").num_bytes, read_manifest(data.uri, "val").num_bytes
    return sum(len(each.image) for each in digits("train")), sum(len(each.image) for each in digits("val"))


def _bytes(count: int) -> str:
    """ "3.2 MB"."""
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
    """Resolution -> images of a rank, over all epochs."""
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
