"""What else a sweep can lose: the process of a trial, its MLflow server, the head of its cluster.

Other runs stay as they are, nothing finished is done again, and MLflow's own counts show one run each, without gap or
double.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient
from record.stores import free_port, start_server, stop_server, wait_for

from benchmarks.machines import a_head, lose
from benchmarks.victim import Victim
from mvlab.cli.main import run as mvlab

pytestmark = pytest.mark.cluster

EXPERIMENT = "mobilevit/classification/table6_patch_size"
ROWS = ("4,4,4", "8,4,2")
"""In the order in which they are run."""
EPOCHS = 6


class Server:
    """An MLflow server that dies and comes back, at the same address and with the same store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        self.start()
        self.wait()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """It answers some time later: on a busy machine, when a short sweep has ended."""
        self.process = start_server(self.folder, self.port)

    def wait(self) -> None:
        wait_for(self.uri)

    def kill(self) -> None:
        stop_server(self.process)


@pytest.fixture
def time_for_it(all_moments: bool) -> None:
    if not all_moments:
        pytest.skip("takes minutes: `make faults`")


@pytest.fixture
def server(time_for_it: None, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
def victim(tmp_path: Path, server: Server) -> Iterator[Victim]:
    only = tuple(option for row in ROWS for option in ("--only", row))
    victim = Victim(tmp_path / "job", options=(*only, "--no-export", "--tracking-uri", server.uri))
    victim.environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # a minute otherwise
    yield victim
    victim.end()


def trial_process() -> psutil.Process:
    """Of the trial that runs: Ray Tune's, in which Ray Train's controller is looked after."""
    below = psutil.Process().children(recursive=True)
    (trial,) = [process for process in below if process.name().startswith("ray::Seat")]
    return trial


def require_whole(uri: str) -> None:
    """By MLflow's own count: a sweep and its runs, once each, every epoch once."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ("smoke on digits", *(f"{row} seed 0" for row in ROWS)), "FINISHED"
    )
    for row in ROWS:
        run_id = runs[f"{row} seed 0"].info.run_id
        for metric in ("train/loss", "val_ema/top1"):
            assert [each.step for each in client.get_metric_history(run_id, metric)] == list(range(1, EPOCHS + 1))


def test_a_sweep_that_loses_a_trial_its_server_and_its_head(victim: Victim, server: Server) -> None:
    with a_head() as cluster:
        victim.environment["RAY_ADDRESS"] = str(cluster.address)
        victim.start()
        victim.wait_for_line("4,4,4 seed 0 | epoch 1/6 done")
        server.kill()
        trial_process().kill()
        victim.wait_for_line("4,4,4 seed 0 | trained")
        server.start()
        victim.wait_for_line("8,4,2 seed 0 | epoch 2/6 done")
        lose(cluster)
        assert victim.process is not None
        assert victim.process.wait(120) != 0, "a driver without its cluster ends by itself"
    server.wait()
    with a_head() as cluster:
        victim.environment["RAY_ADDRESS"] = str(cluster.address)
        victim.start("--resume")
        summary = victim.finish()
    assert [run["status"] for run in summary["runs"]] == ["FINISHED", "FINISHED"]
    assert "runs finished before: 1" in victim.errors()
    require_whole(server.uri)


def test_a_server_that_is_away_when_the_sweep_ends(
    victim: Victim, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job waits two minutes for it; what is left is carried by the doctor."""
    victim.start()
    victim.wait_for_line("8,4,2 seed 0 | epoch 5/6 done")
    server.kill()
    assert victim.process is not None
    assert victim.process.wait(600) == 1
    assert "MLflow did not take all of the record. Nothing is lost" in victim.errors()
    server.start()
    server.wait()
    monkeypatch.chdir(victim.folder)
    assert mvlab(["doctor", "--mend", "--tracking-uri", server.uri]) == 0
    require_whole(server.uri)
