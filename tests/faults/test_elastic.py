"""A run made for one to two ranks loses a machine, goes on with what is left, and grows back when another comes."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from benchmarks.machines import two_machines
from benchmarks.victim import OPTIONS, Victim

pytestmark = pytest.mark.cluster

EPOCHS = 10
"""Epochs of a run at mini scale."""


def test_a_run_shrinks_and_grows_back(tmp_path: Path, all_moments: bool) -> None:
    if not all_moments:
        pytest.skip("takes three minutes: `make faults`")
    victim = Victim(tmp_path, options=(*OPTIONS, "--scale", "mini", "--workers", "1:2"))  # long enough to grow
    with two_machines() as machines:
        victim.environment["RAY_ADDRESS"] = machines.address
        try:
            victim.start()
            victim.wait_for("step")
            machines.kill()
            victim.wait_for_line("on 1 ranks after 2")
            victim.wait_for("step")
            machines.replace()
            victim.wait_for_line("on 2 ranks after 1")
            (run,) = victim.finish()["runs"]
        finally:
            victim.end()
    assert run["status"] == "FINISHED"
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for metric in ("val_ema/top1", "world_size"):
        assert [each.step for each in client.get_metric_history(run["run_id"], metric)] == list(range(1, EPOCHS + 1))
