"""What is said of the columns of costs."""

from experiments.table6_patch_size import EXPERIMENT
from mvlab.report.study import cost_note


def note(median_ms: float, fastest_ms: float) -> str:
    times = {"cost/latency_ms": median_ms, "cost/latency_fastest_ms": fastest_ms}
    return cost_note(EXPERIMENT.runs, [times, times, {}], "a machine")


def test_times_of_a_busy_machine_come_with_a_warning() -> None:
    assert note(1806.0, 55.0).endswith(
        "The machine was busy with other things: the fastest took 55.0 instead of 1806.0 ms."
    )
    assert "busy" not in note(57.0, 55.0)
