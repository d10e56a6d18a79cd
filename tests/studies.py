"""Journals of studies that nobody ran, for tests of what is read from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mvlab.experiment import Experiment
from mvlab.record.journal import SWEEP, Event, Journal

COSTS = {
    "cost/params": 5_578_632.0,
    "cost/macs": 1.82e9,
    "cost/attention_macs": 0.18e9,
    "cost/latency_ms": 44.8,
    "cost/latency_fastest_ms": 41.0,
}
TAGS = {
    "mvlab.scale": "mini",
    "mvlab.dataset": "tiny",
    "mvlab.data": "tiny (50 train, 5 val, 10 classes)",
    "mvlab.dataset_digest": "d" * 64,
    "mvlab.git.revision": "0123456789abcdef",
    "mvlab.git.dirty": "false",
    "mvlab.version.torch": "2.13.0",
    "mvlab.machine": "a machine (2 threads)",
    "mvlab.command": "python jobs/x.py --seeds 3",
    "mvlab.world_size": "2",
}
"""Of a study, but for which."""


def epoch_of(top1: float, *, train_s: float = 10.0, updates: float = 100.0) -> dict[str, float]:
    """Metrics of an epoch: raw weights one point below the EMA's, training two points above them.

    A validation image is worth 0.02 points.
    """
    return {
        "val_ema/top1": top1,
        "val/top1": top1 - 1,
        "train/top1": top1 + 1,
        "train/loss": 1.0,
        "val/samples": 5_000.0,
        "train_s": train_s,
        "update": updates,
    }


def write_journal(
    path: Path, experiment: Experiment, curves: Mapping[tuple[str, int], Sequence[dict[str, float]]], *, epochs: int
) -> Path:
    """(arm, seed) -> its epochs; those that have `epochs` of them finished, the others failed."""
    journal = Journal(path)
    tags = TAGS | {"mvlab.study": experiment.name}
    journal.append(Event(run=SWEEP, kind="begin", tags=tags))
    for (arm, seed), metrics in curves.items():
        run = f"{arm} seed {seed}"
        params = {"seed": str(seed), "epochs": str(epochs), "model": "MobileViT-XXS"}
        row = {"mvlab.row": arm, "mvlab.config_digest": f"{arm}-{seed}"}
        journal.append(Event(run=run, kind="begin", params=params, tags=tags | row))
        for number, each in enumerate(metrics, start=1):
            weights = {"mvlab.weights_sha256": f"{arm} {seed} {number}"}
            journal.append(Event(run=run, kind="metrics", step=number, metrics=each, tags=weights))
        journal.append(Event(run=run, kind="metrics", metrics=COSTS))
        journal.append(Event(run=run, kind="end", status="FINISHED" if len(metrics) == epochs else "FAILED"))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    return path
