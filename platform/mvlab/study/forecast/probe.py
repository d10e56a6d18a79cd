"""Measure the speed of a study's runs on this machine, in some seconds: one rank, without Ray.

For each network it times training steps at each resolution, evaluation batches, and a reader that makes these batches.
The interval is from the 10th to the 90th percentile of the measured times.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from mvlab.codecs.pillow import Size
from mvlab.config import RunConfig
from mvlab.data.data_set import DataSet, open_embedded
from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.plan import PlannedBatch
from mvlab.data.store.manifest import SplitRef, read_manifest
from mvlab.study.forecast.estimate import EVALUATED_MODELS, Range, Speed
from mvlab.tasks.base import EvaluationPass, View
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.loop import Trainer, evaluate
from mvlab.training.placement import Placement
from mvlab.training.schedule import Step

WARM_UP = 2
LEAST = 3
"""Least number of timed steps, after WARM_UP."""
MOST_SECONDS = 2.0
"""Longest time to measure steps of one kind; shorter where there are many kinds."""
SECONDS_IN_ALL = 12.0


def measure(runs: Sequence[RunConfig], data: DataSet, placement: Placement) -> list[Speed]:
    """Measure the speed of each run under `placement`. Runs whose steps take the same time are measured once."""
    device = torch.device("cuda" if placement.use_gpu and torch.cuda.is_available() else "cpu")
    distinct = {_costs(run): run for run in runs}
    kinds = sum(len(run.sampler.resolutions) + len(run.task.evaluations(last=True)) for run in distinct.values())
    threads = torch.get_num_threads()
    torch.set_num_threads(placement.threads)
    try:
        with _written(data) as written:
            probe = _Probe(written, device, placement, min(MOST_SECONDS, SECONDS_IN_ALL / kinds))
            speeds = {costs: probe.speed(run) for costs, run in distinct.items()}
    finally:
        torch.set_num_threads(threads)
    return [speeds[_costs(run)] for run in runs]


@dataclass(frozen=True, slots=True)
class _Probe:
    data: DataSet
    device: torch.device
    placement: Placement
    seconds: float
    """Time to measure steps of one kind."""

    def speed(self, run: RunConfig) -> Speed:
        run = replace(run, numerics=replace(run.numerics, compile=False))  # compilation takes minutes, once
        model = build_model(run, run.task.num_outputs(self.data.classes), self.device)
        trainer = build_trainer(run, model, World(0, 1, self.device))
        return Speed(
            train={side: self._train(trainer, side) for side in run.sampler.resolutions},
            evaluate={each.size: self._evaluate(trainer, each) for each in run.task.evaluations(last=True)},
        )

    def _train(self, trainer: Trainer, side: int) -> Range:
        """Return the seconds per image of a training step at this resolution."""
        run, tally = trainer.run, trainer.objective.tally(self.device)
        view = run.task.training_view(run.seed, 0)
        batch, read_s = self._read("train", view, run.sampler.batch_at(side), (side, side))
        numbers = count()
        return self._timed(
            lambda: trainer.step(0, batch, Step(next(numbers), 1.0, closes=True, lr=run.optimizer.lr_start), tally),
            batch,
            read_s,
        )

    def _evaluate(self, trainer: Trainer, each: EvaluationPass) -> Range:
        """Return the seconds per image and network."""
        batch, read_s = self._read("val", each.view, each.batch, each.size)
        models = {str(index): trainer.bare for index in range(EVALUATED_MODELS)}

        def once() -> object:
            return evaluate(models, [batch], trainer.run, self.device, trainer.objective)

        per_image = self._timed(once, batch, read_s)
        return per_image * (1 / EVALUATED_MODELS)

    def _read(self, split: str, view: View, count: int, size: Size) -> tuple[Batch, float]:
        """Return a batch, and the seconds that a reader takes for one."""
        manifest = read_manifest(self.data.uri, split)
        samples = np.arange(count) % manifest.num_samples
        order = Order(PlannedBatch(0, size, samples), SplitRef(self.data.uri, split, manifest.digest), view)
        for _ in range(2):  # the first pass opens files and compiles
            started = time.perf_counter()
            (batch,) = render_batches([order])
            read_s = time.perf_counter() - started
        return batch, read_s

    def _timed(self, step: Callable[[], object], batch: Batch, read_s: float) -> Range:
        """Return the seconds per image of a rank that shares its CPUs with its readers."""
        for _ in range(WARM_UP):
            self._once(step)
        times = [self._once(step) for _ in range(LEAST)]
        until = time.perf_counter() + self.seconds - sum(times)
        while time.perf_counter() < until:
            times.append(self._once(step))
        cpus, readers = self.placement.rank_cpus, max(1.0, self.placement.feed_cpus)
        low, high = (max(s, read_s / readers, (s + read_s) / cpus) for s in np.percentile(times, (10, 90)))
        return Range(low / len(batch), high / len(batch))

    def _once(self, step: Callable[[], object]) -> float:
        started = time.perf_counter()
        step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _costs(run: RunConfig) -> tuple[object, ...]:
    """Return the parts of a config that determine the time of a step."""
    return run.model, run.sampler, run.task, run.numerics, run.optimizer.name


@contextmanager
def _written(data: DataSet) -> Iterator[DataSet]:
    """Yield the data. Digits that are not written yet are written to a temporary folder."""
    if data.digest:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="mvlab-probe-") as folder:
        yield open_embedded(data.name, Path(folder))
