"""Bad input to `mvlab ingest`, `inspect`, `plan` and `preview` ends with a sentence, before anything is started."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from data.coco_sets import write_set
from PIL import Image

from mvlab.cli import main
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.sample import Sample
from mvlab.sweep import cluster as cluster_module

CLASSES = ("left", "right")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ImageNet's, whose files nobody comes to read."""
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 80), ("val", 10)):
        for number in range(count):
            path = folder / split / CLASSES[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for file in ("annex/train/cat/a.jpg", "splits/test/cat/a.jpg", "splits/val2/cat/a.jpg", "caffe/train/cat/a.jpg"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    (folder / "annex" / "train" / "cat" / "b.jpg").symlink_to("nowhere")
    (folder / "caffe" / "val").mkdir()
    for number in range(2):
        (folder / "caffe" / "val" / f"{number}.jpg").touch()
    (folder / "caffe" / "val.txt").write_text("0.jpg 0\n1.jpg 2\n")
    return folder


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set."""
    folder = str(tmp_path_factory.mktemp("shards"))
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, format="PNG")
    for split, count in (("train", 80), ("val", 10)):
        samples = [
            Sample(key=str(number), image=file.getvalue(), targets={"label": number % 2}) for number in range(count)
        ]
        write_split(samples, folder, name="mine", split=split, classes=CLASSES, seed=0)
    return folder


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input has to be found before anything is started."""

    def connect() -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(cluster_module, "connect", connect)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said where a command ends with status 2."""
    try:
        status = main.run(arguments)
    except SystemExit as end:  # argparse
        status = int(end.code or 0)
    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert "SECRET" not in said.err
    return said.err


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--src": None}, "the following arguments are required: --src"),
        ({"--out": None}, "the following arguments are required: --out"),
        ({"--src": "nowhere"}, "--src nowhere is no folder"),
        ({"--src": "PHOTOS/train"}, "has neither train/ nor val/: say with --split"),
        ({"--src": "PHOTOS/train/left", "--split": "train"}, "40 files and no class folders"),
        ({"--src": "s3://KEY:SECRET@bucket/x"}, "a data URI with credentials in it would be logged"),
        ({"--src": "s3://KEY:SECRET@bucket/x", "--split": "train"}, "a data URI with credentials in it"),
        ({"--out": "s3://KEY:SECRET@bucket/x"}, "a data URI with credentials in it would be logged"),
        ({"--out": "s3://KEY:with/SECRET@bucket/x"}, "a data URI with credentials in it would be logged"),
        ({"--out": "nosuch://bucket/x"}, "nosuch://bucket/x: images and shards are read from a folder or from s3"),
        ({"--split": "test"}, "invalid choice: 'test'"),
        ({"--max-bad": "few"}, "few is no share: e.g. 0.1% or 0.001"),
        ({"--max-bad": "150%"}, "150% is no share"),
        ({"--max-bad": "-0.1"}, "-0.1 is no share"),
        ({"--max-bad": "nan"}, "nan is no share"),
        ({"--shard-mb": "0"}, "--shard-mb 0: must be more than 0"),
        ({"--shard-mb": "nan"}, "--shard-mb nan"),
        ({"--shard-mb": "inf"}, "--shard-mb inf"),
        ({"--shard-mb": "many"}, "invalid float value: 'many'"),
        ({"--max-side": "8"}, "--max-side 8: at least 32 pixels"),
        ({"--max-side": "65501"}, "--max-side 65501: a JPEG has at most 65,500 pixels"),
        ({"--shuffle-seed": "-1"}, "--shuffle-seed -1: must be in"),
        ({"--ground-truth": "nowhere.txt"}, "has no flat val/ that would need it"),
        ({"--name": "a\udcffb"}, r"--name 'a\udcffb': must be printable"),
        ({"--src": "caf\udce9"}, "cannot be opened"),
        ({"--src": "PHOTOS/annex"}, "1 of 2 files cannot be read (1 symlink to nothing), e.g. train/cat/b.jpg"),
        ({"--src": "PHOTOS/splits"}, "has test/, val2/, named as splits are, but neither train/ nor val/"),
        ({"--src": "PHOTOS/caffe"}, "2 files and no class folders"),
        ({"--src": "PHOTOS/caffe", "--ground-truth": "PHOTOS/caffe/val.txt"}, "class number 2: numbers are places in"),
    ],
    ids=str,
)
def test_ingest_refuses(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str | None], message: str
) -> None:
    given = {"--src": "PHOTOS", "--out": str(tmp_path / "out")} | options
    words = [f"{name}={value}".replace("PHOTOS", str(photos)) for name, value in given.items() if value is not None]
    assert message in refused(["ingest", "imagenet", *words], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--src": None}, "coco: name the source as --src, or as --annotations and --images"),
        ({"--images": "PHOTOS"}, "coco: name the source as --src, or as"),
        ({"--src": None, "--annotations": "JSON"}, "--annotations and --images go together"),
        ({"--src": None, "--images": "PHOTOS"}, "--annotations and --images go together"),
        ({"--src": None, "--annotations": "JSON", "--images": "PHOTOS"}, "say with --split whether they are of train"),
        ({"--src": None, "--annotations": "no.json", "--images": "SET", "--split": "val"}, "no.json is no file"),
        ({"--src": None, "--annotations": "JSON", "--images": "none", "--split": "val"}, "--images none is no folder"),
        ({"--src": None, "--annotations": "JSON", "--images": "SET", "--split": "val"}, "holds none of the 3 files"),
        ({"--src": "PHOTOS"}, "has no annotations in COCO's layout: expected annotations/instances_train2017.json"),
        ({"--src": "nowhere"}, "--src nowhere has no annotations"),
        ({"--split": "val"}, "has no annotations of val: expected annotations/instances_val2017.json"),
        ({"--max-side": "64"}, "--max-side 64: coco keeps images as they are, since boxes are in their pixels"),
        ({"--ground-truth": "x.txt"}, "--ground-truth x.txt: coco has its classes in the annotations"),
        ({"--shard-mb": "0"}, "--shard-mb 0: must be more than 0"),
        ({"--out": "SET/shards"}, "lie in each other"),
        ({"--out": "URI"}, "holds a train split for classification: choose another --out"),
        ({"--src": "BROKEN"}, "is no valid JSON: Expecting value: line 1 column 1"),
        ({"--src": "GONE"}, "1 of 2 files cannot be read (1 in the annotations, but not among the images)"),
    ],
    ids=str,
)
def test_ingest_of_cocos_format_refuses(
    photos: Path,
    uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str | None],
    message: str,
) -> None:
    places = {"PHOTOS": photos, "URI": uri} | {name: tmp_path / name for name in ("SET", "BROKEN", "GONE")}
    places["JSON"] = write_set(tmp_path / "SET")
    write_set(tmp_path / "BROKEN", content="no JSON")
    write_set(tmp_path / "GONE")
    (tmp_path / "GONE" / "train2017" / "a.jpg").unlink()
    given = {"--src": "SET", "--out": str(tmp_path / "out")} | options
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    for name, place in places.items():
        words = [word.replace(f"={name}", f"={place}") for word in words]
    assert message in refused(["ingest", "coco", *words], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_cluster")
def test_annotations_belong_to_cocos_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--{name}={tmp_path}" for name in ("src", "annotations", "out")]
    assert "are of `mvlab ingest coco`, not of folder" in refused(["ingest", "folder", *options], capsys)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("out", ["photos", "photos/shards"])
def test_ingest_refuses_to_write_among_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    """The advice after a failure was to remove the folder that holds the images."""
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "train" / "cat" / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert "lie in each other" in refused(["ingest", "folder", "--src", "photos", "--out", out], capsys)
    assert {path.name for path in tmp_path.rglob("*")} == {"photos", "train", "cat", "a.jpg"}


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "URI", "--sampler", "largest"], "invalid choice: 'largest'"),
        (["plan", "URI", "--world", "0"], "--world 0: at least one rank"),
        (["plan", "URI", "--epoch", "-1"], "--epoch -1: epochs are counted from 0"),
        (["plan", "URI", "--seed", "-1"], "--seed -1: must be in"),
        (["plan", "URI", "--batch", "0"], "--batch 0: "),
        (["plan", "nowhere"], "nowhere holds no train split"),
        (["preview", "URI", "--out", "OUT", "--rank", "2", "--world", "2"], "--rank 2 is not in a world of 2: 0 to 1"),
        (["preview", "URI", "--out", "OUT", "--rank", "-1"], "--rank -1 is not in a world of 1"),
        (["preview", "URI", "--out", "OUT", "--world", "0"], "--world 0: at least one rank"),
        (["preview", "URI", "--out", "OUT", "--step", "999"], "--step 999: epoch 0 of train has no such step"),
        (["preview", "URI", "--out", "OUT", "--step", "-1"], "--step -1: epoch 0 of train has no such step"),
        (["preview", "URI", "--out", "OUT", "--split", "val", "--step", "9"], "epoch 0 of val has no such step"),
        (["preview", "URI", "--out", "OUT", "--most", "0"], "--most 0: at least one image"),
        (["preview", "URI", "--out", "batch.jpgg"], "its name ends in .png"),
        (["preview", "URI", "--out", "nowhere/batch.png"], "No such file or directory"),
        (["preview", "nowhere", "--out", "OUT"], "nowhere holds no train split"),
        (["preview", "URI"], "the following arguments are required: --out"),
        (["inspect", "nowhere"], "nowhere holds no data set"),
        (["inspect", "s3://KEY:SECRET@bucket/x"], "a data URI with credentials in it would be logged"),
        (["inspect"], "the following arguments are required: URI"),
        (["inspekt", "URI"], "invalid choice: 'inspekt'"),
        ([], "the following arguments are required: COMMAND"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_plan_preview_and_inspect_refuse(
    uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    places = {"URI": uri, "OUT": str(tmp_path / "out.png")}
    assert message in refused([places.get(word, word) for word in arguments], capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_a_sentence() -> None:
    command = "from mvlab.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "ingest", "folder", "--src", "nowhere", "--out", "out"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --src nowhere is no folder")
