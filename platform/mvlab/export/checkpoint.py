"""Target of a checkpoint's package, as far as the checkpoint determines it."""

import json
from collections import Counter
from pathlib import Path

from mvlab.config import as_written_now
from mvlab.export.coreml import CLASSES, WEIGHTS, Precision, Target, Task, task_of
from mvlab.export.errors import ExportError
from mvlab.metrics import ema_metric
from mvlab.models.weights.files import read_contents
from mvlab.models.weights.saved import MARK, SavedNetwork
from mvlab.tasks.known import task_of_kind
from mvlab.training.checkpoint_files import CheckpointError
from mvlab.training.state import read_state, weights_sha256

EVALUATION_IMAGES = "evaluation_images"
"""Key of a package's metadata: size of images and how they get it, which is the caller's work."""
NO_LICENCE = "not stated; terms of the images that the weights were trained on may apply"


def target_of(
    checkpoint: Path,
    saved: SavedNetwork,
    *,
    task: Task | None = None,
    classes: tuple[str, ...] = (),
    resolutions: tuple[int, ...] = (),
    precision: Precision = "fp16",
    licence: str = "",
    nms: bool = False,
) -> Target:
    """Return the target for `saved`, which was read from `checkpoint`, with the given wishes.

    By default a classifier's labels are the numbers of its classes, and the resolution is that of the evaluation. Class
    names of a detector or segmenter are in the metadata, as JSON, since its outputs have no labels. With `nms`, a
    detector's outputs have labels like a classifier's.

    Raises:
        ExportError: its network is for another task than `task`, the number of classes is wrong, or this version cannot
            read the checkpoint.
    """
    does = task_of(saved.network)
    if task not in (None, does):
        raise ExportError(f"{checkpoint} holds {saved.network.title}, which is for {does}, not {task}")
    if classes:
        require_classes(classes, saved.num_classes)
    if bad := [side for side in resolutions if side < 32]:
        raise ExportError(f"images of {bad[0]} pixels: 32 are the least")
    if len(set(resolutions)) < len(resolutions):
        raise ExportError(f"a resolution is named twice: {', '.join(map(str, resolutions))}")
    if nms and (does != "detection" or len(resolutions) > 1):
        why = f"for {does}" if does != "detection" else "asked for at several image sizes"
        raise ExportError(f"`nms` is for a detector at one image size, and {saved.network.title} is {why}")
    is_labelled = does == "classification" or nms
    named = {CLASSES: json.dumps(classes, ensure_ascii=False)} if classes and not is_labelled else {}
    return Target(
        task=does,
        resolutions=resolutions or (saved.preprocessing.crop,),
        precision=precision,
        nms=nms,
        preprocessing=saved.preprocessing,
        classes=classes or (tuple(map(str, range(saved.num_classes))) if is_labelled else ()),
        description=f"{saved.network.title} for {does}, as in arXiv 2110.02178; averaged weights",
        licence=licence or NO_LICENCE,
        metadata=origin(checkpoint, saved) | named | {EVALUATION_IMAGES: saved.preprocessing.geometry},
    )


def require_classes(classes: tuple[str, ...], number: int) -> None:
    """Check the labels of a classifier.

    Raises:
        ExportError: there are more or fewer labels than classes, or two are equal.
    """
    if len(classes) != number:
        raise ExportError(f"{len(classes)} class labels for a network that tells {number} classes apart")
    if twice := [repr(label) for label, count in Counter(classes).items() if count > 1]:
        raise ExportError(
            f"several classes are labelled {', '.join(twice)}: a package gives probabilities by label, so that only "
            "one of them would be left; give each class a label of its own, e.g. with `classes` FILE"
        )


def origin(checkpoint: Path, saved: SavedNetwork) -> dict[str, str]:
    """Return the origin of the weights, for the metadata of exports.

    Raises:
        ExportError: this version cannot read the checkpoint.
    """
    weights = {WEIGHTS: weights_sha256(saved.weights)}
    if MARK in read_contents(checkpoint):
        return weights | {f"imported_{name}": value for name, value in saved.source.items()}
    try:
        state = read_state(checkpoint)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    digests = {"config_digest": state.config_digest, "dataset_digest": state.dataset_digest}
    last = state.history[-1] if state.history else {}
    kind = as_written_now(json.loads(state.config))["task"]["kind"]
    name = ema_metric(task_of_kind(kind))
    metrics = {name: f"{last[name]:.2f}"} if name in last else {}
    return digests | weights | metrics
