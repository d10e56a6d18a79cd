"""Costs of the networks of a study's runs, recorded for each run. All are measured on one machine, side by side."""

from collections.abc import Mapping

from mvlab.experiment import Experiment
from mvlab.measure.latency import Latency
from mvlab.measure.machine import machine_name, use_all_cores
from mvlab.measure.run_costs import measure_costs
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.results import read_results
from mvlab.report.tags import MACHINE_TAG

LATENCY, FASTEST = "cost/latency_ms", "cost/latency_fastest_ms"

Costs = Mapping[str, Mapping[str, float]]
"""Arm -> recorded costs of its runs; empty if nothing was measured yet."""


def record_costs(experiment: Experiment, journal: Journal) -> None:
    """Record the costs of every run that has begun. Earlier measurements are kept if all are comparable."""
    use_all_cores()
    results, machine = read_results(journal.path), machine_name()
    runs = [run for run in results.runs if run.arm in experiment.runs]
    costs: Costs = {run.arm: {} for run in runs} | {run.arm: run.costs for run in runs if run.costs}
    if must_measure(costs, is_same_machine=results.tags.get(MACHINE_TAG) == machine):
        costs = measure_costs({arm: experiment.runs[arm] for arm in costs})
    for run in runs:
        if run.costs != costs[run.arm]:
            name = f"{run.arm} seed {run.seed}"
            journal.append(Event(run=name, kind="metrics", metrics=costs[run.arm]))
    journal.append(Event(run=SWEEP, kind="metrics", tags={MACHINE_TAG: machine}))


def must_measure(costs: Costs, *, is_same_machine: bool) -> bool:
    """Return True if all arms must be timed again: another machine, no latency, or one that other work has disturbed.

    Times are compared, so they are measured together.
    """
    are_good = (
        LATENCY in each and FASTEST in each and not Latency(each[LATENCY], each[FASTEST]).is_disturbed
        for each in costs.values()
    )
    return not is_same_machine or not all(are_good)
