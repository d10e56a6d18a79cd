"""A job on a data set for another task ends with status 2 and a sentence, before anything is started or written."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from experiments import table1_detection, table6_patch_size
from mvlab.cli import job
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES, digits
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.scenes import scenes
from mvlab.data.sources.splits import SPLITS
from mvlab.experiment import Experiment

ABOUT: dict[str, dict[str, Any]] = {
    "digits": {},
    "scenes": {"task": "detection", "fields": OBJECT_FIELDS},
}


@pytest.mark.parametrize(
    ("experiment", "name", "message"),
    [
        (
            table1_detection.EXPERIMENT,
            "digits",
            "digits is a data set for classification, with the targets label; detection learns image_id, boxes,",
        ),
        (
            table6_patch_size.EXPERIMENT,
            "scenes",
            "scenes is a data set for detection, with the targets image_id, boxes, categories, crowd, areas, "
            "annotation_ids; classification learns label: name a data set for it with --data",
        ),
    ],
)
def test_a_data_set_for_another_task_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    experiment: Experiment,
    name: str,
    message: str,
) -> None:
    data, here = str(tmp_path / "data"), tmp_path / "here"
    for split in SPLITS:
        samples = islice({"digits": digits, "scenes": scenes}[name](split), 8)
        write_split(samples, data, name=name, split=split, classes=CLASSES, seed=0, **ABOUT[name])
    here.mkdir()
    monkeypatch.chdir(here)
    assert job.run(experiment, ["--data", data]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1
    assert list(here.iterdir()) == [], "something was written"
