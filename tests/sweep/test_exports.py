"""Exports on a real cluster: when they begin, and how they end."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from sweep.besides import beside, until
from training.small import RUN, few_digits

from mvlab.record.journal import Event, Journal
from mvlab.record.package import VERIFICATION
from mvlab.sweep import cluster
from mvlab.sweep.exports import PACKAGE, Exports
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import run_sweep
from mvlab.training.checkpoint_files import FILE
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import read_epochs
from mvlab.training.placement import Node, Placement, place

pytestmark = pytest.mark.cluster

TRIALS = [Trial(f"run {index}", 0, replace(RUN, epochs=1)) for index in range(2)]


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A cluster of our own, of which one trial takes all."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="mv", dir="/tmp") as folder:
        patch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        here: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "_temp_dir": f"{folder}/r"}
        ray.init(address="local", num_cpus=2, **here)
        try:
            yield
        finally:
            cluster.disconnect()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("digits"))


def test_nothing_is_exported_while_runs_have_all_cpus(two_cpus: None, data: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    started = time.time()
    trained_s = run_sweep(
        TRIALS,
        journal,
        lambda trial: journal.append(Event(run=trial.name, kind="begin")),
        data=data,
        execution=ExecutionOptions(keep=CheckpointPolicy(every_minutes=None)),
        placement=place([Node(2)], workers=1, trials=2),
        storage=tmp_path,
    )
    assert journal.statuses() == {trial.name: "FINISHED" for trial in TRIALS}
    folders = [trial.folder(tmp_path) for trial in TRIALS]
    last_epoch = max(read_epochs(folder.epochs)[-1]["time_ms"] for folder in folders) / 1000
    first_package = min((folder.results / PACKAGE).stat().st_mtime for folder in folders)
    assert last_epoch - started < trained_s < first_package - started


def test_a_free_cpu_exports_one_run_while_it_waits_for_another(two_cpus: None, data: str, tmp_path: Path) -> None:
    """The other one is told to stop once the package is verified; it would train for an hour."""
    short, long = Trial("short", 0, TRIALS[0].run), Trial("long", 0, replace(RUN, epochs=10_000))
    journal = Journal(tmp_path / "journal.jsonl")

    def stop() -> None:
        until(lambda: (short.folder(tmp_path).results / VERIFICATION).exists())
        long.folder(tmp_path).stop.touch()

    with beside(stop):
        run_sweep(
            [short, long],
            journal,
            lambda trial: journal.append(Event(run=trial.name, kind="begin")),
            data=data,
            execution=ExecutionOptions(keep=CheckpointPolicy(every_minutes=None)),
            placement=Placement(workers=1, min_workers=1, concurrent_trials=1, rank_cpus=1.0, use_gpu=False),
            storage=tmp_path,
        )
    assert journal.statuses() == {short.name: "FINISHED", long.name: None}
    assert any(long.folder(tmp_path).checkpoints.iterdir())


def test_what_cannot_be_exported_is_told_and_others_are(two_cpus: None, data: str, tmp_path: Path) -> None:
    (trial,) = TRIALS[:1]
    folder = trial.folder(tmp_path)
    folder.results.mkdir(parents=True)
    (folder.results / FILE).write_bytes(b"no checkpoint")
    exports = Exports(data, tmp_path)
    exports.add(trial)
    ((failed, why),) = exports.rest(is_stopped=lambda: False)
    assert failed == trial
    assert why is not None
    assert not (folder.results / VERIFICATION).exists()


def test_told_to_stop_nothing_is_waited_for(two_cpus: None, data: str, tmp_path: Path) -> None:
    exports = Exports(data, tmp_path)
    exports.add(TRIALS[0])
    assert list(exports.rest(is_stopped=lambda: True)) == []
