"""A saved model, as a run's own: through a sqlite store and through a server, by command line and by Python."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from record.stores import serving
from torch import nn

from mvlab.export.detector import single_output
from mvlab.models.build import build_network
from mvlab.networks import NANO, MobileViTConfig, SSDLiteConfig
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.model import NAME, OUTPUTS, example_images, save_model
from mvlab.record.store import connect
from mvlab.tasks.detection.coding import decode

CLASSES = ("zero", "one", "two")
SIDE = 64


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(MobileViTConfig(widths=NANO), len(CLASSES)).eval()


@pytest.fixture(scope="module")
def saved(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / NAME
    for _ in range(2):  # an export that is done again writes in place of the first
        save_model(network, folder, resolution=SIDE, classes=CLASSES, metadata={"config_digest": "abc"})
    assert list(folder.parent.iterdir()) == [folder]
    return folder


def record(saved: Path, client: MlflowClient, experiment: str, folder: Path) -> str:
    """The id of a run that has the model."""
    journal = Journal(folder / "journal.jsonl")
    for run in (SWEEP, "a"):
        journal.append(Event(run=run, kind="begin", params={"epochs": "2"}))
    journal.append(Event(run="a", kind="artifact", path=str(saved)))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    return sink.run_ids["a"]


def logits(network: nn.Module, images_BCHW: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(images_BCHW)).numpy()


def test_the_model_of_a_run_is_the_network(
    network: nn.Module,
    saved: Path,
    store: tuple[MlflowClient, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, experiment = store
    run_id = record(saved, client, experiment, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    uri = f"runs:/{run_id}/{NAME}"
    loaded = mlflow.pytorch.load_model(uri)
    for size in (1, 2, 5):
        images_BCHW = np.random.default_rng(size).random((size, 3, SIDE, SIDE), dtype=np.float32)
        np.testing.assert_allclose(logits(loaded, images_BCHW), logits(network, images_BCHW), atol=1e-5)
    found = mlflow.models.get_model_info(uri)
    assert [each.shape for each in found.signature.inputs] == [(-1, 3, SIDE, SIDE)]
    assert [each.shape for each in found.signature.outputs] == [(-1, len(CLASSES))]
    known = {
        "classes": list(CLASSES),
        "config_digest": "abc",
        "task": "classification",
        "output": OUTPUTS["classification"],
    }
    assert found.metadata == known
    (model,) = client.search_logged_models([experiment])
    assert (model.name, model.source_run_id, model.params) == (NAME, run_id, {"epochs": "2"})


def test_the_command_line_predicts_with_the_model_of_a_server(network: nn.Module, saved: Path, tmp_path: Path) -> None:
    images_BCHW = example_images(SIDE)
    assert 0 <= images_BCHW.min() < images_BCHW.max() <= 1
    with serving(tmp_path) as tracking_uri:
        run_id = record(saved, *connect(tracking_uri, "study"), tmp_path)
        command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", f"runs:/{run_id}/{NAME}"]
        command += ["-i", str(saved / "serving_input_example.json"), "-o", str(tmp_path / "out.json")]
        command += ["--env-manager", "local"]
        subprocess.run(command, env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}, check=True)
    predictions = np.array(json.loads((tmp_path / "out.json").read_text())["predictions"], dtype=np.float32)
    np.testing.assert_allclose(predictions, logits(network, images_BCHW), atol=1e-5)


def test_nothing_of_it_is_pickled_and_it_needs_no_mvlab(saved: Path) -> None:
    assert (saved / "requirements.txt").read_text().split() == [
        f"torch=={torch.__version__.partition('+')[0]}",
        f"numpy=={np.__version__}",
        f"mlflow=={mlflow.__version__}",
    ]
    with zipfile.ZipFile(saved / "data" / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".pickle"))]
    code = "import sys, mlflow.pytorch; mlflow.pytorch.load_model(sys.argv[1]); assert 'mvlab' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(saved)], check=True)


def test_a_detectors_model_gives_boxes_and_scores_in_one_tensor(
    store: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    detector = build_network(SSDLiteConfig(backbone=MobileViTConfig(widths=NANO)), len(CLASSES)).eval()
    folder = tmp_path / NAME
    save_model(single_output(detector, SIDE), folder, resolution=SIDE, classes=CLASSES, metadata={}, task="detection")
    loaded = mlflow.pyfunc.load_model(str(folder))
    num_priors = len(detector.priors(SIDE, SIDE))
    (outputs,) = loaded.metadata.signature.outputs
    assert outputs.shape == (-1, num_priors, 4 + len(CLASSES))
    assert loaded.metadata.metadata["output"].startswith("for each prior: left, top, right, bottom")
    images_BCHW = np.random.default_rng(0).random((3, 3, SIDE, SIDE), dtype=np.float32)
    found = loaded.predict(images_BCHW)
    with torch.no_grad():
        offsets, scores = detector(torch.from_numpy(images_BCHW))
    boxes = decode(offsets, detector.priors(SIDE, SIDE)).clamp(0, 1)
    np.testing.assert_allclose(found[..., :4], boxes.numpy(), atol=1e-5)
    np.testing.assert_allclose(found[..., 4:], scores.softmax(-1)[..., 1:].numpy(), atol=1e-5)
    client, experiment = store
    record(folder, client, experiment, tmp_path)
    (model,) = client.search_logged_models([experiment])
    assert model.model_type == "detection"
