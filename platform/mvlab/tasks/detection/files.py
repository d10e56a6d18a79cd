"""Files about an evaluation of detection."""

from pathlib import Path

from mvlab.tasks.base import Evaluator


def write_files(evaluator: Evaluator, data: str, folder: Path, epoch: int) -> None:
    """Write detections in COCO's format, the precision of each class, and pictures of some images."""
    raise NotImplementedError
