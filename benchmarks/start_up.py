"""Start-up of a sweep's trials: time to the first step, and the processes that a sweep starts.

    python benchmarks/start_up.py [--trials 4] [--workers 2]

Trials are Table 6's first row at smoke scale, one epoch each, without export. The first trial's time counts from the
start of the sweep, on a cluster that is there already. That of each next one counts from the end of the last epoch of
the trial before, its checkpoint included. Both end with the first training step. A step's time is computed from what
the run records of its first epoch, so that nothing is added to what is measured.

Processes are those of the cluster that were not there before the sweep, by name and purpose. Memory is the largest
proportional set size: what processes share, such as torch's code, counts once in all. The last line is one JSON object;
`head_mb_a_slot` is the memory that each slot takes on the head of a cluster.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import psutil

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import open_embedded
from mvlab.markdown import markdown_table
from mvlab.record.journal import Event, Journal
from mvlab.sweep import cluster
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.sweep.tuner import run_sweep
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import read_epochs
from mvlab.training.placement import place

PURPOSES = {
    "Seat": "Ray Tune's actor: gives its slot trial after trial, and watches its workers (Ray Train's controller)",
    "RayTrainWorker": "a rank",
    "Read_OrderSource": "a reader of a rank's feed",
    "PlacementGroupCleaner": "Ray Train: frees the workers' reservation if the controller is killed",
    "SynchronizationActor": "Ray Train: barrier of ray.train.report; Ray starts it in any case",
    "PreemptionWatcher": "Ray Train: warns workers of a machine that is about to be taken away",
    "_AutoscalingCoordinatorActor": "Ray: tells the autoscaler what workers need; one for the cluster",
    "IDLE": "a worker of Ray without work: kept for the next task",
}
ON_THE_HEAD = ("Seat", "PlacementGroupCleaner", "SynchronizationActor", "PreemptionWatcher")
"""Processes of each slot that lie on the cluster's head."""
SECONDS_BETWEEN_LOOKS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        data = open_embedded("digits", storage)
        (planned,) = plan_trials(EXPERIMENT, list(EXPERIMENT.runs)[:1], "smoke", 1)
        trials = [Trial(f"run {index}", 0, replace(planned.run, epochs=1)) for index in range(options.trials)]
        nodes = cluster.connect()
        placement = place(nodes, workers=options.workers, trials=len(trials))
        journal = Journal(storage / "journal.jsonl")
        with watched() as seen:
            began = time.time()
            run_sweep(
                trials,
                journal,
                lambda trial: journal.append(Event(run=trial.name, kind="begin")),
                data=data.uri,
                execution=ExecutionOptions(export=False),
                placement=placement,
                storage=storage,
            )
        cluster.disconnect()
        times = [first_and_last(trial, storage) for trial in trials]
    show(began, times, seen)


def first_and_last(trial: Trial, storage: Path) -> tuple[float, float]:
    """Return the times at which a trial's first step began to compute, and its last epoch was over."""
    first, *_ = epochs = read_epochs(trial.folder(storage).epochs)
    waited_s = first["data_wait_share"] * first["train_s"]
    return first["time_ms"] / 1000 - first["epoch_s"] + waited_s, epochs[-1]["time_ms"] / 1000


@dataclass(slots=True)
class Seen:
    """Processes that a sweep started."""

    names: dict[int, set[str]] = field(default_factory=dict)
    peak_mb: dict[int, float] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)

    def look(self, before: set[int]) -> None:
        """Note all processes below this one that were not there `before`."""
        for process in psutil.Process().children(recursive=True):
            if process.pid in before:
                continue
            with suppress(psutil.NoSuchProcess):
                title = (process.cmdline() or [process.name()])[0]
                names = self.names.setdefault(process.pid, set())
                if title.startswith("ray::"):  # an idle worker's name changes with what it does
                    names.add(title.removeprefix("ray::").split(".")[0])
                self.peak_mb[process.pid] = max(
                    self.peak_mb.get(process.pid, 0.0), process.memory_full_info().pss / 1e6
                )
                used = process.cpu_times()
                self.cpu_s[process.pid] = used.user + used.system


@contextmanager
def watched() -> Iterator[Seen]:
    """Inside the context, watch the processes below this one."""
    seen, done = Seen(), threading.Event()
    before = {process.pid for process in psutil.Process().children(recursive=True)}

    def work() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            seen.look(before)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def show(began: float, times: list[tuple[float, float]], seen: Seen) -> None:
    """Print the processes, the times, and a line of JSON."""
    kinds: dict[str, list[int]] = {}
    for pid, names in seen.names.items():
        known = [name for name in PURPOSES if name in names]
        kinds.setdefault((known or sorted(names) or ["short-lived"])[0], []).append(pid)
    rows = [
        [
            kind,
            str(len(pids)),
            f"{statistics.fmean(seen.peak_mb.get(pid, 0.0) for pid in pids):.0f}",
            f"{sum(seen.cpu_s.get(pid, 0.0) for pid in pids):.1f}",
            PURPOSES.get(kind, ""),
        ]
        for kind, pids in sorted(kinds.items(), key=lambda each: -len(each[1]))
    ]
    print(markdown_table(["process", "number", "peak MB each", "CPU s in all", "purpose"], rows))
    first_s = times[0][0] - began
    next_s = [start - end for (_, end), (start, _) in pairwise(times)]
    print(f"\nfirst trial: {first_s:.1f} s; next ones: {', '.join(f'{each:.1f}' for each in next_s)} s")
    summary = {
        "first_trial_s": round(first_s, 1),
        "next_trial_s": round(statistics.median(next_s), 1) if next_s else None,
        "processes": len(seen.names),
        "head_mb_a_slot": round(sum(seen.peak_mb.get(pid, 0.0) for kind in ON_THE_HEAD for pid in kinds.get(kind, []))),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
