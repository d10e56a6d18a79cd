"""A trained network as an MLflow model: what `mlflow models predict` and `mlflow.pytorch.load_model` take.

It is saved as a graph (torch.export), not pickled: it loads where there is no mvlab, and loading it executes nothing.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from torch import nn

from mvlab.durable import atomic_folder

NAME = "model"
"""Of the folder, and of the model in MLflow: `runs:/<run id>/model`."""
NUM_EXAMPLES = 2
"""Exporting the graph makes a size of 1 a constant: with one image as an example the model would take no two."""
REQUIREMENTS = ("torch", "numpy", "mlflow")


def save_model(
    model: nn.Module, folder: Path, *, resolution: int, classes: Sequence[str], metadata: Mapping[str, str]
) -> None:
    """Writes the model into `folder`, in place of one that is there.

    It takes any number of float32 RGB images (N, 3, `resolution`, `resolution`) in [0, 1] and gives logits (N, K) on
    the CPU, also on a machine with a GPU: a saved graph stays on the device that it was exported on. `metadata` and the
    classes, in the order of the logits, are in its MLmodel file.

    Raises:
        RuntimeError: the network cannot be exported.
    """
    import mlflow.pytorch  # seconds to import

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 3, resolution, resolution), name=None)]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(classes)), name=None)]),
    )
    saved = Model(metadata={**metadata, "classes": list(classes)})
    with atomic_folder(folder) as partial, torch.no_grad():
        mlflow.pytorch.save_model(
            model.cpu().eval(),
            str(partial),
            mlflow_model=saved,
            signature=signature,
            input_example=example_images(resolution),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            serialization_format="pt2",
        )
        saved.flavors["python_function"]["config"] = {"device": "cpu"}
        saved.save(str(partial / MLMODEL_FILE_NAME))


def example_images(resolution: int) -> NDArray[np.float32]:
    """(NUM_EXAMPLES, 3, H, W) in [0, 1]: stripes, in numbers that take few letters as text."""
    columns = (np.arange(resolution) * 5 // resolution / 4).astype(np.float32)
    images_BCHW = np.broadcast_to(columns, (NUM_EXAMPLES, 3, resolution, resolution)).copy()
    images_BCHW[1:] = images_BCHW[1:].transpose(0, 1, 3, 2)
    return images_BCHW


def is_model(path: Path) -> bool:
    """Whether `save_model` wrote it."""
    return (path / MLMODEL_FILE_NAME).is_file()


def log_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Makes the model in `folder` one of the run, named like the folder; returns its id in MLflow.

    May be done again, also after a process that ended halfway: the run has one model of the name.
    """
    run = client.get_run(run_id)
    model = _logged(client, run.info.experiment_id, run_id, folder.name) or client.create_logged_model(
        run.info.experiment_id,
        name=folder.name,
        source_run_id=run_id,
        params=run.data.params,
        model_type="classifier",
    )
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    outputs: list[Any] = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _logged(client: MlflowClient, experiment_id: str, run_id: str, name: str) -> LoggedModel | None:
    query = f"source_run_id = '{run_id}'"
    return next((each for each in client.search_logged_models([experiment_id], query) if each.name == name), None)
