"""Sets in COCO's format that tests draw and write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 64, 48
Change = Callable[[dict[str, Any]], object]


def annotations() -> dict[str, Any]:
    """Three images, of which the last has no annotation; two classes whose ids are not contiguous."""
    return {
        "images": [
            {"id": 902000103548, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 5, "file_name": "sub/b.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 7, "file_name": "c.jpg", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            annotation(0, 902000103548, 90, [10.07, 5.3, 20.11, 30.0]),
            annotation(3, 902000103548, 2, [1, 2, 3, 4], area=7.25),
            annotation(4, 5, 2, [0.1, 0.2, 40.3, 40.4], iscrowd=1),
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 2, "name": "bicycle"}],
    }


def annotation(key: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    """One annotation."""
    return {"id": key, "image_id": image, "category_id": category, "bbox": box, "area": 12.5, "iscrowd": 0} | more


def write_set(folder: Path, change: Change | None = None, split: str = "train", content: str | None = None) -> Path:
    """Write a split in COCO's layout, and return the file of its annotations.

    Args:
        change: changes the annotations in place.
        content: text of the file, instead of the annotations.
    """
    told = annotations()
    if change:
        change(told)
    for name in ("a.jpg", "sub/b.jpg", "c.jpg"):
        path = folder / f"{split}2017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "green").save(path)
    file = folder / "annotations" / f"instances_{split}2017.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(told) if content is None else content)
    return file
