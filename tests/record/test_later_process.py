"""A journal that another process than before carries to MLflow: nothing is lost or doubled."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.tracking import MlflowClient
from record.stores import DATASETS, histories, record_a_sweep

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import close_stale_runs, connect
from mvlab.record.sync_cursor import Carried, write_carried
from mvlab.record.tags import RUN_TAG


class Killed(BaseException):
    """Ends the sink's thread where it is, as SIGKILL would."""


def record_until_killed_at(
    method: str, count: int, journal: Journal, client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carries the journal over in a sink that is killed right after its `count`th call of `method` has come back."""
    calls = 0

    class Doomed(MlflowClient):
        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            return then_killed(found) if name == method else found

    def then_killed(found: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            result = found(*arguments, **named)
            if calls == count:
                raise Killed
            return result

        return call

    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    sink = MlflowSink(journal, Doomed(client.tracking_uri), experiment)
    sink._thread.join(60)
    assert not sink._thread.is_alive()
    assert calls == count


def test_a_later_process_goes_on_with_the_same_runs(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    journal.append(Event(run="a", kind="begin"))
    journal.append(Event(run="a", kind="metrics", step=1, metrics={"m": 1.0}))
    code = (
        "import sys; from pathlib import Path; from mlflow.tracking import MlflowClient;"
        "from mvlab.record.journal import Journal; from mvlab.record.mlflow_sink import MlflowSink;"
        "sink = MlflowSink(Journal(Path(sys.argv[1])), MlflowClient(sys.argv[2]), sys.argv[3]);"
        "sys.exit(not sink.close(60))"
    )
    subprocess.run([sys.executable, "-c", code, str(journal.path), client.tracking_uri, experiment], check=True)
    before = {run.data.tags[RUN_TAG]: run.info.run_id for run in client.search_runs([experiment])}
    journal.append(Event(run="a", kind="metrics", step=2, metrics={"m": 2.0}))
    journal.append(Event(run="b", kind="begin"))
    for run in ("a", "b", SWEEP):
        journal.append(Event(run=run, kind="end", status="FINISHED"))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    assert before.keys() == {SWEEP, "a"}
    assert {run: sink.run_ids[run] for run in before} == before
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    assert runs.keys() == set(sink.run_ids.values())
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[sink.run_ids["b"]].data.tags["mlflow.parentRunId"] == sink.run_ids[SWEEP]
    assert histories(client, sink.run_ids["a"]) == {"m": [(1, 1.0), (2, 2.0)]}


@pytest.mark.parametrize(
    ("method", "count"),
    [
        *(("create_run", n) for n in (1, 2)),
        *(("log_batch", n) for n in (1, 2, 3)),
        *((method, 1) for method in ("log_inputs", "log_artifacts", "log_artifact")),
        *((method, 1) for method in ("create_logged_model", "log_model_artifacts", "finalize_logged_model")),
        ("log_outputs", 1),
        *(("set_terminated", n) for n in (1, 2)),
    ],
)
def test_killed_anywhere_the_next_process_doubles_nothing(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, count: int
) -> None:
    """Killed after the store took something, and before that was written down beside the journal."""
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    record_a_sweep(journal, tmp_path)
    record_until_killed_at(method, count, journal, client, experiment, monkeypatch)
    made = {run.info.run_id for run in client.search_runs([experiment])}
    assert made
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    assert made <= runs.keys() == {sink.run_ids[SWEEP], sink.run_ids["a"]}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    child = runs[sink.run_ids["a"]]
    assert child.data.tags["mlflow.parentRunId"] == sink.run_ids[SWEEP]
    assert child.data.params == {"model.patch_sizes": "(2, 2, 2)"}
    assert histories(client, child.info.run_id) == {"val/top1": [(1, 10.0), (2, 20.0)]}
    assert [a.path for a in client.list_artifacts(child.info.run_id)] == ["model.mlpackage"]
    assert len(child.inputs.dataset_inputs) == len(DATASETS)
    (model,) = client.search_logged_models([experiment])
    assert model.source_run_id == child.info.run_id
    assert model.status == LoggedModelStatus.READY
    assert [output.model_id for output in child.outputs.model_outputs] == [model.model_id]


@pytest.mark.parametrize(
    ("method", "count"), [("delete_run", 1), ("create_run", 3), *(("log_batch", n) for n in (2, 3, 4))]
)
def test_a_run_that_begins_anew_is_one_run_wherever_its_process_is_killed(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, count: int
) -> None:
    """Its second epoch was lost with its checkpoint, and came out otherwise."""
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    for kind, values in (("begin", (1.0, 2.0)), ("forget", ()), ("begin", (1.0, 2.5, 3.0))):
        journal.append(Event(run="a", kind=kind, params={"seed": "0"} if kind == "begin" else {}))  # type: ignore[arg-type]
        for step, value in enumerate(values, start=1):
            journal.append(Event(run="a", kind="metrics", step=step, metrics={"m": value}))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    record_until_killed_at(method, count, journal, client, experiment, monkeypatch)
    for _ in range(2):
        sink = MlflowSink(journal, client, experiment)
        assert sink.close(60)
        runs = {run.data.tags[RUN_TAG]: run for run in client.search_runs([experiment])}
        assert {name: run.info.run_id for name, run in runs.items()} == sink.run_ids
        assert runs["a"].info.status == "FINISHED"
        assert runs["a"].data.params == {"seed": "0"}
        assert histories(client, sink.run_ids["a"]) == {"m": [(1, 1.0), (2, 2.5), (3, 3.0)]}
        write_carried(journal.path, Carried())  # whoever has lost that carries all of it once more


def test_another_store_gets_the_whole_journal(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    record_a_sweep(journal, tmp_path)
    assert MlflowSink(journal, client, experiment).close(60)
    (tmp_path / "elsewhere").mkdir()
    other, elsewhere = connect(f"sqlite:///{tmp_path}/elsewhere/mlflow.db", "study")
    sink = MlflowSink(journal, other, elsewhere)
    assert sink.close(60)
    assert {run.info.run_id for run in other.search_runs([elsewhere])} == set(sink.run_ids.values())
    assert histories(other, sink.run_ids["a"]) == {"val/top1": [(1, 10.0), (2, 20.0)]}

    back = MlflowSink(journal, client, experiment)
    assert back.close(60)
    assert len(client.search_runs([experiment])) == 2, "the first store's runs are found again"
    assert histories(client, back.run_ids["a"]) == {"val/top1": [(1, 10.0), (2, 20.0)]}


def test_a_run_that_goes_on_runs_again_under_its_new_owner(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin", tags={"mvlab.git.revision": "old"}))
    journal.append(Event(run=SWEEP, kind="end", status="KILLED"))
    first = MlflowSink(journal, client, experiment)
    assert first.close(60)
    run_id = first.run_ids[SWEEP]
    assert client.get_run(run_id).info.status == "KILLED"
    client.set_tag(run_id, OWNER_TAG, str(replace(Process.current(), started=1)))

    journal.append(Event(run=SWEEP, kind="resume", tags={"mvlab.git.revision": "new", "mvlab.attempt": "2"}))
    assert MlflowSink(journal, client, experiment).close(60)
    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags[OWNER_TAG] == str(Process.current())
    assert (run.data.tags["mvlab.git.revision"], run.data.tags["mvlab.attempt"]) == ("new", "2")
    assert close_stale_runs(client, prefix="study") == [], "its process lives"

    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    assert MlflowSink(journal, client, experiment).close(60)
    ended = client.get_run(run_id).info
    assert ended.status == "FINISHED"
    assert ended.end_time >= ended.start_time
