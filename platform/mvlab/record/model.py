"""Trained network as an MLflow model, for `mlflow models predict` and `mlflow.pytorch.load_model`.

It is saved as a graph (torch.export), not pickled. It loads without mvlab, and loading executes no code.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from torch import nn

from mvlab.durable import atomic_folder

NAME = "model"
"""Name of the folder, and of the model in MLflow: `runs:/<run id>/model`."""
TASK, OUTPUT = "task", "output"
"""Keys of a model's metadata: what it is for, and what it returns."""
OUTPUTS = {
    "classification": "logits of the classes",
    "detection": "for each prior: left, top, right, bottom of its box, in shares of the image; scores of the classes",
    "segmentation": "logits of the classes of each pixel",
}
"""Description of the output by task."""
NUM_EXAMPLES = 2
"""Example images. Export makes a size of 1 a constant: a single example would fix the batch size."""
REQUIREMENTS = ("torch", "numpy", "mlflow")


def save_model(
    model: nn.Module,
    folder: Path,
    *,
    resolution: int,
    classes: Sequence[str],
    metadata: Mapping[str, str],
    task: str = "classification",
) -> None:
    """Write the model into `folder`, in place of one that is there.

    It takes any number of float32 RGB images (N, 3, `resolution`, `resolution`) in [0, 1] and returns one tensor; see
    `OUTPUTS`. It runs on the CPU, also on a machine with a GPU, since a saved graph stays on its export device. Its
    MLmodel file has `metadata`, the task, a description of the output, and the classes in the order of the output.

    Raises:
        RuntimeError: the network cannot be exported.
    """
    import mlflow.pytorch  # seconds to import

    examples_BCHW = example_images(resolution)
    saved = Model(metadata={**metadata, TASK: task, OUTPUT: OUTPUTS[task], "classes": list(classes)})
    with atomic_folder(folder) as partial, torch.no_grad():
        network = model.cpu().eval()
        mlflow.pytorch.save_model(
            network,
            str(partial),
            mlflow_model=saved,
            signature=_signature(examples_BCHW, network(torch.from_numpy(examples_BCHW)).numpy()),
            input_example=examples_BCHW,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            serialization_format="pt2",
        )
        saved.flavors["python_function"]["config"] = {"device": "cpu"}
        saved.save(str(partial / MLMODEL_FILE_NAME))


def _signature(inputs: NDArray[np.float32], outputs: NDArray[np.float32]) -> ModelSignature:
    """Return the signature for any number of samples with the shapes of these."""
    first, second = (Schema([TensorSpec(each.dtype, (-1, *each.shape[1:]), name=None)]) for each in (inputs, outputs))
    return ModelSignature(inputs=first, outputs=second)


def example_images(resolution: int) -> NDArray[np.float32]:
    """Return images (NUM_EXAMPLES, 3, H, W) in [0, 1]: stripes, in numbers that are short as text."""
    columns = (np.arange(resolution) * 5 // resolution / 4).astype(np.float32)
    images_BCHW = np.broadcast_to(columns, (NUM_EXAMPLES, 3, resolution, resolution)).copy()
    images_BCHW[1:] = images_BCHW[1:].transpose(0, 1, 3, 2)
    return images_BCHW


def is_model(path: Path) -> bool:
    """Tell whether the folder holds a model that `save_model` wrote."""
    return (path / MLMODEL_FILE_NAME).is_file()


def _model_type(folder: Path) -> str:
    """Return MLflow's word for the kind of model."""
    task = str((Model.load(str(folder)).metadata or {}).get(TASK, "classification"))
    return "classifier" if task == "classification" else task


def log_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Add the model in `folder` to the run, under the folder's name; return its id in MLflow.

    It may be repeated, also after a process that ended halfway. The run has one model of that name.
    """
    run = client.get_run(run_id)
    logged = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    model = next((each for each in logged if each.name == folder.name), None) or client.create_logged_model(
        run.info.experiment_id,
        name=folder.name,
        source_run_id=run_id,
        params=run.data.params,
        model_type=_model_type(folder),
    )
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    outputs: list[Any] = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)
