"""An ingest writes what the source holds: every image once, and what it says of them is true."""

import hashlib
import io
import json
import os
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.insects import CLASSES, NUM_FILES, RECIPE, contents, finished, run, tables
from PIL import Image

from mvlab.data.ingest import job as ingest_module
from mvlab.data.ingest.job import Progress, TooManyBadFilesError
from mvlab.data.sources.folders import list_images
from mvlab.data.store.manifest import INDEX, MANIFEST, QUARANTINE, ROWS_PER_GROUP, read_manifest
from mvlab.data.store.shards import open_split
from mvlab.data.store.storage import DataError
from mvlab.data.store.verify import verify

pytestmark = pytest.mark.cluster


def test_every_image_is_there_once_with_its_pixels_and_its_class(source: Path, whole: Path) -> None:
    rows = [row for table in tables(whole / "train") for row in table.to_pylist()]
    assert sorted(row["key"] for row in rows) == sorted(list_images(str(source), "train").files)
    assert len(rows) == NUM_FILES
    for row in rows:
        stored = Image.open(io.BytesIO(row["image"])).convert("RGB")
        original = Image.open(source / row["key"]).convert("RGB")
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(original))
        assert (row["width"], row["height"]) == original.size
        assert CLASSES[row["label"]] == Path(row["key"]).parent.name


def test_the_reader_gives_what_parquet_gives(whole: Path) -> None:
    reader = open_split(read_manifest(str(whole), "train").ref(str(whole)))
    rows = [row for table in tables(whole / "train") for row in table.to_pylist()]
    assert [reader.read(index) for index in range(len(reader))] == [row["image"] for row in rows]
    for name, column in (
        ("label", reader.targets(np.arange(len(reader)))["label"]),
        ("width", reader.widths),
        ("tiled", reader.tiled),
    ):
        assert column.tolist() == [row[name] for row in rows]


def test_the_manifest_says_of_the_files_what_they_are(whole: Path) -> None:
    manifest = read_manifest(str(whole), "train")
    assert manifest.classes == CLASSES
    assert [shard.file for shard in manifest.shards] == sorted(path.name for path in whole.glob("train/*.parquet"))
    assert len(manifest.shards) > 1
    assert max(len(shard.group_rows) for shard in manifest.shards) > 1
    for shard in manifest.shards:
        path = whole / "train" / shard.file
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        assert shard.group_rows == groups
        assert max(groups) <= ROWS_PER_GROUP == manifest.rows_per_group
        assert shard.rows == file.metadata.num_rows
        assert shard.num_bytes == path.stat().st_size
        assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.index_sha256 == hashlib.sha256((whole / "train" / INDEX).read_bytes()).hexdigest()
    everything = pa.concat_tables(tables(whole / "train"))
    for name, values in (
        ("width", everything["width"].to_numpy()),
        ("height", everything["height"].to_numpy()),
        ("bytes", np.array([len(image.as_py()) for image in everything["image"]])),
    ):
        assert manifest.image_sizes[name] == [values.min(), int(np.median(values)), values.max()]
    assert manifest.num_tiled == sum(everything["tiled"].to_pylist()) > NUM_FILES // 2
    assert manifest.num_samples == NUM_FILES


def test_nothing_but_shards_index_manifest_and_quarantine_is_left(whole: Path) -> None:
    names = {path.name for path in (whole / "train").iterdir()}
    assert names == {*(path.name for path in whole.glob("train/*.parquet")), INDEX, MANIFEST, QUARANTINE}
    assert (whole / "train" / QUARANTINE).read_bytes() == b""
    assert verify(str(whole), read_manifest(str(whole), "train"), lambda _: None) == []


def test_every_shard_is_a_sample_of_all_classes(whole: Path) -> None:
    keys = []
    for table in tables(whole / "train"):
        assert set(table["label"].to_pylist()) == {0, 1, 2}
        keys += table["key"].to_pylist()
    neighbours = sum(a < b for a, b in pairwise(keys))
    assert 0.3 < neighbours / len(keys) < 0.7, "sorted runs are left"


