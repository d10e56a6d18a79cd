"""Samples go into shards and come out as they were; what is no data set is refused with a reason."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.data.data_set import describe_embedded, open_data, open_embedded
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import digits
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import FORMAT_VERSION, ROWS_PER_GROUP, Manifest, digest_of, read_manifest
from mvlab.data.store.shards import CorruptRowError, SplitReader, open_split
from mvlab.data.store.storage import DataError
from mvlab.data.store.verify import verify
from mvlab.targets import LABEL


def picture(number: int) -> bytes:
    """A PNG that holds its number."""
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3), number, dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()


def number_in(encoded: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(encoded)))[0, 0])


def write(folder: Path, count: int = 100, split: str = "train", seed: int = 0, classes: tuple = ("a", "b")) -> Manifest:
    samples = [Sample(key=str(i), image=picture(i), targets={"label": i % 2}) for i in range(count)]
    return write_split(samples, str(folder), name="test", split=split, classes=classes, seed=seed)


def test_every_row_comes_back_once_shuffled(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    assert read_manifest(str(tmp_path), "train") == manifest
    assert manifest.num_samples == 100
    assert manifest.group_rows.tolist() == [ROWS_PER_GROUP] * 3 + [4]
    reader = SplitReader(str(tmp_path), manifest)
    numbers = [number_in(reader.read(row)) for row in range(100)]
    assert sorted(numbers) == list(range(100))
    assert numbers != list(range(100))
    assert reader.targets(np.arange(len(reader)))["label"].tolist() == [number % 2 for number in numbers]
    assert set(reader.widths.tolist()) == {3}
    assert set(reader.heights.tolist()) == {2}


def test_the_index_agrees_with_parquet(tmp_path: Path) -> None:
    """Shards are for everyone: what pyarrow reads is what we read."""
    manifest = write(tmp_path)
    reader = SplitReader(str(tmp_path), manifest)
    table = pq.read_table(tmp_path / "train" / manifest.shards[0].file)
    assert [reader.read(row) for row in range(100)] == table["image"].to_pylist()
    assert reader.targets(np.arange(len(reader)))["label"].tolist() == table["label"].to_pylist()
    assert (reader.lengths == [len(image) for image in table["image"].to_pylist()]).all()


@pytest.mark.parametrize("row", [0, 57, 99])
def test_a_changed_byte_is_found_by_its_row_and_by_verify(tmp_path: Path, row: int) -> None:
    manifest = write(tmp_path)
    reader = SplitReader(str(tmp_path), manifest)
    shard = tmp_path / "train" / manifest.shards[0].file
    content = bytearray(shard.read_bytes())
    content[content.index(reader.read(row)) + 20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptRowError, match=rf"shard-00000.parquet, row {row}, is not what was ingested"):
        reader.read(row)
    others = [other for other in range(100) if other != row]
    assert len([reader.read(other) for other in others]) == 99
    problems = verify(str(tmp_path), manifest, lambda now: None)
    assert len(problems) == 1
    assert "train/shard-00000.parquet is not what was ingested" in problems[0]


def test_a_shard_cut_short_is_refused_when_opened_and_when_read(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    reader = SplitReader(str(tmp_path), manifest)
    shard = tmp_path / "train" / manifest.shards[0].file
    shard.write_bytes(shard.read_bytes()[:2_000])
    with pytest.raises(DataError, match=r"has 2,000 bytes where the manifest says"):
        read_manifest(str(tmp_path), "train")
    with pytest.raises(CorruptRowError, match="row 99"):
        reader.read(99)


def test_rows_read_together_are_those_read_alone(tmp_path: Path) -> None:
    """In the order asked for; a changed one, and one that a shard was cut short of, are told by their place."""
    manifest = write(tmp_path)
    reader = SplitReader(str(tmp_path), manifest)
    rows = np.array([57, 3, 99, 3, 0])
    memory = np.empty(int(reader.lengths[rows].sum()) + 5, np.uint8)
    alone = [reader.read(row) for row in rows.tolist()]
    together, corrupt = reader.read_all(rows, memory)
    assert [together[number] for number in range(len(together))] == alone
    assert corrupt == {}

    shard = tmp_path / "train" / manifest.shards[0].file
    content = bytearray(shard.read_bytes())
    content[content.index(alone[0]) + 20] ^= 1
    shard.write_bytes(content[: content.index(alone[2]) + 9])
    together, corrupt = reader.read_all(rows, memory)
    assert [together[number] for number in (1, 3, 4)] == [alone[number] for number in (1, 3, 4)]
    assert sorted(corrupt) == [0, 2]
    assert "row 57, is not what was ingested" in str(corrupt[0])
    assert "row 99, is not what was ingested" in str(corrupt[2])


def test_images_in_memory_are_their_bytes() -> None:
    images = [b"one", b"", b"three"]
    together = EncodedImages.of(images)
    assert [together[number] for number in range(len(together))] == images
    assert together.ends.tolist() == [3, 3, 8]
    assert len(EncodedImages.of([])) == 0


def test_an_untouched_split_verifies(tmp_path: Path) -> None:
    told: list[int] = []
    assert verify(str(tmp_path), write(tmp_path), lambda now: told.append(now.files)) == []
    assert told == [1, 2], "a shard and the index"


def test_digest_names_the_content(tmp_path: Path) -> None:
    digests = {
        write(tmp_path / "a").digest, write(tmp_path / "b").digest, write(tmp_path / "c", seed=1).digest,
        write(tmp_path / "d", count=99).digest, write(tmp_path / "e", classes=("b", "a")).digest,
    }  # fmt: skip
    assert len(digests) == 4, "a and b are equal, the others are not"


def test_a_split_that_was_written_anew_is_refused(tmp_path: Path) -> None:
    ref = write(tmp_path).ref(str(tmp_path))
    assert len(open_split(ref)) == 100
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


@pytest.mark.parametrize("content", ["", "[]", "{}", f'{{"format_version": {FORMAT_VERSION}}}'])
def test_a_foreign_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "manifest.json").write_text(content)
    with pytest.raises(DataError, match="no manifest of this platform"):
        read_manifest(str(tmp_path), "train")


def test_a_set_of_format_2_is_one_of_labels(tmp_path: Path) -> None:
    """It was written before shards said which targets they hold, to the same bytes."""
    manifest = write(tmp_path)
    path = tmp_path / "train" / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["task"], fields["fields"]
    path.write_text(json.dumps(fields | {"format_version": 2}))
    read = read_manifest(str(tmp_path), "train")
    assert (read.task, read.fields, read.digest) == ("classification", (LABEL,), manifest.digest)
    assert read.digest == digest_of(read.classes, read.shards, read.index_sha256)
    assert SplitReader(str(tmp_path), read).targets(np.array([0]))["label"].dtype == np.int64


def test_a_manifest_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "train" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(DataError, match=r"format 99.*ingest it again"):
        read_manifest(str(tmp_path), "train")


def test_labels_and_class_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample 1 has label 1, but there are 1 classes"):
        write(tmp_path, classes=("a",))
    with pytest.raises(DataError, match="'a' occurs twice"):
        write(tmp_path, classes=("a", "a"))
    with pytest.raises(DataError, match="sample broken is no readable image: cannot identify image format"):
        write_split(
            [Sample("broken", b"x", {"label": 0})], str(tmp_path), name="t", split="train", classes=("a",), seed=0
        )


def test_an_unknown_filesystem_is_refused() -> None:
    with pytest.raises(DataError, match="are read from a folder or from s3"):
        read_manifest("nosuch://bucket/data", "train")


def test_splits_of_different_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="val", classes=("b", "a"))
    with pytest.raises(DataError, match="one class list"):
        open_data(str(tmp_path))


def test_the_open_embedded_are_written_once_and_as_described(tmp_path: Path) -> None:
    described = describe_embedded("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []
    written = open_embedded("digits", tmp_path)
    assert (described.num_train, described.num_val, described.num_classes) == (1437, 360, 10)
    assert described.train_group_rows == written.train_group_rows
    assert (written.num_val, written.num_classes, written.uri) == (360, 10, described.uri)
    shard = tmp_path / "datasets" / f"digits-v{FORMAT_VERSION}" / "train" / "shard-00000.parquet"
    before = shard.stat().st_mtime_ns
    assert open_embedded("digits", tmp_path) == written
    assert shard.stat().st_mtime_ns == before


def test_digits_splits_are_disjoint_and_complete() -> None:
    keys = [{sample.key for sample in digits(split)} for split in ("train", "val")]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == 1797
