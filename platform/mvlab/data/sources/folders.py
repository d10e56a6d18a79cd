"""Folders of images, one per class: ImageNet's own layout, or any `class/image`.

SRC/train/n01440764/*.JPEG        SRC/val/ILSVRC2012_val_00000001.JPEG and a ground-truth file
SRC/train/cat/photo.jpg           SRC/cat/photo.jpg (then the split has to be named)
"""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from mvlab.data.sources.entries import escaped, is_utf8
from mvlab.data.sources.ground_truth import META, GroundTruth
from mvlab.data.sources.left_out import MISSING, LeftOut, Reason, summary
from mvlab.data.sources.listing import Listing
from mvlab.data.sources.splits import folder_of
from mvlab.data.sources.tree import Tree, top, walk
from mvlab.data.store.storage import DataError, Folder, absolute_uri
from mvlab.targets import LABEL

NO_CLASSES = frozenset({"images", "labels", "annotations"})
"""Folders for kinds of files, not for classes, such as Tiny ImageNet's `val/images`."""


def is_flat(src: str, split: str) -> bool:
    """Tell whether the files of the split lie in its folder, not in one folder for each class."""
    return _are_no_classes(top(_folder(src, folder_of(src, split))))


def list_images(
    src: str, split: str, *, classes: Sequence[str] | None = None, ground_truth: GroundTruth | None = None
) -> Listing:
    """List the images of a split, and all that is left out.

    Args:
        classes: the class list of the other split, which both must share; None to take the folders' names, sorted.
        ground_truth: classes of the files of a folder without class folders.

    Raises:
        DataError: no class folders and no ground truth, an unknown class, or no files.
    """
    below = folder_of(src, split)
    root = _folder(src, below)
    tree = walk(root)
    if _are_no_classes(tree.folders):
        found, left_out = _by_ground_truth(root, tree, ground_truth, classes)
    else:
        found, left_out = _by_folder(root, tree)
    known = list(classes or sorted(found))
    if foreign := sorted(set(found) - set(known)):
        raise DataError(
            f"{root.path} has classes that the other split has not: {', '.join(foreign[:5])}"
            f"{' and more' if len(foreign) > 5 else ''}. Both splits need one class list"
        )
    rows = sorted((file, size, name) for name, files in found.items() for file, size in files)
    if not rows:
        raise DataError(f"{root.path} holds no files: expected {split}/<class>/<image>{_but(left_out)}")
    label = {name: index for index, name in enumerate(known)}
    return Listing(
        absolute_uri(src),
        tuple(posixpath.join(below, file) for file, _, _ in rows),
        tuple(size for _, size, _ in rows),
        {LABEL.name: tuple(label[name] for _, _, name in rows)},
        tuple(known),
        tuple(replace(each, path=posixpath.join(below, each.path)) for each in left_out),
    )


Found = dict[str, list[tuple[str, int]]]
"""(path, bytes) of the files of each class."""


def _folder(src: str, below: str) -> Folder:
    return Folder.of(src, below) if below else Folder.of(src)


def _are_no_classes(folders: Sequence[str]) -> bool:
    return NO_CLASSES.issuperset(folders)


def _by_folder(root: Folder, tree: Tree) -> tuple[Found, list[LeftOut]]:
    """Files by the first folder of their path."""
    if odd := [escaped(name) for name in tree.folders if not is_utf8(name)]:
        raise DataError(f"{root.path} has class folders whose names are not UTF-8: {', '.join(odd)}: rename them")
    found: Found = {name: [] for name in tree.folders}
    left_out = [_beside_classes(root, each) for each in tree.left_out]
    for path, size in tree.files:
        name, *rest = path.split("/")
        if rest:
            found[name].append((path, size))
        else:
            left_out.append(LeftOut(path, Reason.STRAY))
    left_out += [LeftOut(f"{name}/", Reason.EMPTY) for name, files in found.items() if not files]
    return {name: files for name, files in found.items() if files}, left_out


def _beside_classes(root: Folder, each: LeftOut) -> LeftOut:
    """Treat an unreadable entry beside the class folders as a stray file. A symlink without a suffix is a missing
    class."""
    if each.reason not in MISSING or "/" in each.path:
        return each
    if each.reason is Reason.DANGLING and not posixpath.splitext(each.path)[1]:
        raise DataError(f"{root.at(each.path)} is a symlink to nothing: a class folder? Mend it, or remove it")
    return replace(each, reason=Reason.STRAY)


def _by_ground_truth(
    root: Folder, tree: Tree, truth: GroundTruth | None, classes: Sequence[str] | None
) -> tuple[Found, list[LeftOut]]:
    read = {META, posixpath.basename(truth.source)} if truth else set()
    left_out = [replace(each, reason=Reason.LABELS) if each.path in read else each for each in tree.left_out]
    left_out += [LeftOut(path, Reason.LABELS) for path, _ in tree.files if path in read]
    files = [(path, size) for path, size in tree.files if path not in read]
    if not files:
        raise DataError(f"{root.path} is empty: expected class folders with images in them{_but(left_out)}")
    if truth is None:
        raise DataError(
            f"{root.path} has {len(files):,} files and no class folders: name the file with their classes as "
            "`ground_truth` (LOC_val_solution.csv, ILSVRC2012_validation_ground_truth.txt, val_annotations.txt, lines "
            f"of FILE LABEL, or a list of class names){_but(left_out)}"
        )
    found: Found = {}
    names = [path for path, _ in files]
    for file, name in zip(files, truth.classes_of(names, classes), strict=True):
        found.setdefault(name, []).append(file)
    return found, left_out + [LeftOut(name, Reason.NO_SUCH_FILE) for name in truth.unused(names)]


def _but(left_out: Sequence[LeftOut]) -> str:
    return f". Left out: {summary(left_out)}" if left_out else ""
