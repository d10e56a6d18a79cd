"""A run made for one to two ranks loses a machine, goes on with what is left, and grows back when another comes."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from benchmarks.machines import two_machines
from benchmarks.victim import CLASSIFICATION, DETECTION, OPTIONS, Job, Victim
from mvlab.tasks.known import task_of_kind

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("job", [CLASSIFICATION, DETECTION], ids=["classification", "detection"])
def test_a_run_shrinks_and_grows_back(tmp_path: Path, all_moments: bool, job: Job) -> None:
    if not all_moments:
        pytest.skip("takes three minutes: `make faults`")
    victim = Victim(tmp_path, options=(*OPTIONS, "--scale", "mini", "--workers", "1:2"), job=job)  # long enough to grow
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
    epochs = task_of_kind(job.mlflow.split("/")[1]).small_runs["mini"].epochs
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for metric in (f"val_ema/{job.metric}", "world_size"):
        steps = [each.step for each in client.get_metric_history(run["run_id"], metric)]
        assert steps == list(range(1, epochs + 1))
