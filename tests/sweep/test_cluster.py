"""A cluster that is gone is found out at its port: Ray itself would wait for minutes, in silence."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table

from experiments.table6_patch_size import EXPERIMENT
from mvlab.sweep import cluster
from mvlab.sweep.errors import ClusterError
from mvlab.training.assignment import Assignment
from mvlab.training.files import RunFolder
from mvlab.training.placement import place
from mvlab.training.trainer import build_trainer

pytestmark = pytest.mark.cluster

SOME_RUN = Assignment(
    name="a run",
    run=EXPERIMENT.runs["2,2,2"],
    data="",
    folder=RunFolder(Path()),
    mark=Path(),
    planned_world=3,
    feed_cpus=1,
)


@pytest.fixture(autouse=True)
def ray_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ray's, where no cluster ever was."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Whose path leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="mv", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def listening() -> Iterator[str]:
    """An address where something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def dead() -> str:
    """An address where nothing answers any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "named",
    [dead(), "127.0.0.1", "nowhere.invalid:6379", "[::1]:9", "127.0.0.1:port", "127.0.0.1:99999", "ray://[::1]:9"],
)
def test_a_named_cluster_that_is_gone_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(ClusterError) as refused:
        cluster.connect()
    assert str(refused.value) == f"no Ray cluster answers at RAY_ADDRESS={named}: start it, or unset the variable"


@pytest.mark.parametrize("named", ["", "auto", "local"])
def test_what_a_killed_cluster_left_behind_is_not_waited_for(
    named: str, ray_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert not cluster._is_running(), "there was none"
    (ray_folder / "ray_current_cluster").write_text(dead())
    assert not cluster._is_running()


def test_a_running_cluster_is_joined_unless_one_of_our_own_is_wanted(
    ray_folder: Path, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ray_folder / "ray_current_cluster").write_text(listening)
    assert cluster._is_running()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert cluster._is_running()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not cluster._is_running()
    (ray_folder / "ray_current_cluster").write_text(dead())
    monkeypatch.setenv("RAY_ADDRESS", listening)
    assert cluster._is_running()
    monkeypatch.setenv("RAY_ADDRESS", f"ray://{listening}")
    assert cluster._is_running()


@pytest.mark.parametrize("named", ["http://127.0.0.1:8265", "https://me:hush@ray.example", "anyscale://x"])
def test_where_jobs_are_submitted_to_is_no_cluster_to_join(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(ClusterError, match="is where jobs are submitted to: `ray job submit -- python ") as refused:
        cluster.connect()
    assert "hush" not in str(refused.value)


def test_addresses_of_the_sixth_kind() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert cluster._answers(f"[::1]:{server.getsockname()[1]}")


def test_a_folder_with_a_path_too_long_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(ClusterError, match=r"Ray does not start: .*cannot exceed.*RAY_TMPDIR; keep that path short"):
        cluster.connect()


def test_beside_the_remains_of_a_cluster_one_of_our_own_starts(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real: Ray starts, and sees this machine."""
    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    (short_folder / "ray").mkdir()
    (short_folder / "ray" / "ray_current_cluster").write_text(dead())
    try:
        (node,) = cluster.connect()
        assert node.cpus == os.cpu_count()
        assert cluster.job_id()
    finally:
        cluster.disconnect()


def test_ray_puts_the_ranks_of_a_run_where_the_plan_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For real: of four machines two are alike, and hold a run each; one has few CPUs, one other GPUs."""
    monkeypatch.delenv("RAY_TMPDIR")
    a100 = {"accelerator_type:A100": 1.0}
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "num_gpus": 4, "resources": a100})
    for cpus, kind in ((8, "A100"), (4, "A100"), (8, "H100")):
        machines.add_node(num_cpus=cpus, num_gpus=4, resources={f"accelerator_type:{kind}": 1.0}, wait=False)
    try:
        machines.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", machines.address)
        nodes = cluster.connect()
        placement = place(nodes, workers=3, trials=9)
        scaling = build_trainer(SOME_RUN, placement, tmp_path).scaling_config
        groups = [
            placement_group(
                [scaling.resources_per_worker] * 3,
                strategy=scaling.placement_strategy,
                bundle_label_selector=[scaling.label_selector] * 3,
            )
            for _ in range(placement.concurrent_trials)
        ]
        assert all(group.wait(60) for group in groups)
        found = [set(placement_group_table(group)["bundles_to_node_id"].values()) for group in groups]
        alike = {node.id for node in nodes if (node.cpus, node.accelerator) == (8, "A100")}
        assert sorted(map(tuple, found)) == sorted((name,) for name in alike)
        now = {node.id: (node.busy_cpus, node.busy_gpus) for node in cluster.machines()}
        assert now == {node.id: (6, 3) if node.id in alike else (0, 0) for node in nodes}
    finally:
        cluster.disconnect()
        machines.shutdown()
