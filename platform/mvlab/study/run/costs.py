"""What the networks of a study's runs cost, in the record of each run: measured on one machine, side by side."""

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
"""Arm -> what its runs have in the record; empty if nothing was measured yet."""


def record_costs(experiment: Experiment, journal: Journal) -> None:
    """Of every run that has begun; what was measured before stays if it can be held against the rest."""
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
    """Whether the arms have to be timed anew, all of them: times are compared, so that they are taken together."""
    return not is_same_machine or any(not _is_good(each) for each in costs.values())


def _is_good(costs: Mapping[str, float]) -> bool:
    """Whether it was measured, while the machine did nothing else."""
    return LATENCY in costs and FASTEST in costs and not Latency(costs[LATENCY], costs[FASTEST]).is_disturbed
