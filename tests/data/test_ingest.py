"""An ingest writes what the source holds, the same bytes whatever happens on the way, on disks and object stores."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvlab.cli import main
from mvlab.config import EvaluationConfig
from mvlab.data import ingest as ingest_module
from mvlab.data.images import EvaluationView
from mvlab.data.ingest import (
    JOB,
    PARTS,
    QUARANTINE,
    Progress,
    Recipe,
    TooManyBadFilesError,
    ingest,
    plan_shards,
)
from mvlab.data.locate import open_data
from mvlab.data.manifest import INDEX, MANIFEST, ROWS_PER_GROUP, Manifest, read_manifest
from mvlab.data.plan import PlannedBatch
from mvlab.data.render import Order, render_batches
from mvlab.data.shards import open_split
from mvlab.data.sources.folders import Listing, list_images
from mvlab.data.storage import PARTIAL, DataError, Folder
from mvlab.data.verify import verify
from mvlab.sweep import cluster as cluster_module

pytestmark = pytest.mark.cluster

CLASSES = ("ant", "bee", "cat")
RECIPE = Recipe(name="insects", split="train", shard_mb=0.1)
SMALL_SHARDS = replace(RECIPE, shard_mb=0.004)
"""A few files each, so that an ingest has a middle to be killed in."""
NUM_FILES = 150
KILLED_AFTER = 3
"""Shards."""
BUCKET = "images"


def draw(path: Path, number: int) -> None:
    """A small picture of waves, in one of the forms that ImageNet has."""
    y, x = np.mgrid[: 32 + number % 7, : 40 + number % 5]
    waves = [127 + 120 * np.sin(x / (2 + number % 9) + y / 4 + channel + number) for channel in range(3)]
    image = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    if number % 10 == 0:
        image.save(path, "PNG")
    elif number % 10 == 1:
        image.save(path, "JPEG", progressive=True)
    else:
        image.convert(("RGB", "RGB", "L", "CMYK")[number % 4]).save(path, "JPEG", quality=90)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for number in range(NUM_FILES):
        draw(folder / "train" / CLASSES[number % 3] / f"{number:03d}.JPEG", number)
    for number in range(12):
        draw(folder / "val" / CLASSES[number % 2] / f"v{number:03d}.JPEG", number)
    return folder


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3-compatible server on loopback, whose keys are in the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield f"{host}:{port}"
        server.stop()


@pytest.fixture(scope="module")
def cluster(store: str) -> Iterator[str]:
    """The address of a Ray cluster, whose workers inherit the keys of the store."""
    del store
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield str(context.address_info["gcs_address"])
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, undisturbed; only to be read."""
    del cluster
    out = tmp_path_factory.mktemp("whole")
    run(source, out)
    return out


