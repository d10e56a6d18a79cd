"""Annotation files in COCO's format, read and checked as a whole.

A file is a JSON object with the lists `images`, `annotations` and `categories`. All else in it is ignored.
Segmentations are dropped while the file is parsed, so that memory holds boxes, not polygons.
"""

import json
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mvlab.data.store.storage import DataError, Folder

LISTS = ("images", "annotations", "categories")
MOST_CLASSES = 2**15
"""Shards hold classes as int16."""
MOST_NUMBER = 1e300
"""Bound of numbers in boxes. NaN and infinities are beyond it too."""


class AnnotatedObject(NamedTuple):
    """One annotation."""

    id: int
    category: int
    """Index into the classes, from 0."""
    box: list[float]
    """Left, top, width and height in pixels, as in the file."""
    area: float
    """Area in square pixels, as in the file."""
    is_crowd: bool


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image with all its annotations, in the order of the file."""

    id: int
    file: str
    """Path relative to the folder of the images."""
    width: int
    height: int
    objects: list[AnnotatedObject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Annotations:
    """Content of an annotation file."""

    source: str
    """Path of the file, for messages."""
    images: tuple[AnnotatedImage, ...]
    class_ids: tuple[int, ...]
    """Ids of the categories, sorted."""
    classes: tuple[str, ...]
    """Names of the categories, in the order of their ids."""
    num_areas_computed: int
    """Annotations without an area. Theirs is width x height of the box."""


def read_annotations(folder: Folder, name: str) -> Annotations:
    """Read an annotation file.

    Annotations without any `id` are numbered from 1. `iscrowd` is 0 where it is missing.

    Raises:
        DataError: it cannot be parsed, or an image, a category or an annotation in it cannot be used.
        OSError: it cannot be read.
    """
    source = folder.at(name)
    lists = _parse(folder.read(name).to_pybytes(), source)
    class_ids, classes = _categories(lists["categories"], source)
    images = _images(lists["images"], source)
    num_computed = _add_objects(lists["annotations"], images, class_ids, source)
    return Annotations(source, tuple(images.values()), class_ids, classes, num_computed)


def _parse(content: bytes, source: str) -> dict[str, list[dict[str, Any]]]:
    try:
        parsed = json.loads(content, object_hook=_without_masks)
    except (ValueError, RecursionError) as error:  # a ValueError says where
        raise DataError(f"{source} is no valid JSON: {error}. It may be cut short: copy it again") from error
    if not isinstance(parsed, dict):
        raise DataError(
            f"{source} holds a JSON {type(parsed).__name__}: an object with {', '.join(LISTS)} is needed (a list is "
            "the format of detections, not of annotations)"
        )
    for name in LISTS:
        if not isinstance(parsed.get(name), list):
            raise DataError(f"{source} has no list {name!r}: {', '.join(LISTS)} are needed")
        for place, each in enumerate(parsed[name]):
            if not isinstance(each, dict):
                raise DataError(f"{source}: {name}[{place}] is no object: {each!r:.50}")
    return {name: parsed[name] for name in LISTS}


def _without_masks(parsed: dict[str, Any]) -> dict[str, Any]:
    """Drop the content of a mask, and keep the size of a run-length encoded one."""
    if "counts" in parsed and "size" in parsed:
        return {"size": parsed["size"]}
    if isinstance(parsed.get("segmentation"), list):
        del parsed["segmentation"]
    return parsed


def _categories(found: Sequence[dict[str, Any]], source: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names: dict[int, str] = {}
    for place, each in enumerate(found):
        where = f"{source}: categories[{place}]"
        key = _whole(each, "id", where)
        if key in names:
            raise DataError(f"{where}: category id {key} occurs twice")
        names[key] = _text(each, "name", where)
    if not 0 < len(names) <= MOST_CLASSES:
        raise DataError(f"{source} has {len(names):,} categories: 1 to {MOST_CLASSES:,} are needed")
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise DataError(f"{source}: two categories have the name {twice[0]!r}: rename one of them")
    return tuple(sorted(names)), tuple(names[key] for key in sorted(names))


def _images(found: Sequence[dict[str, Any]], source: str) -> dict[int, AnnotatedImage]:
    images: dict[int, AnnotatedImage] = {}
    files: set[str] = set()
    for place, each in enumerate(found):
        where = f"{source}: images[{place}]"
        image = AnnotatedImage(
            _whole(each, "id", where),
            _path(_text(each, "file_name", where), where),
            _whole(each, "width", where, least=1),
            _whole(each, "height", where, least=1),
        )
        if image.id in images:
            raise DataError(f"{where}: image id {image.id} occurs twice")
        if image.file in files:
            raise DataError(f"{where}: file name {image.file} occurs twice")
        images[image.id] = image
        files.add(image.file)
    if not images:
        raise DataError(f"{source} names no images")
    return images


def _add_objects(
    found: Sequence[dict[str, Any]], images: dict[int, AnnotatedImage], class_ids: Sequence[int], source: str
) -> int:
    """Add the annotations to their images. Return the number of areas that were computed."""
    category_of = {key: index for index, key in enumerate(class_ids)}
    are_numbered = any("id" in each for each in found)
    ids: set[int] = set()
    for place, each in enumerate(found):
        where = f"{source}: annotations[{place}]"
        key = _whole(each, "id", where) if are_numbered else place + 1
        if key in ids:
            raise DataError(f"{where}: annotation id {key} occurs twice. Remove all ids to have them numbered")
        ids.add(key)
        image = images.get(image_id := _whole(each, "image_id", where))
        if image is None:
            raise DataError(f"{where}: there is no image with id {image_id}")
        category = category_of.get(category_id := _whole(each, "category_id", where))
        if category is None:
            raise DataError(f"{where}: there is no category with id {category_id}")
        _require_mask_of(image, each, where)
        box = _box(each, where)
        image.objects.append(AnnotatedObject(key, category, box, _area(each, box, where), _is_crowd(each, where)))
    return sum("area" not in each for each in found)


def _whole(entry: dict[str, Any], name: str, where: str, least: int = -(2**63)) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        said = f"is {value!r:.50}" if name in entry else "is missing"
        hint = ": write it without quotes or decimals" if isinstance(value, str | float) else ""
        needed = f"a whole number is needed{', at least 1' if least > 0 else ''}"
        raise DataError(f"{where}: {name!r} {said}: {needed}{hint}")
    return value


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value or any("\ud800" <= letter <= "\udfff" for letter in value):
        said = f"is {value!a:.50}" if name in entry else "is missing"
        raise DataError(f"{where}: {name!r} {said}: text is needed")
    return value


def _path(name: str, where: str) -> str:
    path = posixpath.normpath(name)
    if path.startswith("/") or path.split("/")[0] in (".", ".."):
        raise DataError(f"{where}: file name {name} lies outside of the folder of the images: name a file in it")
    return path


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST_NUMBER < value < MOST_NUMBER


def _box(entry: dict[str, Any], where: str) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        said = f"is {box!r:.80}" if "bbox" in entry else "is missing"
        raise DataError(f"{where}: 'bbox' {said}: left, top, width and height are needed, four finite numbers")
    return [float(number) for number in box]


def _area(entry: dict[str, Any], box: Sequence[float], where: str) -> float:
    area = entry.get("area", max(0.0, box[2]) * max(0.0, box[3]))
    if not _is_number(area) or area < 0:
        raise DataError(f"{where}: 'area' is {area!r:.50}: a finite number from 0 is needed")
    return float(area)


def _is_crowd(entry: dict[str, Any], where: str) -> bool:
    if (is_crowd := entry.get("iscrowd", 0)) not in (0, 1):
        raise DataError(f"{where}: 'iscrowd' is {is_crowd!r:.50}: 0 or 1 is needed")
    return bool(is_crowd)


def _require_mask_of(image: AnnotatedImage, entry: dict[str, Any], where: str) -> None:
    """Raise DataError if a run-length encoded mask is not as large as its image."""
    mask = entry.get("segmentation")
    if isinstance(mask, dict) and mask.get("size") != [image.height, image.width]:
        raise DataError(
            f"{where}: its mask (RLE) has size {mask.get('size')!r:.50}, its image {image.file} has "
            f"[{image.height}, {image.width}] (height, width): the annotation belongs to another image or version of it"
        )
