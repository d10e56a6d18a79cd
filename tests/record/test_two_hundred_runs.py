"""As many runs as a store is to stay quick with: carried in few calls, found, in order. Timed in benchmarks."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from record.stores import histories

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import EVENTS_OF_A_BATCH, MlflowSink, batches

RUNS, KEYS, EPOCHS = 200, 35, 3


class Counting(MlflowClient):
    """Counts its batches."""

    num_batches = 0

    def log_batch(self, *arguments: Any, **named: Any) -> Any:
        self.num_batches += 1
        return super().log_batch(*arguments, **named)


def test_two_hundred_runs_are_found_by_tag_and_in_order(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    names = [f"run {index}" for index in range(RUNS)]
    with monkeypatch.context() as quickly:
        quickly.setattr("os.fsync", lambda file: None)
        journal.append(Event(run=SWEEP, kind="begin"))
        for name in names:
            journal.append(Event(run=name, kind="begin", tags={"mvlab.row": name[:5]}, params={"seed": name[4:]}))
        for epoch in range(1, EPOCHS + 1):
            for index, name in enumerate(names):
                metrics = {f"m/{key}": float(index + epoch * key) for key in range(KEYS)}
                journal.append(Event(run=name, kind="metrics", step=epoch, metrics=metrics))
    counting = Counting(client.tracking_uri)
    sink = MlflowSink(journal, counting, experiment)
    assert sink.close(300)
    assert counting.num_batches <= (RUNS + 1) + 2 * RUNS, "one for each beginning, and few for all metrics"

    found = client.search_runs(
        [experiment], "tags.`mvlab.row` = 'run 1'", order_by=["metrics.`m/1` DESC"], max_results=RUNS
    )
    expected = sorted((index for index in range(RUNS) if str(index).startswith("1")), reverse=True)
    assert [run.info.run_name for run in found] == [f"run {index}" for index in expected]
    assert all(len(run.data.metrics) == KEYS for run in found)
    last = histories(client, sink.run_ids["run 199"])
    assert last["m/34"] == [(epoch, 199.0 + 34 * epoch) for epoch in range(1, EPOCHS + 1)]


def metric(run: str, step: int) -> Event:
    return Event(run=run, kind="metrics", step=step)


def test_metrics_that_follow_each_other_are_carried_together() -> None:
    events = [
        Event(run="a", kind="begin"),
        metric("a", 1),
        metric("b", 1),
        metric("a", 2),
        Event(run="a", kind="end"),
        Event(run="b", kind="end"),
        metric("b", 2),
    ]
    pending = [(event, 10 * index) for index, event in enumerate(events, start=1)]

    def cut(alone_until: int) -> list[tuple[int, int]]:
        found = list(batches(pending, alone_until=alone_until))
        assert [event for group, _ in found for event in group] == events, "all, each once, in order"
        return [(len(group), offset) for group, offset in found]

    assert cut(0) == [(1, 10), (3, 40), (1, 50), (1, 60), (1, 70)]
    assert cut(40) == [(1, 10), (1, 20), (1, 30), (1, 40), (1, 50), (1, 60), (1, 70)]
    assert cut(30) == [(1, 10), (1, 20), (1, 30), (1, 40), (1, 50), (1, 60), (1, 70)]


def test_a_batch_has_an_end() -> None:
    count = 2 * EVENTS_OF_A_BATCH + 1
    pending = [(metric("a", step), step) for step in range(1, count + 1)]
    assert [len(events) for events, _ in batches(pending)] == [EVENTS_OF_A_BATCH, EVENTS_OF_A_BATCH, 1]


class Picky(MlflowClient):
    """A store that takes no metric called "bad"."""

    def log_batch(self, *arguments: Any, **named: Any) -> Any:
        if any(each.key == "bad" for each in named.get("metrics", ())):
            raise ValueError("bad")
        return super().log_batch(*arguments, **named)


def test_of_a_batch_that_is_refused_only_the_bad_event_stays_behind(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvlab.record.mlflow_sink.SECONDS_BETWEEN_DRAINS", 0.01)
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    for step, key in enumerate(("m", "bad", "m", "m"), start=1):
        journal.append(Event(run=SWEEP, kind="metrics", step=step, metrics={key: float(step)}))
    sink = MlflowSink(journal, Picky(client.tracking_uri), experiment)
    assert not sink.close(60)
    assert histories(client, sink.run_ids[SWEEP]) == {"m": [(1, 1.0), (3, 3.0), (4, 4.0)]}
