"""Texts of any length reach MLflow: cut where it takes no more, with a note of where the whole one is."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from record.stores import DATASETS

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.limits import MAX_NAME, cut, fitted
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.report.tags import CHANGED_TAG, COMMAND_TAG, EARLIER

LONG = {length: "".join(f"{number:07d}," for number in range(length // 8)) for length in (320, 800, 7200, 9600, 40_000)}


@given(st.text(max_size=40), st.integers(10, 30))
def test_what_fits_stays_and_the_rest_is_cut_to_the_letter(text: str, limit: int) -> None:
    shown = cut(text, limit, note=" [cut]")
    assert shown == text if len(text) <= limit else shown == text[: limit - 6] + " [cut]"
    assert len(shown) <= limit


def test_what_is_cut_says_where_it_is_whole() -> None:
    values, texts = fitted({"a": "short", "b/c": LONG[320]}, 100)
    assert values["a"] == "short"
    assert values["b/c"].endswith("... (cut here; whole in the artifact whole/b-c.txt)")
    assert len(values["b/c"]) == 100
    assert texts == {"whole/b-c.txt": LONG[320]}


@pytest.mark.parametrize("mlflow_cuts", ["true", "false"])
def test_no_event_is_refused_for_its_length_and_no_text_is_lost(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_cuts: str
) -> None:
    """MLflow itself would cut without a note, or refuse, as it is told to."""
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", mlflow_cuts)
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    began = {"mlflow.note.content": LONG[9600], "name": LONG[320]}
    journal.append(Event(run=SWEEP, kind="begin", params={"rows": LONG[7200], "scale": "mini"}, tags=began))
    data = [replace(each, name=LONG[800]) for each in DATASETS]
    journal.append(Event(run="a", kind="begin", params={"seed": "0"}, datasets=data))
    journal.append(Event(run=SWEEP, kind="end", status="KILLED"))
    resumed = {CHANGED_TAG: LONG[40_000], f"{EARLIER}{COMMAND_TAG}": LONG[9600], "mvlab.attempt": "2"}
    journal.append(Event(run=SWEEP, kind="resume", tags=resumed))
    journal.append(Event(run="a", kind="metrics", tags={"mvlab.no_package": LONG[9600]}))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)

    def whole(run: str) -> dict[str, str]:
        run_id, to = sink.run_ids[run], tmp_path / run
        to.mkdir()
        client.download_artifacts(run_id, "whole", str(to))
        return {path.name: path.read_text() for path in (to / "whole").iterdir()}

    study, run = (client.get_run(sink.run_ids[name]) for name in (SWEEP, "a"))
    assert study.info.status == "RUNNING"
    assert study.data.tags["mvlab.attempt"] == "2"
    assert len(study.info.run_name) == MAX_NAME
    assert len(study.data.params["rows"]) == 6000
    assert study.data.tags[CHANGED_TAG].startswith(LONG[40_000][:7900])
    assert study.data.tags[CHANGED_TAG].endswith("(cut here; whole in the artifact whole/mvlab.accepted_changes.txt)")
    assert whole(SWEEP) == {
        "mlflow.note.content.txt": LONG[9600],
        "mlflow.runName.txt": LONG[320],
        "rows.txt": LONG[7200],
        "mvlab.accepted_changes.txt": LONG[40_000],
        "mvlab.earlier.mvlab.command.txt": LONG[9600],
    }
    assert whole("a") == {"mvlab.no_package.txt": LONG[9600]}
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {LONG[800][:499] + "…"}
