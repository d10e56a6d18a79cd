"""MLflow's UI slows down with many metrics: a run has 40 keys at most."""

from dataclasses import replace
from pathlib import Path

from training.small import RUN, assign, few_digits, go

from mvlab.metrics import every_epoch, metric_at
from mvlab.sweep.epochs import RATES
from mvlab.training.files import read_epochs

MOST = 40
MEASURED = set(every_epoch(RUN.task))
SIDES = (32, 64, 96, 128)
COSTS = {f"cost/{what}" for what in ("params", "macs", "attention_macs", "latency_ms", "latency_fastest_ms")}
ON_A_GPU = {"system/gpu_memory_gb"}


def test_a_run_with_four_test_resolutions_has_few_metrics(tmp_path: Path) -> None:
    evaluation = replace(RUN.task.evaluation, resize=RUN.task.evaluation.crop, also=SIDES)
    task = replace(RUN.task, evaluation=evaluation)
    job = assign(tmp_path / "run", few_digits(tmp_path / "data"), replace(RUN, epochs=1, task=task))
    assert go(job)
    (epoch,) = read_epochs(job.folder.epochs)
    carried = {key for key in epoch if key in RATES or "/" in key}
    assert {key for key in carried if key.startswith("test_")} == {f"test_{side}px/top1" for side in SIDES}
    assert carried - MEASURED == {metric_at(side, "top1") for side in SIDES}, (
        "others can be no reading of an experiment"
    )
    assert MEASURED - carried <= ON_A_GPU
    assert 0.05 < epoch["system/max_rss_gb"] < 1000
    assert len(carried | COSTS | ON_A_GPU) <= MOST
