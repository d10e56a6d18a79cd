"""Times that are compared were taken together, on one machine that did nothing else."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from studies import COSTS, epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.config import RunConfig
from mvlab.record.journal import Event, Journal
from mvlab.record.results import read_results
from mvlab.report.tags import MACHINE_TAG
from mvlab.study.run import costs
from mvlab.study.run.costs import must_measure, record_costs

HERE = "a machine (2 threads)"
"""Where the journal of `studies` was made."""
NEW = COSTS | {"cost/latency_ms": 9.0, "cost/latency_fastest_ms": 8.0}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(costs, "use_all_cores", lambda: None)
    be(monkeypatch, HERE)
    curves = {(arm, seed): [epoch_of(40), epoch_of(60)] for arm in EXPERIMENT.runs for seed in range(2)}
    return Journal(write_journal(tmp_path / "journal.jsonl", EXPERIMENT, curves, epochs=2))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The arms of each measurement, instead of which NEW is told."""
    calls: list[set[str]] = []

    def measure(runs: Mapping[str, RunConfig]) -> dict[str, dict[str, float]]:
        calls.append(set(runs))
        return {arm: dict(NEW) for arm in runs}

    monkeypatch.setattr(costs, "measure_costs", measure)
    return calls


def be(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(costs, "machine_name", lambda: machine)


def recorded(journal: Journal) -> list[float]:
    return [run.costs.get("cost/latency_ms", 0.0) for run in read_results(journal.path).runs]


def begin(journal: Journal, arm: str, seed: int) -> None:
    params = {"seed": str(seed), "epochs": "2", "model": "MobileViT-XXS"}
    tags = {"mvlab.row": arm, "mvlab.config_digest": "c"}
    journal.append(Event(run=f"{arm} seed {seed}", kind="begin", params=params, tags=tags))


def test_what_is_good_stays_and_new_seeds_share_it(journal: Journal, measured: list[set[str]]) -> None:
    begin(journal, "with", 2)
    record_costs(EXPERIMENT, journal)
    assert measured == []
    assert recorded(journal) == [COSTS["cost/latency_ms"]] * 5


def test_on_another_machine_all_are_measured_anew(
    journal: Journal, measured: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    be(monkeypatch, "another machine")
    begin(journal, "with", 2)
    for _ in range(2):
        record_costs(EXPERIMENT, journal)
        assert recorded(journal) == [9.0] * 5
        assert read_results(journal.path).tags[MACHINE_TAG] == "another machine"
    assert measured == [set(EXPERIMENT.runs)], "once is enough"


@pytest.mark.parametrize("change", [{"cost/latency_ms": 100.0, "cost/latency_fastest_ms": 10.0}, {}])
def test_after_a_busy_machine_or_with_a_new_arm_all_are_measured_anew(
    journal: Journal, measured: list[set[str]], change: dict[str, float]
) -> None:
    if change:
        journal.append(Event(run="with seed 1", kind="metrics", metrics=COSTS | change))
        journal.append(Event(run="with seed 0", kind="metrics", metrics=COSTS | change))
    else:
        lines = journal.path.read_text().splitlines(keepends=True)
        journal.path.write_text("".join(line for line in lines if "cost/" not in line or '"with seed' in line))
        assert 0.0 in recorded(journal)
    record_costs(EXPERIMENT, journal)
    assert measured == [set(EXPERIMENT.runs)]
    assert recorded(journal) == [9.0] * 4


def test_costs_of_an_earlier_version_are_measured_anew() -> None:
    old = {name: value for name, value in COSTS.items() if "fastest" not in name}
    assert must_measure({"a": old}, is_same_machine=True)
    assert not must_measure({"a": COSTS}, is_same_machine=True)
    assert must_measure({"a": COSTS}, is_same_machine=False)
