"""Sets in COCO's format: an annotation file and a folder of images for each split.

SRC/annotations/instances_train2017.json    SRC/train2017/*.jpg    COCO's own layout, with any year or none
FILE                                        DIR/*.jpg              anybody's set, one split of it
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mvlab.data.sources.coco_annotations import AnnotatedImage, AnnotatedObject, Annotations, read_annotations
from mvlab.data.sources.left_out import LeftOut, Reason
from mvlab.data.sources.listing import Listing
from mvlab.data.sources.objects import ANNOTATION_IDS, AREAS, BOXES, CATEGORIES, CROWD, IMAGE_ID, OBJECT_FIELDS
from mvlab.data.sources.splits import SPLITS
from mvlab.data.sources.tree import Tree, walk
from mvlab.data.store.storage import DataError, Folder, absolute_uri

ANNOTATIONS = "annotations"
INSTANCES = re.compile(r"instances_((train|val)\d*)\.json")
PLACES = ("", "images")
"""Folders of the source that may hold the images' folders."""
TOLERANCE = 0.01
"""Pixels that a box may reach beyond its image and stay as it is: files round to two decimals."""
EXPECTED = f"{ANNOTATIONS}/instances_train2017.json and train2017/, or the same with `val`, another year or none"

Categories = Sequence[tuple[int, str]]
"""Id and name of each class, sorted by id."""


@dataclass(frozen=True, slots=True)
class CocoSplit:
    """Places of a split's annotations and images."""

    folder: Folder
    file: str
    """Name of the annotation file in `folder`."""
    src: str
    """Folder or URI that keys of samples are relative to."""
    below: str = ""
    """Folder of the images, relative to `src`."""


def splits_of_coco(src: str, only: str | None = None) -> dict[str, CocoSplit]:
    """Find the splits of a folder in COCO's own layout.

    Args:
        only: name of the only split that is needed.

    Raises:
        DataError: there are no annotations, two files for one split, or no folder of its images.
    """
    root = Folder.of(src)
    folder = root.sub(ANNOTATIONS)
    files: dict[str, list[str]] = {}
    for name in sorted(folder.sizes()):
        if match := INSTANCES.fullmatch(name):
            files.setdefault(match[2], []).append(name)
    if not files:
        raise DataError(
            f"`src` {src} has no annotations in COCO's layout: expected {EXPECTED}. Name other files as `annotations` "
            "and `images`"
        )
    if only and only not in files:
        raise DataError(f"`src` {src} has no annotations of {only}: expected {ANNOTATIONS}/instances_{only}2017.json")
    wanted = (only,) if only else [split for split in SPLITS if split in files]
    return {split: _split(root, src, split, files[split]) for split in wanted}


def _split(root: Folder, src: str, split: str, files: Sequence[str]) -> CocoSplit:
    folder = root.sub(ANNOTATIONS)
    if len(files) > 1:
        raise DataError(
            f"{folder.path} has {' and '.join(files)}: which of them is {split}? Name one as `annotations`, and its "
            "folder as `images`"
        )
    images = files[0].removeprefix("instances_").removesuffix(".json")
    return CocoSplit(folder, files[0], src, _folder_of(root, images))


def split_of_files(annotations: str, images: str) -> CocoSplit:
    """Return the places of an annotation file and of the folder of its images.

    Raises:
        DataError: there is no such file or folder.
    """
    file, root = Folder.of(annotations), Folder.of(images)
    folder = Folder(file.filesystem, posixpath.dirname(file.path))
    name = posixpath.basename(file.path)
    if name not in folder.sizes():
        raise DataError(f"`annotations` {annotations} is no file")
    if not root.exists():
        raise DataError(f"`images` {images} is no folder")
    return CocoSplit(folder, name, images)


def list_coco(where: CocoSplit, split: str, *, categories: Categories | None = None) -> Listing:
    """List the images of a split with their objects.

    For training, images without annotations are left out; an image stays whose annotations are crowds only. For
    validation, all images stay. A box that reaches more than TOLERANCE beyond its image is clipped; its area stays. A
    box without an area inside the image is dropped. All of these are counted.

    Args:
        categories: classes of the other split, which both must share.

    Raises:
        DataError: the annotations cannot be used, have other categories, or name none of the files.
    """
    annotations = read_annotations(where.folder, where.file)
    _require_categories(annotations, categories)
    root = Folder.of(where.src, where.below) if where.below else Folder.of(where.src)
    tree = walk(root)
    sizes = dict(tree.files)
    wanted = [image for image in annotations.images if split == "val" or image.objects]
    there = sorted((image for image in wanted if image.file in sizes), key=lambda image: image.file)
    if not there:
        _refuse(annotations, wanted, root)
    targets, counts = _targets(there)
    left_out = _left_out(annotations, wanted, tree)
    return Listing(
        absolute_uri(where.src),
        tuple(posixpath.join(where.below, image.file) for image in there),
        tuple(sizes[image.file] for image in there),
        targets,
        annotations.classes,
        tuple(replace(each, path=posixpath.join(where.below, each.path)) for each in left_out),
        task="detection",
        fields=OBJECT_FIELDS,
        image_sizes=tuple((image.width, image.height) for image in there),
        class_ids=annotations.class_ids,
        counts=counts | _counts(annotations, left_out),
    )


