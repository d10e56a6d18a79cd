"""`mvlab ingest`, `inspect`, `plan` and `preview`, as people type them."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image

from mvlab.cli import main
from mvlab.data.store.manifest import read_manifest
from mvlab.durable import PARTIAL

pytestmark = pytest.mark.cluster

SHARED = Path(os.environ.get("MVLAB_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
TINY = SHARED / "tiny-imagenet-10"
MVLAB = [sys.executable, "-c", "from mvlab.cli.main import main; main()"]
CLASSES = ("left", "right")
NUM_TRAIN, NUM_VAL = 80, 10
NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray cluster, as a job is submitted to one; without it, commands would take any that this machine has."""
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield str(context.address_info["gcs_address"])
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[:48, :64]
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        for number in range(count):
            path = folder / split / CLASSES[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = 127 + 120 * np.sin(x / (3 + number % 5) + (y if number % 2 else -y) / 4 + number)
            Image.fromarray(grey.astype(np.uint8)).convert("RGB").save(path)
    return folder


def start(*arguments: object, address: str = NOBODY, cwd: Path | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MVLAB, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"RAY_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mvlab(*arguments: object, address: str = NOBODY, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(*arguments, address=address, cwd=cwd)
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def ingested(photos: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """The data set, and what the command said on standard output and error."""
    uri = str(tmp_path_factory.mktemp("ingested"))
    status, out, err = mvlab(
        *("ingest", "folder", "--src", photos, "--out", uri, "--name", "mine", "--shard-mb", "0.04"), address=cluster
    )
    assert status == 0, err
    return uri, out, err


def here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """As `mvlab`, in this process: quicker."""
    status = main.run([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def cells(table: str) -> dict[str, str]:
    """Second by first column of a markdown table."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {row[0]: row[1] for row in rows}


def test_ingest_says_how_far_it_is_and_what_it_made(ingested: tuple[str, str, str]) -> None:
    uri, out, err = ingested
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        last = [line for line in err.splitlines() if line.startswith(f"{split}: shards")][-1]
        done, shards, files, num_files, rate, bad = re.findall(r"\d+", last)[:6]
        assert done == shards
        assert (int(files), int(num_files), int(bad)) == (count, count, 0)
        assert float(rate) > 0
    train, val, account = (cells(table) for table in out.split("\n\n"))
    assert (account["listed"], account["taken"]) == (str(NUM_TRAIN),) * 2
    assert len(account) == 4, "nothing is left out"
    assert (train["images"], val["images"], train["classes"]) == (str(NUM_TRAIN), str(NUM_VAL), "2")
    manifest = read_manifest(uri, "train")
    assert train["digest"] == manifest.digest
    assert (manifest.name, manifest.classes) == ("mine", CLASSES)
    assert len(manifest.shards) > 1


def test_ingest_says_nothing_else(ingested: tuple[str, str, str]) -> None:
    """Neither does Ray."""
    for line in ingested[2].splitlines():
        assert re.match(r"listing file:///|train: shards |val: shards ", line), line


def test_inspect_shows_what_the_manifest_says(
    ingested: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    uri, made, _ = ingested
    status, out, _ = here(capsys, "inspect", uri, "--shards")
    assert status == 0
    for table in made.strip().split("\n\n")[:2]:
        assert table in out, "inspect says the same as ingest did"
    for split in ("train", "val"):
        for shard in read_manifest(uri, split).shards:
            assert re.search(rf"{shard.file} *\| *{shard.rows} *\|.*{shard.sha256}", out)


@pytest.mark.parametrize("file", ["train/shard-00001.parquet", "val/shard-00000.parquet", "val/index.arrow"])
def test_verify_finds_a_changed_byte(
    ingested: tuple[str, str, str], capsys: pytest.CaptureFixture[str], file: str
) -> None:
    path = Path(ingested[0], file)
    content = path.read_bytes()
    place = len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    try:
        status, out, err = here(capsys, "inspect", ingested[0], "--verify")
    finally:
        path.write_bytes(content)
    assert status == 1
    assert f"{file} is not what was ingested" in err
    assert len(re.findall("is not what was ingested", err)) == 1, "and no other"
    assert "verified" not in out


def test_the_commands_one_after_the_other(ingested: tuple[str, str, str], tmp_path: Path) -> None:
    uri = ingested[0]
    status, out, _ = mvlab("inspect", uri, "--verify")
    assert (status, out.splitlines()[-1]) == (0, "verified: every byte is what was ingested")
    status, out, err = mvlab("plan", uri, "--batch", "8", "--csv")
    assert (status, err) == (0, "")
    assert out.startswith("epoch,step,rank,")
    status, out, err = mvlab("preview", uri, "--batch", "8", "--out", "a.png", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out.startswith("a.png: mine, train, epoch 0 step 0, rank 0 of 1: ")
    assert Image.open(tmp_path / "a.png").format == "PNG"


def test_verify_finds_a_changed_manifest(ingested: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(ingested[0], "val", "manifest.json")
    content = path.read_text()
    path.write_text(json.dumps(json.loads(content) | {"classes": ["right", "left"]}))
    try:
        assert main.run(["inspect", ingested[0], "--verify"]) == 1
    finally:
        path.write_text(content)
    assert "val/manifest.json is not what was ingested" in capsys.readouterr().err


def test_plan_as_a_report_and_as_a_table(ingested: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ("plan", ingested[0], "--batch", "4", "--world", "3", "--epoch", "2")
    status, report, _ = here(capsys, *options)
    assert status == 0
    assert "mine, train: 80 images, multi-scale sampler" in report
    assert "376,000" in report
    status, table, _ = here(capsys, *options, "--csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(table)))
    (steps,) = re.findall(r"(\d+) steps;", report)
    assert len(rows) == int(steps) * 3
    assert [(int(row["step"]), int(row["rank"])) for row in rows] == [
        (s, r) for s in range(int(steps)) for r in range(3)
    ]
    (padded,) = re.findall(r"and (\d+) repeated as padding", report)
    assert sum(int(row["batch"]) for row in rows) == NUM_TRAIN + int(padded)
    assert {row["epoch"] for row in rows} == {"2"}
    assert all(int(row["bytes"]) > 0 for row in rows)


def test_a_reader_that_stops_early_is_no_error(ingested: tuple[str, str, str]) -> None:
    process = start("plan", ingested[0], "--csv")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) in (0, 120), "120: Python itself could not flush its output"
    assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]


@pytest.mark.parametrize("split", ["train", "val"])
def test_preview_draws_the_planned_batch(
    ingested: tuple[str, str, str], tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "batch.png"
    options = ["preview", ingested[0], "--batch", "6", "--split", split, "--most", "5", "--out", str(picture)]
    assert main.run(options) == 0
    said = capsys.readouterr().out
    side, shown, batch = map(int, re.findall(r"(\d+)x\d+, (\d+) of (\d+) images", said)[0])
    assert shown == min(5, batch)
    image = Image.open(picture)
    assert image.format == "PNG"
    assert image.width >= side
    assert image.height >= side
    assert image.width * image.height >= shown * side * side
    assert np.asarray(image).std() > 10, "nothing is drawn"
    first = picture.read_bytes()
    assert main.run(options) == 0
    assert picture.read_bytes() == first


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_started_again(photos: Path, cluster: str, tmp_path: Path, how: signal.Signals) -> None:
    command = ("ingest", "folder", "--src", photos, "--out", tmp_path, "--split", "train", "--shard-mb", "0.001")
    process = start(*command, address=cluster)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("train: shards"):
            break
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + how, err
    assert "the same command resumes from there" in err
    assert "Traceback" not in err
    status, out, err = mvlab(*command, address=cluster)
    assert status == 0, err
    assert cells(out)["images"] == str(NUM_TRAIN)
    assert not [path for path in tmp_path.rglob("*") if PARTIAL in path.name]


def test_bad_files_are_counted_on_the_terminal(photos: Path, cluster: str, tmp_path: Path) -> None:
    for path in photos.glob("val/*/*"):
        copy = tmp_path / "src" / path.relative_to(photos / "val")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "src" / "left" / "empty.jpg").touch()
    (tmp_path / "src" / "left" / "gone.jpg").symlink_to(".git/annex/objects/gone")
    (tmp_path / "src" / os.fsdecode(b"left/caf\xe9.jpg")).touch()
    (tmp_path / "src" / "left" / "loop").symlink_to("..")
    (tmp_path / "src" / "lost+found").mkdir()
    command = ("ingest", "folder", "--src", "src", "--split", "val", "--out", "out", "--max-bad", "25%")
    status, out, err = mvlab(*command, address=cluster, cwd=tmp_path)  # not where the cluster was started
    assert status == 0, err
    assert "3 quarantined" in err
    told = cells(out)
    assert told["quarantined files"] == "3"
    lines = (tmp_path / "out" / "val" / "quarantine.jsonl").read_text().splitlines()
    assert {entry["file"]: entry["reason"] for entry in map(json.loads, lines)} == {
        r"left/caf\xe9.jpg": "name is not UTF-8",
        "left/gone.jpg": "symlink to nothing",
        "left/empty.jpg": "the file is empty",
    }
    assert (told["listed"], told["taken"], told["bad: no readable image"]) == ("15", "10", "1")
    assert sum(int(number) for name, number in told.items() if name.startswith(("bad: ", "left out: "))) == 5


@pytest.mark.skipif(not TINY.is_dir(), reason=f"needs {TINY} (or MVLAB_SHARED_DATA)")
def test_ten_classes_of_tiny_imagenet(cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = tmp_path / "out"
    status, out, err = mvlab(
        *("ingest", "imagenet", "--src", TINY, "--out", uri, "--shard-mb", "2", "--max-bad", "0"), address=cluster
    )
    assert status == 0, err
    train, val = (read_manifest(str(uri), split) for split in ("train", "val"))
    assert (train.num_samples, val.num_samples, len(train.classes)) == (5_000, 500, 10)
    assert train.classes == val.classes == tuple(sorted(path.name for path in (TINY / "train").iterdir()))
    assert train.image_sizes["width"] == [64, 64, 64]
    assert cells(out)["tiny-imagenet-10, train"] == ""
    status, out, err = here(capsys, "inspect", uri, "--verify")
    assert status == 0, err
    status, out, err = here(capsys, "plan", uri, "--sampler", "standard", "--world", "2", "--csv")
    assert status == 0, err
    assert len(out.splitlines()) == 1 + 2 * 20, "5,000 images, 2 x 128 a step"
    status, out, err = here(capsys, "preview", uri, "--batch", "8", "--out", tmp_path / "batch.png")
    assert status == 0, err
    assert Image.open(tmp_path / "batch.png").format == "PNG"
