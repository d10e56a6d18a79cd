"""What the package of a checkpoint is to be, as far as the checkpoint knows."""

from pathlib import Path

from mvlab.experiment import EMA_TOP1
from mvlab.export.coreml import Precision, Target, Task, task_of
from mvlab.export.errors import ExportError
from mvlab.models.build import network_name
from mvlab.models.weights.files import read_contents
from mvlab.models.weights.saved import MARK, SavedNetwork
from mvlab.training.state import read_state, weights_sha256


def target_of(
    checkpoint: Path,
    saved: SavedNetwork,
    *,
    task: Task | None = None,
    classes: tuple[str, ...] = (),
    resolutions: tuple[int, ...] = (),
    precision: Precision = "fp16",
    licence: str = "",
) -> Target:
    """The package of `saved`, which was read from `checkpoint`, with what else is wanted of it.

    Labels are the numbers of the classes, and the resolution that of the evaluation, where nothing is said.

    Raises:
        ExportError: its network does something else than `task`, or the classes are not as many as it tells apart.
    """
    does = task_of(saved.network)
    if task not in (None, does):
        raise ExportError(f"{checkpoint} holds {network_name(saved.network)}, which is for {does}, not {task}")
    labels = classes or tuple(str(number) for number in range(saved.num_classes))
    if does == "classification" and len(labels) != saved.num_classes:
        raise ExportError(f"{len(labels)} class labels for a network that tells {saved.num_classes} classes apart")
    if bad := [side for side in resolutions if side < 32]:
        raise ExportError(f"images of {bad[0]} pixels: 32 are the least")
    if len(set(resolutions)) < len(resolutions):
        raise ExportError(f"a resolution is named twice: {', '.join(map(str, resolutions))}")
    return Target(
        task=does,
        resolutions=resolutions or (saved.preprocessing.crop,),
        precision=precision,
        preprocessing=saved.preprocessing,
        classes=labels,
        description=f"{network_name(saved.network)} for {does}, as in arXiv 2110.02178; averaged weights",
        licence=licence,
        metadata=_metadata(checkpoint, saved),
    )


def _metadata(checkpoint: Path, saved: SavedNetwork) -> dict[str, str]:
    """Where the weights come from."""
    weights = {"weights_sha256": weights_sha256(saved.weights)}
    if MARK in read_contents(checkpoint):
        return weights | {f"imported_{name}": value for name, value in saved.source.items()}
    state = read_state(checkpoint)
    digests = {"config_digest": state.config_digest, "dataset_digest": state.dataset_digest}
    last = state.history[-1] if state.history else {}
    metrics = {EMA_TOP1: f"{last[EMA_TOP1]:.2f}"} if EMA_TOP1 in last else {}
    return digests | weights | metrics
