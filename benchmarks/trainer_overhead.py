"""Overhead of the platform: a run with Ray Train, feed, journal, MLflow and checkpoints, against a bare PyTorch loop.

    python benchmarks/trainer_overhead.py [--data URI] [--rounds 3]

Both sides train the same network on the same batches in the same order, on one thread, alternately in one run. The bare
loop has its batches decoded in memory. Ours reads, decodes and augments them on another core, makes a checkpoint after
every epoch, and writes all records.

The ratio is of the steady state: the first epoch of each run, in which readers start, is left out and reported as
`first_step_s`. An epoch has about 150 steps (the digits six times over), far fewer than ImageNet's. Time is that of a
whole epoch without its evaluation, which the bare loop does not do. The last line is one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from experiments.recipes import mobilevit_xxs
from mvlab.config import RunConfig
from mvlab.data.data_set import open_data
from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.ingest.write import write_split
from mvlab.data.plan import plan_epoch
from mvlab.data.sources.digits import CLASSES, digits
from mvlab.data.store.manifest import read_manifest
from mvlab.models.build import build_network
from mvlab.models.cpu.optimize import optimize
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.store import connect
from mvlab.scale import at_scale
from mvlab.sweep import cluster
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import run_sweep
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import read_epochs
from mvlab.training.placement import Placement

EPOCHS = 3
TIMES_OVER = 6
"""Repetitions of the digits in an epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="URI", help="shards (the digits, six times over)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        data = open_data(options.data).uri if options.data else many_digits(storage / "digits")
        run = replace(at_scale(mobilevit_xxs(), "mini"), epochs=EPOCHS)
        bare = Bare(run, data)
        cluster.connect()
        ours = Ours(run, data, storage)
        bare.epochs()  # the first time is slower: fresh memory
        rounds = [(ours.epochs(index), bare.epochs()) for index in range(options.rounds)]
        ours.close()
        cluster.disconnect()
    show(rounds)


def many_digits(folder: Path) -> str:
    """Return the URI of a data set with the digits TIMES_OVER for training."""
    many = (replace(sample, key=f"{sample.key}/{time}") for time in range(TIMES_OVER) for sample in digits("train"))
    write_split(many, str(folder), name="digits", split="train", classes=CLASSES, seed=0)
    write_split(digits("val"), str(folder), name="digits", split="val", classes=CLASSES, seed=0)
    return str(folder)


class Bare:
    """Plain training loop, as anybody would write it."""

    def __init__(self, run: RunConfig, data: str) -> None:
        torch.set_num_threads(1)
        self.run, self.batches = run, decoded(run, data)
        torch.manual_seed(run.seed)
        num_classes = len(read_manifest(data, "train").classes)
        self.model = optimize(build_network(run.model, num_classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(run.ema_decay), use_buffers=True
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=run.optimizer.lr_peak)

    def epochs(self) -> float:
        """Run the epochs; return the seconds a step."""
        self.model.train()
        started = time.perf_counter()
        for batch in self.batches:
            images = torch.from_numpy(batch.pixels).to(torch.float32, memory_format=torch.channels_last).div_(255)
            loss = F.cross_entropy(self.model(images), torch.from_numpy(batch.targets["label"]), label_smoothing=0.1)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.average.update_parameters(self.model)
        return (time.perf_counter() - started) / len(self.batches)


def decoded(run: RunConfig, data: str) -> list[Batch]:
    """Return the batches of all epochs except the first."""
    manifest = read_manifest(data, "train")
    orders = (
        Order(planned, manifest.ref(data), run.task.training_view(run.seed, epoch))
        for epoch in range(1, run.epochs)
        for planned in plan_epoch(manifest.group_rows, run.sampler, world=1, seed=run.seed, epoch=epoch).for_rank(0)
    )
    made: list[Batch] = []
    while some := list(islice(orders, 8)):
        made.extend(render_batches(some))
    return made


class Ours:
    """The same training through the whole platform except the report."""

    def __init__(self, run: RunConfig, data: str, storage: Path) -> None:
        self.run, self.data, self.storage = run, data, storage
        client, experiment_id = connect(f"sqlite:///{storage}/mlflow.db", "overhead")
        self.journal = Journal(storage / "journal.jsonl")
        self.sink = MlflowSink(self.journal, client, experiment_id)
        self.journal.append(Event(run=SWEEP, kind="begin"))

    def epochs(self, index: int) -> tuple[float, float, float]:
        """Run once; return seconds a step after the first epoch, data wait, seconds to the first step."""
        trial = Trial(f"round {index}", 0, self.run)
        began = time.time()
        run_sweep(
            [trial],
            self.journal,
            lambda trial: self.journal.append(Event(run=trial.name, kind="begin")),
            data=self.data,
            execution=ExecutionOptions(export=False),
            placement=Placement(workers=1, min_workers=1, concurrent_trials=1, rank_cpus=2.0, use_gpu=False),
            storage=self.storage,
        )
        first, *others = read_epochs(trial.folder(self.storage).epochs)
        evaluation_s = sum(epoch["epoch_s"] - epoch["train_s"] for epoch in others)
        elapsed_s = (others[-1]["time_ms"] - first["time_ms"]) / 1000 - evaluation_s
        num_steps = others[-1]["update"] - first["update"]
        waited = sum(epoch["data_wait_share"] * epoch["train_s"] for epoch in others) / elapsed_s
        first_step_s = first["time_ms"] / 1000 - began - first["epoch_s"] + first["data_wait_share"] * first["train_s"]
        return elapsed_s / num_steps, waited, first_step_s

    def close(self) -> None:
        self.journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
        self.sink.close(60)


def show(rounds: list[tuple[tuple[float, float, float], float]]) -> None:
    """Print a table, and a line of JSON."""
    print("\n| round | ours, ms a step | bare, ms a step | ratio | data wait |\n|--:|--:|--:|--:|--:|")
    for index, ((ours, wait, _), bare) in enumerate(rounds):
        print(f"| {index + 1} | {1000 * ours:.1f} | {1000 * bare:.1f} | {ours / bare:.3f} | {wait:.1%} |")
    summary: dict[str, Any] = {
        "ratio": round(statistics.median(ours / bare for (ours, _, _), bare in rounds), 3),
        "ours_ms": round(1000 * statistics.median(ours for (ours, _, _), _ in rounds), 1),
        "bare_ms": round(1000 * statistics.median(bare for _, bare in rounds), 1),
        "data_wait": round(statistics.median(wait for (_, wait, _), _ in rounds), 3),
        "first_step_s": round(statistics.median(first for (_, _, first), _ in rounds), 1),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
