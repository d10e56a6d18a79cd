"""A row that rots after it was ingested ends a run that names it, or is skipped and counted."""

from pathlib import Path

import pytest
from tiny_study import recorded, submit

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES, digits
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.shards import SplitReader

pytestmark = pytest.mark.cluster


@pytest.fixture
def rotten(tmp_path: Path) -> Path:
    """Folder that holds `data`: the digits, with one bit of training row 700 flipped."""
    data = tmp_path / "data"
    for split in ("train", "val"):
        write_split(digits(split), str(data), name="rotten", split=split, classes=CLASSES, seed=0)
    shard = data / "train" / "shard-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[content.index(SplitReader(str(data), read_manifest(str(data), "train")).read(700)) + 30] ^= 4
    shard.write_bytes(content)
    return tmp_path


def test_a_corrupt_row_fails_a_run_with_its_name_or_is_skipped_and_counted(
    rotten: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rotten)  # the data are named relative to where the user is
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    status, runs, err = submit(capsys, "--data", "data")
    assert status == 1, err
    (one,) = runs.values()
    assert (one["status"], one["top1"]) == ("FAILED", None)
    client, ours = recorded(rotten)
    assert {each.info.status for each in ours.values()} == {"FAILED"}
    artifacts = Path(client.download_artifacts(one["run_id"], ""))
    assert "shard-00000.parquet, row 700, is not what was ingested" in (artifacts / "error.txt").read_text()

    status, runs, err = submit(capsys, "--data", "data", "--on-corrupt", "skip")
    assert status == 0, err
    (one,) = runs.values()
    assert [each.value for each in client.get_metric_history(one["run_id"], "data/corrupt_rows")] == [1.0]
    artifacts = Path(client.download_artifacts(one["run_id"], ""))
    (named,) = (artifacts / "corrupt-rows.txt").read_text().splitlines()
    assert "shard-00000.parquet, row 700," in named