def test_the_bytes_do_not_depend_on_the_order_of_tasks(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = ingest_module._run
    monkeypatch.setattr(ingest_module, "_run", lambda orders, *rest: forwards(orders[::-1], *rest))
    told: list[Progress] = []
    manifest = run(source, tmp_path, told=told)
    assert contents(tmp_path) == contents(whole)
    assert manifest == read_manifest(str(whole), "train")
    assert (told[0].files, told[-1].files, told[-1].num_files) == (0, NUM_FILES, NUM_FILES)
    assert (told[0].shards, told[-1].shards) == (0, told[-1].num_shards)
    assert told[-1].files_per_s > 0


def test_other_pixels_are_another_digest(whole: Path, source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path, replace(RECIPE, shuffle_seed=1, max_side=32))
    assert manifest.digest != read_manifest(str(whole), "train").digest
    assert max(manifest.image_sizes["width"][-1], manifest.image_sizes["height"][-1]) == 32


BAD = {"train/ant/empty.JPEG": b"", "train/bee/page.JPEG": b"<html></html>", "train/cat/notes.data": b"some notes"}


def test_unreadable_files_are_quarantined_and_too_many_refused(source: Path, cluster: str, tmp_path: Path) -> None:
    del cluster
    spoilt, out = tmp_path / "spoilt", tmp_path / "out"
    shutil.copytree(source, spoilt)
    for file, content in BAD.items():
        (spoilt / file).write_bytes(content)
    truncated = sorted((spoilt / "train" / "ant").glob("*.JPEG"))[4]
    truncated.write_bytes(truncated.read_bytes()[:-100])
    bad = {*BAD, truncated.relative_to(spoilt).as_posix()}

    with pytest.raises(TooManyBadFilesError, match=r"no readable images, e\.g\. train/.*`max_bad` \(here 3\.1 files\)"):
        run(spoilt, out, max_bad=0.0201)
    assert not (out / "train" / MANIFEST).exists()
    listed = [json.loads(line) for line in (out / "train" / QUARANTINE).read_text().splitlines()]
    assert {entry["file"] for entry in listed} == bad
    before = finished(out)

    told: list[Progress] = []
    manifest = run(spoilt, out, max_bad=0.04, told=told)
    assert {name: (out / "train" / name).stat().st_mtime_ns for name in before} == before
    assert told[0].shards >= 1
    assert told[-1].quarantined == manifest.num_quarantined == len(bad)
    assert manifest.num_samples == NUM_FILES - 1
    listed = [json.loads(line) for line in (out / "train" / QUARANTINE).read_text().splitlines()]
    reasons = {entry["file"]: entry["reason"] for entry in listed}
    assert set(reasons) == bad
    assert "empty" in reasons["train/ant/empty.JPEG"]
    assert "truncated" in reasons[truncated.relative_to(spoilt).as_posix()]
    keys = {key for table in tables(out / "train") for key in table["key"].to_pylist()}
    assert not keys & bad
    assert len(keys) == NUM_FILES - 1


def test_what_a_task_cannot_write_is_told_in_a_sentence(source: Path, cluster: str, tmp_path: Path) -> None:
    del cluster
    (tmp_path / "train" / "shard-00000.parquet").mkdir(parents=True)
    with pytest.raises(DataError, match=r"shard-00000\.parquet cannot be written: .*the same command resumes"):
        run(source, tmp_path)
    (tmp_path / "train" / "shard-00000.parquet").rmdir()
    assert run(source, tmp_path).num_samples == NUM_FILES


def test_a_worker_that_dies_again_and_again_ends_the_ingest(
    source: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray alone would start it for ever."""
    del cluster

    def die(row: object, **_how: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(ingest_module, "_attempt", die)
    monkeypatch.setattr(ingest_module, "MOST_DEATHS", 1)
    with pytest.raises(DataError, match=r"a worker died 2 times as it wrote a shard.*the same command resumes"):
        run(source, tmp_path, replace(RECIPE, shard_mb=10))
