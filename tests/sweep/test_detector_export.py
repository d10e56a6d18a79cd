"""A detector's package is verified on images of its own validation split, in which it detects something."""

import json
from itertools import islice
from pathlib import Path

import pytest
from export.packages import NANO_MOBILEVIT, checkpoint_of

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.scenes import scenes
from mvlab.data.sources.splits import SPLITS
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.shards import SplitReader
from mvlab.export.pictures import from_split
from mvlab.export.run_package import TABLE
from mvlab.models.build import build_network
from mvlab.models.plausible import plausible
from mvlab.networks import SSDLiteConfig
from mvlab.record.package import VERIFICATION
from mvlab.sweep import exports
from mvlab.tasks.detection.config import EvaluationConfig
from mvlab.tasks.detection.task import Detection

SIDE = 64
DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("scenes"))
    for split in SPLITS:
        few = islice(scenes(split), 20)
        write_split(few, uri, name="s", split=split, classes=DIGITS, seed=0, task="detection", fields=OBJECT_FIELDS)
    return uri


def test_the_verification_compares_detections_in_the_runs_own_images(data: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exports, "save_model", lambda *_, **__: None)  # seconds, and of no interest here
    config = SSDLiteConfig(backbone=NANO_MOBILEVIT)
    model = plausible(build_network(config, len(DIGITS)), SIDE)
    checkpoint_of(tmp_path, model, config, Detection(evaluation=EvaluationConfig(side=SIDE)))
    exports._export(data, tmp_path)
    found = json.loads((tmp_path / VERIFICATION).read_text())
    assert found["num_images"] == 8
    (agreement,) = found["detections"]
    assert agreement["num_model"] > 0
    assert "run on 8 images of the validation split, spread over it" in (tmp_path / TABLE).read_text()


def test_images_are_spread_over_the_split_and_corrupt_rows_are_left_out(data: str) -> None:
    reader = SplitReader(data, read_manifest(data, "val"))
    whole = from_split(reader, 20)(16, 16)
    assert whole.shape == (20, 3, 16, 16)
    assert from_split(reader, 4)(16, 16).equal(whole[[0, 5, 10, 15]])
    reader._checksums = reader._checksums.copy()
    reader._checksums[5] += 1
    assert from_split(reader, 4)(16, 16).equal(whole[[0, 10, 15]])
