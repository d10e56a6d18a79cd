"""Preprocessing that a folder of weights declares in its files, in the form of transformers and timm."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.preprocessing import Interpolation, Said, Triple

TRANSFORMERS, TIMM = "preprocessor_config.json", "config.json"
TIMM_KEY = "pretrained_cfg"
INTERPOLATIONS: Mapping[Any, Interpolation] = {
    2: "bilinear",
    3: "bicubic",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
}
"""Interpolations by Pillow's numbers, and by names."""


def declared(folder: Path) -> tuple[Said, str]:
    """Return the declared parts, and the name of the file that declares them; nothing for a file of weights alone.

    Raises:
        WeightsError: mvlab does not support what the file declares.
    """
    for name, parts_of in ((TRANSFORMERS, _of_transformers), (TIMM, _of_timm)):
        path = folder / name
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if parts := parts_of(dict(values)):
                return parts, name
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} declares no preprocessing that mvlab can do: {error!r:.200}") from error
    return Said(), ""


def _of_transformers(processor: Mapping[str, Any]) -> Said:
    said = Said()
    if processor.get("do_resize") and "shortest_edge" in processor.get("size", {}):
        said["resize"] = processor["size"]["shortest_edge"]
    if processor.get("do_center_crop") and "height" in processor.get("crop_size", {}):
        said["crop"] = processor["crop_size"]["height"]
    if "do_flip_channel_order" in processor:
        said["channels"] = "bgr" if processor["do_flip_channel_order"] else "rgb"
    if processor.get("do_normalize"):
        said["mean"], said["std"] = _triple(processor["image_mean"]), _triple(processor["image_std"])
    if "resample" in processor:
        said["interpolation"] = _interpolation(processor["resample"])
    return said


def _of_timm(values: Mapping[str, Any]) -> Said:
    config = values.get(TIMM_KEY)
    if config is None:
        return Said()
    crop = config["input_size"][-1]
    return Said(
        channels="rgb",
        mean=_triple(config["mean"]),
        std=_triple(config["std"]),
        resize=int(crop / config["crop_pct"]),
        crop=crop,
        interpolation=_interpolation(config["interpolation"]),
    )


def _triple(values: Any) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def _interpolation(value: Any) -> Interpolation:
    if value not in INTERPOLATIONS:
        raise ValueError(f"interpolation {value!r}")
    return INTERPOLATIONS[value]
