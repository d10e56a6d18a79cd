"""Folders of images, one a class: ImageNet's own layout, and anybody's `class/image`.

SRC/train/n01440764/*.JPEG        SRC/val/ILSVRC2012_val_00000001.JPEG and a ground-truth file
SRC/train/cat/photo.jpg           SRC/cat/photo.jpg (then the split has to be named)
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyarrow import fs

from mvlab.data.sources.ground_truth import META, GroundTruth
from mvlab.data.storage import DataError, Folder, absolute_uri

SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a split, sorted by path; nothing of them is read yet."""

    src: str
    """URI that `files` are relative to."""
    files: tuple[str, ...]
    """E.g. "train/n01440764/n01440764_10026.JPEG"."""
    sizes: tuple[int, ...]
    """Bytes."""
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def repeated(self, times: int) -> "Listing":
        """The same files so many times over: a large set made of a small one, to measure with."""
        return replace(self, files=self.files * times, sizes=self.sizes * times, labels=self.labels * times)


def splits_in(src: str) -> list[str]:
    """Which of train and val are folders of `src`.

    Raises:
        DataError: there is no such folder.
    """
    folder = Folder.of(src)
    if folder.filesystem.get_file_info(folder.path).type != fs.FileType.Directory:
        raise DataError(f"--src {src} is no folder")
    return [name for name in _subfolders(folder) if name in SPLITS]


def is_flat(src: str, split: str) -> bool:
    """Whether the files of the split lie in its folder, not in one folder for each class."""
    root, _ = _root(src, split)
    return not _subfolders(root)


def list_images(
    src: str, split: str, *, classes: Sequence[str] | None = None, ground_truth: GroundTruth | None = None
) -> Listing:
    """The images of `SRC/<split>`, or of SRC itself where it is not divided into splits.

    Args:
        classes: the class list of the other split, which both must share; None to take the folders' names, sorted.
        ground_truth: what the files of a folder without class folders show.

    Raises:
        DataError: no class folders and no ground truth, an unknown class, or no files.
    """
    root, divided = _root(src, split)
    named = _subfolders(root)
    if named:
        found = {name: _files(root, name) for name in named}
        known = list(classes or named)
    else:
        found = _by_ground_truth(root, ground_truth)
        known = list(classes or sorted(found))
    if foreign := sorted(set(found) - set(known)):
        raise DataError(
            f"{root.path} has classes that the other split has not: {', '.join(foreign[:5])}"
            f"{' and more' if len(foreign) > 5 else ''}. Both splits need one class list"
        )
    rows = sorted((file, size, name) for name, files in found.items() for file, size in files)
    if not rows:
        raise DataError(f"{root.path} holds no files: expected {split}/<class>/<image>")
    label = {name: index for index, name in enumerate(known)}
    return Listing(
        absolute_uri(src),
        tuple(posixpath.join(split, file) if divided else file for file, _, _ in rows),
        tuple(size for _, size, _ in rows),
        tuple(label[name] for _, _, name in rows),
        tuple(known),
    )


def _root(src: str, split: str) -> tuple[Folder, bool]:
    """The folder of the split, and whether `src` is divided into splits."""
    divided = splits_in(src)
    if divided and split not in divided:
        raise DataError(f"{src} has {' and '.join(divided)}, but no {split}/: name another --split")
    return (Folder.of(src, split), True) if divided else (Folder.of(src), False)


def _by_ground_truth(root: Folder, ground_truth: GroundTruth | None) -> dict[str, list[tuple[str, int]]]:
    aside = {META, posixpath.basename(ground_truth.source)} if ground_truth else set()
    files = [(file, size) for file, size in _files(root, "") if file not in aside]
    if not files:
        raise DataError(f"{root.path} is empty: expected class folders with images in them")
    if ground_truth is None:
        raise DataError(
            f"{root.path} has {len(files):,} files and no class folders: name the file that says what they show with "
            "--ground-truth (LOC_val_solution.csv, ILSVRC2012_validation_ground_truth.txt or a list of class names)"
        )
    found: dict[str, list[tuple[str, int]]] = {}
    for (file, size), name in zip(files, ground_truth.classes_of([file for file, _ in files]), strict=True):
        found.setdefault(name, []).append((file, size))
    return found


def _subfolders(folder: Folder) -> list[str]:
    infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path))
    names = (info.base_name for info in infos if info.type == fs.FileType.Directory)
    return sorted(name for name in names if not name.startswith("."))


def _files(root: Folder, name: str) -> list[tuple[str, int]]:
    """(path below root, bytes) of the files below a class folder, sorted, hidden ones and folders left out."""
    infos = root.filesystem.get_file_info(fs.FileSelector(root.at(name) if name else root.path, recursive=bool(name)))
    files = ((posixpath.relpath(info.path, root.path), info.size) for info in infos if info.type == fs.FileType.File)
    return sorted((path, size) for path, size in files if not any(part.startswith(".") for part in path.split("/")))
