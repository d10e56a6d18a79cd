"""Samples go into shards and come out as they were; what is no data set is refused with a reason."""

import json
from pathlib import Path

import numpy as np
import pytest

from mvlab.data.locate import describe_digits, embedded_digits, open_data
from mvlab.data.shards import (
    ROWS_PER_GROUP,
    DataError,
    Manifest,
    Sample,
    ShardReader,
    open_split,
    read_manifest,
    write_split,
)
from mvlab.data.sources.digits import digits


def write(folder: Path, count: int = 100, split: str = "train", seed: int = 0, classes: tuple = ("a", "b")) -> Manifest:
    samples = [Sample(key=str(i), image=f"image {i}".encode(), label=i % 2) for i in range(count)]
    return write_split(samples, str(folder), name="test", split=split, classes=classes, seed=seed)


def test_every_row_comes_back_once_shuffled(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    assert read_manifest(str(tmp_path), "train") == manifest
    assert manifest.num_samples == 100
    assert manifest.group_rows == [ROWS_PER_GROUP] * 3 + [4]
    rows = list(ShardReader(str(tmp_path), manifest).rows(np.arange(100)))
    assert sorted(int(image.split()[1]) for image, _ in rows) == list(range(100))
    assert [int(image.split()[1]) for image, _ in rows] != list(range(100))
    assert all(label == int(image.split()[1]) % 2 for image, label in rows)


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    reader = ShardReader(str(tmp_path), write(tmp_path))
    one_by_one = [next(reader.rows(np.array([i]))) for i in (99, 0, 33)]
    assert list(reader.rows(np.array([99, 0, 33]))) == one_by_one


def test_digest_names_the_content(tmp_path: Path) -> None:
    digests = {
        write(tmp_path / "a").digest, write(tmp_path / "b").digest, write(tmp_path / "c", seed=1).digest,
        write(tmp_path / "d", count=99).digest, write(tmp_path / "e", classes=("b", "a")).digest,
    }  # fmt: skip
    assert len(digests) == 4, "a and b are equal, the others are not"


def test_a_split_that_was_written_anew_is_refused(tmp_path: Path) -> None:
    ref = write(tmp_path).ref(str(tmp_path))
    assert open_split(ref).split == "train"
    write(tmp_path, seed=1)
    open_split.cache_clear()
    with pytest.raises(DataError, match="written anew"):
        open_split(ref)


def test_no_folder_no_manifest_no_shard_and_no_row_are_each_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no train split"):
        read_manifest(str(tmp_path / "nowhere"), "train")
    write(tmp_path)
    with pytest.raises(DataError, match="holds no val split"):
        read_manifest(str(tmp_path), "val")
    (tmp_path / "train" / "shard-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"shards that are not there.*shard-00000"):
        read_manifest(str(tmp_path), "train")
    write(tmp_path / "empty", count=0)
    with pytest.raises(DataError, match="empty"):
        read_manifest(str(tmp_path / "empty"), "train")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 1}'])
def test_a_foreign_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "manifest.json").write_text(content)
    with pytest.raises(DataError, match="no manifest of this platform"):
        read_manifest(str(tmp_path), "train")


def test_a_manifest_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "train" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(DataError, match=r"format 99.*write the shards again"):
        read_manifest(str(tmp_path), "train")


def test_labels_and_class_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample 1 has label 1, but there are 1 classes"):
        write(tmp_path, classes=("a",))
    with pytest.raises(DataError, match="'a' occurs twice"):
        write(tmp_path, classes=("a", "a"))


def test_an_unknown_filesystem_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        read_manifest("nosuch://bucket/data", "train")


def test_splits_of_different_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="val", classes=("b", "a"))
    with pytest.raises(DataError, match="one class list"):
        open_data(str(tmp_path))


def test_the_embedded_digits_are_written_once_and_as_described(tmp_path: Path) -> None:
    described = describe_digits(tmp_path)
    assert list(tmp_path.iterdir()) == []
    written = embedded_digits(tmp_path)
    assert (described.num_train, described.num_val, described.num_classes) == (1437, 360, 10)
    assert described.train_group_rows == written.train_group_rows
    assert (written.num_val, written.num_classes, written.uri) == (360, 10, described.uri)
    shard = tmp_path / "datasets" / "digits" / "train" / "shard-00000.parquet"
    before = shard.stat().st_mtime_ns
    assert embedded_digits(tmp_path) == written
    assert shard.stat().st_mtime_ns == before


def test_digits_splits_are_disjoint_and_complete() -> None:
    keys = [{sample.key for sample in digits(split)} for split in ("train", "val")]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == 1797
