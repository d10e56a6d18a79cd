"""An ingest into an object store, and from one: what a disk would hold."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from data.coco_sets import write_set
from data.insects import NUM_FILES, contents
from PIL import Image

from mvlab.cli import main
from mvlab.data.data_set import open_data
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.ingest.parts import PARTS
from mvlab.data.plan import PlannedBatch
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.storage import Folder
from mvlab.data.store.verify import verify
from mvlab.sweep import cluster as cluster_module
from mvlab.tasks.classification.config import EvaluationConfig
from mvlab.tasks.classification.view import EvaluationView

pytestmark = pytest.mark.cluster

BUCKET = "images"


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


def test_a_set_in_cocos_format_from_a_store_into_a_store(store: str, bucket: str, tmp_path: Path) -> None:
    file = write_set(tmp_path / "src")
    options = f"?endpoint_override={store}&scheme=http&region=us-east-1"
    src, out = (f"s3://{BUCKET}/coco/{name}{options}" for name in ("src", "out"))
    for path, content in contents(tmp_path / "src").items():
        Folder.of(src).sub(str(Path(path).parent)).write(Path(path).name, content)
    annotations, images = (f"s3://{BUCKET}/coco/src/{path}{options}" for path in ("annotations/x.json", "train2017"))
    Folder.of(src).sub("annotations").write("x.json", file.read_bytes())
    assert mvlab("ingest", "coco", "--src", src, "--out", out, "--name", "mine") == 0
    files = ("--annotations", annotations, "--images", images, "--split", "train", "--out", str(tmp_path / "out"))
    assert mvlab("ingest", "coco", *files, "--name", "mine") == 0
    there, here = read_manifest(out, "train"), read_manifest(str(tmp_path / "out"), "train")
    assert (there.num_samples, there.counts, there.class_ids) == (here.num_samples, here.counts, here.class_ids)
    assert (there.class_ids, there.counts["objects"]) == ((2, 90), 3)
    assert verify(out, there, lambda now: None) == []


def test_training_reads_from_a_store(bucket: str, whole: Path) -> None:
    data = open_data(bucket)
    assert (data.uri, data.num_train, data.num_val, data.num_classes) == (bucket, NUM_FILES, 12, 3)
    assert data.digest == read_manifest(str(whole), "train").digest
    samples = np.array([140, 3, 77, 3])
    view = EvaluationView(EvaluationConfig(resize=36, crop=32))
    batches = [
        next(render_batches([Order(PlannedBatch(0, (32, 32), samples), read_manifest(uri, "train").ref(uri), view)]))
        for uri in (bucket, str(whole))
    ]
    np.testing.assert_array_equal(batches[0].pixels, batches[1].pixels)
    assert batches[0].targets["label"].tolist() == batches[1].targets["label"].tolist()
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
