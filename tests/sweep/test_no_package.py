"""A run whose network cannot be converted was trained all the same: it is finished, and its model is logged."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from export.packages import CLASSES, network, run_checkpoint

from experiments.table6_patch_size import EXPERIMENT
from mvlab.export import run_package
from mvlab.export.errors import ExportError
from mvlab.record.journal import Event, Journal
from mvlab.record.model import NAME as MODEL
from mvlab.record.model import is_model
from mvlab.record.package import VERIFICATION
from mvlab.sweep import exports
from mvlab.sweep.console import Console
from mvlab.sweep.trial import plan_trials
from mvlab.sweep.tuner import NO_PACKAGE_TAG, Reporter


def test_a_network_that_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise ExportError("the network cannot be converted at 64x64 pixels: unknown operation\nand a page more")

    monkeypatch.setattr(run_package, "export_package", refuse)
    monkeypatch.setattr(exports, "read_manifest", lambda *_: SimpleNamespace(classes=CLASSES))
    (trial,) = plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 1)
    results = trial.folder(tmp_path).results
    results.mkdir(parents=True)
    run_checkpoint(results, network())
    exports._export("digits", results)
    assert is_model(results / MODEL)
    assert not (results / exports.PACKAGE).exists()

    journal = Journal(tmp_path / "journal.jsonl")
    reporter = Reporter({trial.slug: trial}, journal, lambda _: None, tmp_path, exports=None)
    reporter.console = Console(said := io.StringIO())
    journal.append(Event(run=trial.name, kind="begin"))
    reporter.trained.append(trial)
    reporter.take_export(trial, None)
    assert journal.statuses() == {trial.name: "FINISHED"}
    (tags,) = [event.tags for event in journal.events() if event.tags]
    why = "there is no package: the network cannot be converted at 64x64 pixels: unknown operation"
    assert tags == {NO_PACKAGE_TAG: why}
    assert f"{trial.name} | no package: see {results / VERIFICATION}" in said.getvalue()