def _folder_of(root: Folder, images: str) -> str:
    places = [posixpath.join(place, images) for place in PLACES]
    for place in places:
        if root.sub(place).exists():
            return place
    raise DataError(
        f"{root.path} has annotations for {images}, but no folder {' or '.join(f'{place}/' for place in places)} with "
        "its images"
    )


def _require_categories(annotations: Annotations, other: Categories | None) -> None:
    mine = list(zip(annotations.class_ids, annotations.classes, strict=True))
    if other is not None and (differ := sorted(set(mine) ^ set(other))):
        key, name = differ[0]
        raise DataError(
            f"{annotations.source} has {len(mine)} categories, the other split has {len(other)}, and they differ, e.g. "
            f"in id {key}, {name!r}. Both splits need one list of categories, even where some have no objects"
        )


def _refuse(annotations: Annotations, wanted: Sequence[AnnotatedImage], root: Folder) -> None:
    if not wanted:
        raise DataError(
            f"{annotations.source}: none of its {len(annotations.images):,} images has annotations to train on"
        )
    raise DataError(
        f"{root.path} holds none of the {len(wanted):,} files that {annotations.source} names, e.g. {wanted[0].file}: "
        "is it the folder of these images?"
    )


def _targets(images: Sequence[AnnotatedImage]) -> tuple[dict[str, tuple[Any, ...]], dict[str, int]]:
    """Return the targets of all images, and the numbers of boxes that were dropped and clipped."""
    num_clipped, num_dropped = 0, 0
    objects: list[list[AnnotatedObject]] = []
    for image in images:
        kept = []
        for each in image.objects:
            box = clipped(each.box, image.width, image.height)
            if box[2] > 0 and box[3] > 0:
                kept.append(each._replace(box=box))
                num_clipped += box != each.box
            else:
                num_dropped += 1
        objects.append(kept)
    targets: dict[str, tuple[Any, ...]] = {
        IMAGE_ID.name: tuple(image.id for image in images),
        BOXES.name: tuple([each.box for each in kept] for kept in objects),
        CATEGORIES.name: tuple([each.category for each in kept] for kept in objects),
        CROWD.name: tuple([each.is_crowd for each in kept] for kept in objects),
        AREAS.name: tuple([each.area for each in kept] for kept in objects),
        ANNOTATION_IDS.name: tuple([each.id for each in kept] for kept in objects),
    }
    return targets, {"degenerate_boxes_dropped": num_dropped, "boxes_clipped": num_clipped}


def clipped(box: Sequence[float], width: int, height: int) -> list[float]:
    """Return a box (left, top, width, height) inside of an image; its width or height is not positive if there is
    nothing of it.

    A side that stays within TOLERANCE of the image is kept to the bit.
    """
    left, wide = _clipped_side(box[0], box[2], width)
    top, high = _clipped_side(box[1], box[3], height)
    return [left, top, wide, high]


def _clipped_side(start: float, length: float, end: int) -> tuple[float, float]:
    if -TOLERANCE <= start < end and 0 < start + length <= end + TOLERANCE:
        return start, length
    inside = max(start, 0.0)
    return inside, min(start + length, end) - inside


def _left_out(annotations: Annotations, wanted: Sequence[AnnotatedImage], tree: Tree) -> list[LeftOut]:
    """Return files that are named and not taken, and all else among the images."""
    named = {image.file for image in annotations.images}
    needed = {image.file for image in wanted}
    listed, reasons = {path for path, _ in tree.files}, {each.path: each.reason for each in tree.left_out}
    unreadable = {path for path, reason in reasons.items() if reason in (Reason.DANGLING, Reason.NOT_UTF8)}
    left_out = [LeftOut(path, Reason.ABSENT) for path in needed - listed - unreadable]
    left_out += [LeftOut(path, reasons[path]) for path in unreadable & needed]
    left_out += [LeftOut(path, Reason.UNNAMED) for path in (listed | unreadable) - named]
    left_out += [LeftOut(path, Reason.UNANNOTATED) for path in named - needed]
    left_out += [each for each in tree.left_out if each.path not in unreadable | needed]
    return sorted(left_out, key=lambda each: each.path)


def _counts(annotations: Annotations, left_out: Sequence[LeftOut]) -> dict[str, int]:
    reasons = [each.reason for each in left_out]
    return {
        "areas_from_boxes": annotations.num_areas_computed,
        "files_named": len(annotations.images),
        "files_missing": sum(reason in (Reason.ABSENT, Reason.DANGLING, Reason.NOT_UTF8) for reason in reasons),
        "files_not_named": reasons.count(Reason.UNNAMED),
        "images_without_annotations_left_out": reasons.count(Reason.UNANNOTATED),
    }