@pytest.fixture(scope="module")
def whole_in_small_shards(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del cluster
    out = tmp_path_factory.mktemp("small")
    run(source, out, SMALL_SHARDS)
    return out


def run(
    source: Path, out: Path | str, recipe: Recipe = RECIPE, *, max_bad: float = 0.0, told: list[Progress] | None = None
) -> Manifest:
    listing = list_images(str(source), recipe.split)
    return ingest(listing, recipe, str(out), max_bad=max_bad, on_progress=(told if told is not None else []).append)


def tables(folder: Path) -> Iterator[pa.Table]:
    """The shards, as anybody reads them."""
    for path in sorted(folder.glob("*.parquet")):
        yield pq.read_table(path)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    for name, column in (("label", reader.labels), ("width", reader.widths), ("tiled", reader.tiled)):
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


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=200),
    shard_bytes=st.integers(1, 200_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_plan_has_every_file_once_in_shards_of_the_size_asked_for(
    sizes: list[int], shard_bytes: int, seed: int
) -> None:
    files = tuple(f"{number:03d}" for number in range(len(sizes)))
    listing = Listing(
        "file:///x", files, tuple(sizes), tuple(number % 7 for number in range(len(sizes))), tuple("abcdefg")
    )
    recipe = Recipe(name="x", split="train", shard_mb=shard_bytes / 1e6, shuffle_seed=seed)
    orders = plan_shards(listing, recipe)
    assert [order.number for order in orders] == list(range(len(orders)))
    flat = [(file, label) for order in orders for file, label in zip(order.files, order.labels, strict=True)]
    assert sorted(flat) == list(zip(files, listing.labels, strict=True))
    size = dict(zip(files, sizes, strict=True))
    assert all(order.files for order in orders)
    for order in orders:
        assert sum(size[file] for file in order.files) <= shard_bytes + max(size[file] for file in order.files)
    assert len(orders) <= 1 + sum(sizes) / max(1, int(shard_bytes / 1e6 * 1e6))
    assert plan_shards(listing, recipe) == orders


def test_another_seed_is_another_order_and_another_shard_size_is_not() -> None:
    files = tuple(f"{number:03d}" for number in range(200))
    listing = Listing("file:///x", files, (100,) * 200, (0,) * 200, ("a",))

    def order(**how: float) -> list[str]:
        return [file for shard in plan_shards(listing, replace(RECIPE, **how)) for file in shard.files]

    assert order(shuffle_seed=1) != order(shuffle_seed=2)
    assert order(shuffle_seed=1, shard_mb=0.001) == order(shuffle_seed=1, shard_mb=0.005)
    assert len(plan_shards(listing, replace(RECIPE, shard_mb=0.001))) == 20


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


KILL_IN_THE_MIDDLE = """
import os, signal, sys
import ray
from mvlab.data.ingest import Recipe, ingest
from mvlab.data.sources.folders import list_images

def kill(now):
    if now.shards >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

ray.init(log_to_driver=False)
recipe = Recipe(name="insects", split="train", shard_mb=float(sys.argv[3]))
ingest(list_images(sys.argv[1], "train"), recipe, sys.argv[2], max_bad=0, on_progress=kill)
"""


@pytest.fixture(scope="module")
def killed(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left where an ingest into small shards was killed; to be copied."""
    out = tmp_path_factory.mktemp("killed")
    arguments = [str(source), str(out), str(SMALL_SHARDS.shard_mb), str(KILLED_AFTER)]
    done = subprocess.run(
        [sys.executable, "-c", KILL_IN_THE_MIDDLE, *arguments],
        env=os.environ | {"RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    return out


@pytest.fixture
def half(killed: Path, tmp_path: Path) -> Path:
    """A copy of `killed`, so that no task of it still writes there, and a file that one left half written."""
    out = tmp_path / "half"
    shutil.copytree(killed, out, ignore=shutil.ignore_patterns(f"*{PARTIAL}*"))
    (out / "train" / f"shard-00001.parquet{PARTIAL}0123abcd").write_bytes(b"PAR1 half")
    (out / "train" / PARTS / f"part-00009.arrow{PARTIAL}0123abcd").write_bytes(b"half")
    return out


def finished(out: Path) -> dict[str, int]:
    """When each shard that is known to be whole was written."""
    numbers = [path.stem.removeprefix("part-") for path in (out / "train" / PARTS).glob("part-*.arrow")]
    paths = [out / "train" / f"shard-{number}.parquet" for number in numbers]
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_killed_in_the_middle_it_is_no_data_set_yet(half: Path, source: Path) -> None:
    num_shards = len(plan_shards(list_images(str(source), "train"), SMALL_SHARDS))
    assert KILLED_AFTER <= len(finished(half)) < num_shards, "not killed in the middle"
    with pytest.raises(DataError, match="holds no train split"):
        read_manifest(str(half), "train")


def test_started_again_it_keeps_what_is_finished_and_ends_with_the_same_bytes(
    half: Path, source: Path, whole_in_small_shards: Path
) -> None:
    before, told = finished(half), []
    run(source, half, SMALL_SHARDS, told=told)
    assert told[0].shards == len(before)
    assert contents(half) == contents(whole_in_small_shards)
    assert {name: (half / "train" / name).stat().st_mtime_ns for name in before} == before
    assert not (half / "train" / PARTS).exists()


@pytest.mark.parametrize("change", [{"shuffle_seed": 1}, {"shard_mb": 0.005}, {"max_side": 32}, {"name": "other"}])
def test_an_unfinished_ingest_goes_on_with_its_own_options_only(
    half: Path, source: Path, change: dict[str, object]
) -> None:
    before = contents(half)
    with pytest.raises(DataError, match=f"unfinished ingest that differs in {next(iter(change))}:"):
        run(source, half, replace(SMALL_SHARDS, **change))
    assert contents(half) == before


def test_an_unfinished_ingest_of_other_files_is_refused(half: Path, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    draw(other / "train" / "ant" / "one_more.JPEG", 1)
    with pytest.raises(DataError, match="differs in listing_sha256"):
        run(other, half, SMALL_SHARDS)


def test_a_finished_ingest_does_nothing_more(whole: Path, source: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    told: list[Progress] = []
    assert run(source, whole, told=told) == read_manifest(str(whole), "train")
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    assert told == []


def test_killed_between_manifest_and_tidying_up_it_is_tidied_later(whole: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "train" / PARTS).mkdir()
    (out / "train" / PARTS / JOB).write_text("{}")
    (out / "train" / f"{INDEX}{PARTIAL}0123abcd").write_bytes(b"half")
    run(source, out)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("change", [{"shuffle_seed": 1}, {"shard_mb": 0.01}, {"name": "other"}])
def test_another_data_set_is_never_overwritten(whole: Path, source: Path, change: dict[str, object]) -> None:
    before = contents(whole)
    with pytest.raises(DataError, match="is another data set already"):
        run(source, whole, replace(RECIPE, **change))
    assert contents(whole) == before


def test_other_pixels_are_another_digest(whole: Path, source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path, replace(RECIPE, shuffle_seed=1, max_side=32))
    assert manifest.digest != read_manifest(str(whole), "train").digest
    assert max(manifest.image_sizes["width"][-1], manifest.image_sizes["height"][-1]) == 32


BAD = {"train/ant/empty.JPEG": b"", "train/bee/page.JPEG": b"<html></html>", "train/cat/notes.txt": b"some notes"}


def test_unreadable_files_are_quarantined_and_too_many_refused(source: Path, cluster: str, tmp_path: Path) -> None:
    del cluster
    spoilt, out = tmp_path / "spoilt", tmp_path / "out"
    shutil.copytree(source, spoilt)
    for file, content in BAD.items():
        (spoilt / file).write_bytes(content)
    truncated = sorted((spoilt / "train" / "ant").glob("*.JPEG"))[4]
    truncated.write_bytes(truncated.read_bytes()[:-100])
    bad = {*BAD, truncated.relative_to(spoilt).as_posix()}

    with pytest.raises(TooManyBadFilesError, match=r"no readable images, e\.g\. train/.*--max-bad \(here 3\.1 files\)"):
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
    with pytest.raises(DataError, match=r"shard-00000\.parquet cannot be written: .*the same command goes on"):
        run(source, tmp_path)
    (tmp_path / "train" / "shard-00000.parquet").rmdir()
    assert run(source, tmp_path).num_samples == NUM_FILES


def mvlab(*arguments: str) -> int:
    """A command in this process, on the cluster that it has joined already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "connect", list)
        patch.setattr(cluster_module, "disconnect", lambda: None)
        return main.run(list(arguments))


@pytest.fixture(scope="module")
def bucket(store: str, cluster: str, source: Path) -> str:
    """A data set in an object store, made by the command."""
    del cluster
    uri = f"s3://{BUCKET}/sets/insects?endpoint_override={store}&scheme=http&region=us-east-1"
    options = ("--src", str(source), "--out", uri, "--name", "insects", "--shard-mb", "0.1")
    assert mvlab("ingest", "imagenet", *options) == 0
    return uri


def test_a_store_holds_what_a_disk_holds(bucket: str, whole: Path) -> None:
    folder = Folder.of(bucket, "train")
    assert {name: folder.read(name).to_pybytes() for name in folder.sizes()} == contents(whole / "train")
    assert not Folder.of(bucket, "train", PARTS).sizes()


def test_training_reads_from_a_store(bucket: str, whole: Path) -> None:
    data = open_data(bucket)
    assert (data.uri, data.num_train, data.num_val, data.num_classes) == (bucket, NUM_FILES, 12, 3)
    assert data.digest == read_manifest(str(whole), "train").digest
    samples = np.array([140, 3, 77, 3])
    view = EvaluationView(EvaluationConfig(resize=36, crop=32))
    batches = [
        next(render_batches([Order(PlannedBatch(0, 32, samples), read_manifest(uri, "train").ref(uri), view)]))
        for uri in (bucket, str(whole))
    ]
    np.testing.assert_array_equal(batches[0].pixels, batches[1].pixels)
    assert batches[0].labels.tolist() == batches[1].labels.tolist()
    assert batches[0].pixels.shape == (4, 3, 32, 32)


def test_the_commands_take_a_store(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["inspect", bucket, "--verify", "--shards"]) == 0
    assert "every byte is what was ingested" in capsys.readouterr().out
    assert main.run(["plan", bucket, "--batch", "4"]) == 0
    assert "insects, train: 150 images" in capsys.readouterr().out
    picture = tmp_path / "batch.png"
    assert main.run(["preview", bucket, "--batch", "4", "--split", "val", "--out", str(picture)]) == 0
    assert Image.open(picture).format == "PNG"
    assert main.run(["inspect", bucket.replace("insects", "nothing")]) == 2
    assert "holds no data set" in capsys.readouterr().err


def test_a_store_that_refuses_is_told_in_a_sentence(
    store: str, cluster: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del cluster
    out = f"s3://no-such-bucket/x?endpoint_override={store}&scheme=http&region=us-east-1"
    assert mvlab("ingest", "folder", "--src", str(source), "--out", out) == 2
    assert "error: " in capsys.readouterr().err


def test_a_store_can_be_the_source_too(store: str, cluster: str, source: Path) -> None:
    """Its name is that of the folder, without the address of the store."""
    where = f"?endpoint_override={store}&scheme=http&region=us-east-1"
    raw = Folder.of(f"s3://{BUCKET}/raw{where}")
    for path in sorted(source.glob("val/*/*")):
        raw.write(path.relative_to(source).as_posix(), path.read_bytes())
    out = f"s3://{BUCKET}/copied{where}"
    del cluster
    assert mvlab("ingest", "folder", "--src", f"s3://{BUCKET}/raw{where}", "--out", out) == 0
    manifest = read_manifest(out, "val")
    assert (manifest.name, manifest.num_samples, manifest.classes) == ("raw", 12, ("ant", "bee"))


def test_a_store_notices_a_changed_byte(bucket: str) -> None:
    """Last of all, for it changes one."""
    folder = Folder.of(bucket, "train")
    manifest = read_manifest(bucket, "train")
    name = manifest.shards[1].file
    content = bytearray(folder.read(name).to_pybytes())
    content[1000] ^= 1
    folder.write(name, bytes(content))
    (problem,) = verify(bucket, manifest, lambda _: None)
    assert f"train/{name} is not what was ingested" in problem
