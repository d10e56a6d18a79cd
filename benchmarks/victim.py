"""Training job to disturb while it runs: killed at a chosen moment, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from mvlab.durable import PARTIAL

JOBS = Path(__file__).parents[1] / "jobs"
ROW = "8,4,2"
"""Row of both studies that is run."""
OPTIONS = ("--only", ROW, "--checkpoint-steps", "3", "--ledger", "--no-export")
SECONDS_A_RUN = 900.0

Moment = Literal["step", "between epochs", "writing", "written", "evaluation"]
MOMENTS: tuple[Moment, ...] = ("step", "between epochs", "writing", "written", "evaluation")
"""Moments: in a step; when an epoch has just been written down; while a checkpoint is written; when it has just got its
name; while the validation split is evaluated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A study of patch sizes, and the embedded set that it is trained on."""

    script: str
    experiment: str
    mlflow: str
    """Name of its experiment in MLflow."""
    data: str
    metric: str
    """Name of the primary metric."""


CLASSIFICATION = Job(
    script="ablation_patch.py",
    experiment="table6_patch_size",
    mlflow="mobilevit/classification/table6_patch_size",
    data="digits",
    metric="top1",
)
DETECTION = Job(
    script="table10_detection_patch.py",
    experiment="table10_detection_patch",
    mlflow="mobilevit/detection/table10_detection_patch",
    data="scenes",
    metric="map",
)


class VictimError(RuntimeError):
    """The job ended undisturbed but too early, or never reached the awaited moment."""


@dataclass(slots=True)
class Victim:
    """Job at smoke scale with one run, in a folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = OPTIONS
    job: Job = CLASSIFICATION
    process: subprocess.Popen[str] | None = None

    def start(self, *more: str) -> None:
        """Start the job, or resume it with "--resume"."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = ("MLFLOW_", "RAY_")
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ours) or name == "RAY_AUTH_MODE"  # of a cluster that was started here
        }
        with (self.folder / "out.txt").open("a") as out, (self.folder / "err.txt").open("a") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(JOBS / self.job.script), *self.options, *more],
                cwd=self.folder,
                env=clean | self.environment,
                stdout=out,
                stderr=err,
                text=True,
            )

    def wait_for(self, moment: Moment) -> None:
        """Wait until the run is at `moment`, counted from now."""
        reached = self._watch(moment)
        for _ in self._while_running():
            if reached():
                return

    def wait_for_line(self, part: str) -> None:
        """Wait until the job prints `part`."""
        for _ in self._while_running():
            if part in self.errors():
                return

    def kill_driver(self) -> None:
        """Send SIGKILL to the driver, and wait until its helpers are gone. Ray's agents, which would stay for a minute,
        are ended."""
        assert self.process is not None
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        _, left = psutil.wait_procs(below, timeout=5)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_worker(self, index: int) -> None:
        """Send SIGKILL to the process of one rank."""
        self.worker(index).kill()

    def worker(self, index: int) -> psutil.Process:
        """Return the process of one rank."""
        workers = self.workers()
        return workers[index % len(workers)]

    def workers(self) -> list[psutil.Process]:
        """Return the ranks' processes: the job's own, or those of a cluster that was started here."""
        below = psutil.Process().children(recursive=True)
        return [process for process in below if "RayTrainWorker" in " ".join(_command(process))]

    def output(self) -> str:
        return (self.folder / "out.txt").read_text()

    def finish(self) -> dict[str, Any]:
        """Wait until the job ends by itself; return its last line.

        Raises:
            VictimError: it failed.
        """
        assert self.process is not None
        status = self.process.wait(SECONDS_A_RUN)
        lines = self.output().splitlines()
        if status != 0 or not lines:
            raise VictimError(f"exit status {status}: {self.errors()[-3000:]}")
        summary: dict[str, Any] = json.loads(lines[-1])
        return summary

    def errors(self) -> str:
        return (self.folder / "err.txt").read_text()

    def end(self) -> None:
        """End whatever still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_driver()

    @property
    def run_folder(self) -> Path:
        """Return the folder of its one run."""
        return next(iter(sorted(self.folder.glob(f"storage/{self.job.experiment}/*/8-4-2-seed-0"))))

    def steps(self) -> int:
        """Return the number of steps in rank 0's ledger."""
        return _lines(self._ledger())

    def position(self) -> tuple[int, int]:
        """Return epoch and step, from 0, of the last step in rank 0's ledger."""
        content = self._ledger().read_text()
        entry = json.loads(content[: content.rindex("\n")].splitlines()[-1])
        return entry["epoch"], entry["step"]

    def wait_until_further_than(self, position: tuple[int, int]) -> int:
        """Wait until a step after `position` is done; return the number of the ledger's steps that it resumed from."""
        left = self.steps()
        for _ in self._while_running():
            left = min(left, self.steps())
            if self.position() > position:
                break
        return left

    def _ledger(self) -> Path:
        return self.run_folder / "ledger" / "ledger-rank0.jsonl"

    def _while_running(self) -> Iterator[None]:
        """Yield every three milliseconds while the job runs. A small checkpoint is written in thirty."""
        assert self.process is not None
        until = time.monotonic() + SECONDS_A_RUN
        while self.process.poll() is None and time.monotonic() < until:
            yield
            time.sleep(0.003)
        raise VictimError(f"it never came to that moment: {self.errors()[-3000:]}")

    def _watch(self, moment: Moment) -> Callable[[], bool]:
        """Return a function that tells whether `moment` has come since this call."""
        ledgers = f"storage/{self.job.experiment}/*/8-4-2-seed-0/ledger"
        if not list(self.folder.glob(f"{ledgers}/*")):
            for _ in self._while_running():
                if list(self.folder.glob(f"{ledgers}/*0.jsonl")):
                    break
        run = self.run_folder
        steps, epochs = self.steps(), _lines(run / "epochs.jsonl")
        names = _names(run / "checkpoints")
        match moment:
            case "step":
                return lambda: self.steps() >= steps + 5
            case "between epochs":
                return lambda: _lines(run / "epochs.jsonl") > epochs
            case "writing":
                return lambda: any(PARTIAL in name for name in _names(run / "checkpoints"))
            case "written":
                return lambda: any("." not in name for name in _names(run / "checkpoints") - names)
            case "evaluation":
                return lambda: self._evaluates(run)

    def _evaluates(self, run: Path) -> bool:
        """Tell whether all steps of an epoch are in the ledger, and the epoch is not written down."""
        epochs, ends = _lines(run / "epochs.jsonl"), _epoch_ends(self.job)
        return self.steps() > 1 and self.position() == (epochs, ends[epochs] - 1)


@cache
def _epoch_ends(job: Job) -> list[int]:
    """Return the number of steps of each epoch of the run, and 0 for the end."""
    from mvlab.cli.find import find_experiment
    from mvlab.data.data_set import EMBEDDED
    from mvlab.data.plan import updates_by_epoch
    from mvlab.scale import at_scale

    run, num_train = (
        at_scale(find_experiment(job.experiment).runs[ROW], "smoke"),
        EMBEDDED[job.data].num_samples["train"],
    )
    return [*updates_by_epoch(num_train, run.sampler, world=2, seed=0, epochs=run.epochs).tolist(), 0]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command
