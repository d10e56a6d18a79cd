"""What is listed of a folder of images: every file once, under its class; and what is refused, and why."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mvlab.data.sources.folders import Listing, is_flat, list_images
from mvlab.data.sources.ground_truth import read_ground_truth
from mvlab.data.sources.left_out import Reason
from mvlab.data.sources.splits import splits_in
from mvlab.data.store.storage import DataError, Folder

FLAT = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 6)]
NAMES = ["n03", "n01", "n02", "n01", "n03"]
"""What FLAT shows."""
SYNSETS = [(1, "n02", 0), (2, "n03", 0), (3, "n01", 0), (4, "n99", 3)]
"""The development kit's numbers, which are not in the order of the names; the last is no leaf of the tree."""


def put(folder: Path, *files: str) -> str:
    """Files of 1, 2, 3, ... bytes."""
    for size, file in enumerate(files, 1):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * size)
    return str(folder)


def put_meta(folder: Path, synsets: Sequence[tuple[int, str, int]] = SYNSETS) -> None:
    """The development kit's meta.mat: a struct array with these fields in this order."""
    fields = [
        *("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height"),
        "num_train_images",
    ]
    rows = np.zeros((len(synsets), 1), dtype=[(name, object) for name in fields])
    for row, (number, name, num_children) in zip(rows[:, 0], synsets, strict=True):
        children = np.arange(1.0, num_children + 1)
        about = (float(number), name, f"{name}, a thing", "what it is", float(num_children), children, 0.0, 1300.0)
        for field, value in zip(fields, about, strict=True):
            row[field] = value
    savemat(folder / "meta.mat", {"synsets": rows})


def shown(listing: Listing) -> dict[str, str]:
    """Class by file."""
    return {file: listing.classes[label] for file, label in zip(listing.files, listing.targets["label"], strict=True)}


def test_imagenets_own_layout(tmp_path: Path) -> None:
    src = put(tmp_path, "train/n02/b.JPEG", "train/n01/c.JPEG", "train/n01/a.JPEG", "val/n01/v.JPEG", "README")
    assert splits_in(src) == {"train": "train", "val": "val"}
    listing = list_images(src, "train")
    assert listing.src == tmp_path.as_uri()
    assert listing.classes == ("n01", "n02")
    assert listing.files == ("train/n01/a.JPEG", "train/n01/c.JPEG", "train/n02/b.JPEG")
    assert listing.targets["label"] == (0, 0, 1)
    assert listing.sizes == (3, 2, 1)
    assert len(listing) == 3
    src_folder = Folder.of(listing.src)
    assert [src_folder.read(file).size for file in listing.files] == list(listing.sizes)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_that_is_not_divided(tmp_path: Path, end: str) -> None:
    src = put(tmp_path, "cat/b.jpg", "dog/a.png", "cat/a.jpg") + end
    assert splits_in(src) == {}
    assert shown(list_images(src, "val")) == {"cat/a.jpg": "cat", "cat/b.jpg": "cat", "dog/a.png": "dog"}


def test_a_uri_lists_as_its_path_does(tmp_path: Path) -> None:
    src = put(tmp_path / "a folder", "train/cat/a.jpg")
    assert list_images((tmp_path / "a folder").as_uri(), "train") == list_images(src, "train")


def test_folders_inside_a_class_belong_to_it_and_hidden_things_to_nobody(tmp_path: Path) -> None:
    src = put(
        tmp_path,
        *("cat/a.jpg", "cat/2024/may/b.jpg", "dog/c.jpg"),
        *("cat/.DS_Store", "cat/.cache/a.jpg", ".git/a.jpg", ".hidden.jpg", "notes.txt"),
    )
    assert shown(list_images(src, "train")) == {"cat/2024/may/b.jpg": "cat", "cat/a.jpg": "cat", "dog/c.jpg": "dog"}


def test_labels_do_not_depend_on_who_lists_which_split(tmp_path: Path) -> None:
    src = put(tmp_path, "train/a/1", "train/b/2", "train/c/3", "val/c/4", "val/b/5")
    train = list_images(src, "train")
    val = list_images(src, "val", classes=train.classes)
    assert val.classes == train.classes
    assert shown(val) == {"val/b/5": "b", "val/c/4": "c"}
    assert val.targets["label"] == (1, 2)


def kaggle(folder: Path) -> Path:
    lines = [f"{Path(file).stem},{name} 1 2 30 40 " for file, name in zip(FLAT, NAMES, strict=True)]
    path = folder / "LOC_val_solution.csv"
    path.write_text("\n".join(["ImageId,PredictionString", *reversed(lines)]) + "\n")
    return path


def devkit(folder: Path) -> Path:
    put_meta(folder)
    number = {name: number for number, name, _ in SYNSETS}
    path = folder / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("".join(f"{number[name]}\n" for name in NAMES))
    return path


def names(folder: Path) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


def written(text: str) -> Callable[[Path], Path]:
    """A ground truth with this content."""

    def write(folder: Path) -> Path:
        (folder / "truth.txt").write_bytes(text.encode())
        return folder / "truth.txt"

    return write


STEMS = [Path(file).stem for file in FLAT]
PAIRS = list(zip(FLAT, NAMES, strict=True))
OTHER_FORMS = {
    "Caffe": written("".join(f"{file} {name}\n" for file, name in reversed(PAIRS))),
    "Caffe, with folders": written("".join(f"val/{file}  {name}\n" for file, name in PAIRS)),
    "Tiny ImageNet": written("".join(f"{file}\t{name}\t0\t32\t44\t62\n" for file, name in PAIRS)),
    "table": written("filename,label\n" + "".join(f"{file},{name}\n" for file, name in PAIRS)),
    "table, stems": written("id,species\n" + "".join(f"{stem},{n}\n" for stem, n in zip(STEMS, NAMES, strict=True))),
    "table, DOS": written("\ufeffFilename;Class\r\n" + "".join(f"{file};{name}\r\n" for file, name in PAIRS)),
    "table, quoted": written('"a","label","path"\n' + "".join(f'"1","{n}","x/{file}"\n' for file, n in PAIRS)),
    "no header": written("".join(f'"{file}", {name}\n' for file, name in PAIRS)),
    "names, with a BOM": written("\ufeff" + "".join(f"{name}\n" for name in NAMES)),
}


@pytest.mark.parametrize("write", [kaggle, devkit, names, *OTHER_FORMS.values()], ids=[*"KDN", *OTHER_FORMS])
@pytest.mark.parametrize("place", ["beside", "inside"])
def test_each_ground_truth_of_the_flat_folder(tmp_path: Path, write: object, place: str) -> None:
    """Also where it lies among the images, which it then is none of."""
    src = put(tmp_path, *(f"val/{file}" for file in reversed(FLAT)))
    truth = read_ground_truth(write(tmp_path / "val" if place == "inside" else tmp_path))  # type: ignore[operator]
    listing = list_images(src, "val", ground_truth=truth)
    assert shown(listing) == {f"val/{file}": name for file, name in zip(FLAT, NAMES, strict=True)}
    assert listing.classes == ("n01", "n02", "n03")
    assert listing.sizes == (5, 4, 3, 2, 1)


def test_the_flat_folder_takes_the_labels_of_train(tmp_path: Path) -> None:
    src = put(tmp_path, *(f"train/{name}/a" for name in ("n00", "n01", "n02", "n03")), *(f"val/{f}" for f in FLAT))
    classes = list_images(src, "train").classes
    listing = list_images(src, "val", classes=classes, ground_truth=read_ground_truth(names(tmp_path)))
    assert listing.classes == classes
    assert [classes[label] for label in listing.targets["label"]] == NAMES


def test_the_table_of_kaggle_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    path = kaggle(tmp_path)
    expected = read_ground_truth(path).by_name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_ground_truth(path).by_name == expected == dict(zip(STEMS, NAMES, strict=True))


def test_numbers_that_count_from_1_are_refused(tmp_path: Path) -> None:
    """With no image of the last class they are all in range, and each was one class off."""
    src = put(tmp_path, *(f"val/{file}" for file in FLAT[:3]))
    (tmp_path / "val.txt").write_text("".join(f"{file} {n}\n" for file, n in zip(FLAT, (2, 1, 1), strict=False)))
    truth = read_ground_truth(tmp_path / "val.txt")
    with pytest.raises(DataError, match="has class numbers from 1 on, and none is 0"):
        list_images(src, "val", classes=("a", "b", "c"), ground_truth=truth)


def test_numbers_with_files_are_places_in_the_class_list(tmp_path: Path) -> None:
    """As Caffe's val.txt has them: each line became a class."""
    src = put(tmp_path, *(f"val/{file}" for file in FLAT[:3]))
    (tmp_path / "val.txt").write_text("".join(f"{file} {n}\n" for file, n in zip(FLAT, (2, 0, 1), strict=False)))
    truth = read_ground_truth(tmp_path / "val.txt")
    listing = list_images(src, "val", classes=("a", "b", "c"), ground_truth=truth)
    assert list(shown(listing).values()) == ["c", "a", "b"]
    assert truth.is_numbered(("a", "b", "c"))
    assert not truth.is_numbered(("0", "1", "2")), "names that are numbers"
    assert list_images(src, "val", classes=("2", "1", "0"), ground_truth=truth).targets["label"] == (0, 2, 1)
    with pytest.raises(DataError, match="has numbers for classes, and no class list: ingest it together with train"):
        list_images(src, "val", ground_truth=truth)
    with pytest.raises(DataError, match="has class number 2: numbers are places in the sorted list of the 2 classes"):
        list_images(src, "val", classes=("a", "b"), ground_truth=truth)


def test_lines_that_begin_with_files_are_no_class_names(tmp_path: Path) -> None:
    src = put(tmp_path, *(f"val/{file}" for file in FLAT))
    truth = read_ground_truth(written("".join(f"{stem},n01\n" for stem in STEMS))(tmp_path))
    with pytest.raises(DataError, match="its lines begin with names of files"):
        list_images(src, "val", ground_truth=truth)


def test_a_ground_truth_of_more_images_tells_which_are_not_there(tmp_path: Path) -> None:
    src = put(tmp_path, *(f"val/{file}" for file in FLAT[1:]))
    listing = list_images(src, "val", ground_truth=read_ground_truth(kaggle(tmp_path)))
    assert len(listing) == 4
    assert [(each.path, each.reason) for each in listing.left_out] == [(f"val/{STEMS[0]}", Reason.NO_SUCH_FILE)]


def test_tiny_imagenet_as_it_is_downloaded(tmp_path: Path) -> None:
    src = put(
        tmp_path,
        *(f"train/{name}/images/{name}_0.JPEG" for name in ("n01", "n02")),
        *(f"train/{name}/{name}_boxes.txt" for name in ("n01", "n02")),
        *(f"val/images/val_{number}.JPEG" for number in range(3)),
        *("test/images/test_0.JPEG", "wnids.txt", "words.txt"),
    )
    lines = [f"val_{number}.JPEG\t{name}\t0\t0\t9\t9\n" for number, name in enumerate(("n02", "n01", "n02"))]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    train = list_images(src, "train")
    assert train.files == ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG")
    assert {each.reason for each in train.left_out} == {Reason.TEXT}
    assert not is_flat(src, "train")
    assert is_flat(src, "val")
    truth = read_ground_truth(tmp_path / "val" / "val_annotations.txt")
    val = list_images(src, "val", classes=train.classes, ground_truth=truth)
    assert val.targets["label"] == (1, 0, 1)
    assert [each.reason for each in val.left_out] == [Reason.LABELS]


def test_meta_mat_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    """Its lines, of torchvision.datasets.imagenet.parse_devkit_archive: leaves only."""
    from scipy.io import loadmat

    path = devkit(tmp_path)
    meta = loadmat(tmp_path / "meta.mat", squeeze_me=True)["synsets"]
    leaves = [meta[index] for index, children in enumerate(list(zip(*meta, strict=True))[4]) if children == 0]
    numbers, wnids = list(zip(*leaves, strict=True))[:2]
    theirs = dict(zip(numbers, wnids, strict=True))
    expected = tuple(theirs[int(line)] for line in path.read_text().splitlines())
    assert read_ground_truth(path).in_order == expected == tuple(NAMES)


def test_class_names_may_have_spaces(tmp_path: Path) -> None:
    src = put(tmp_path, "val/1.jpg", "val/2.jpg")
    (tmp_path / "names.txt").write_text("golden retriever\n\nred fox\n")
    listing = list_images(src, "val", ground_truth=read_ground_truth(tmp_path / "names.txt"))
    assert shown(listing) == {"val/1.jpg": "golden retriever", "val/2.jpg": "red fox"}


def test_no_folder_and_no_such_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`src` .*nowhere is no folder"):
        splits_in(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="is no folder"):
        splits_in(put(tmp_path, "file") + "/file")
    put(tmp_path, "val/cat/a.jpg")
    with pytest.raises(DataError, match="has val/, but no folder for train"):
        list_images(str(tmp_path), "train")


def test_no_files(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="is empty: expected class folders"):
        list_images(str(tmp_path), "train")
    put(tmp_path, "train/cat/.hidden")
    with pytest.raises(DataError, match="holds no files: expected train/<class>/<image>"):
        list_images(str(tmp_path), "train")


def test_a_flat_folder_needs_a_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"5 files and no class folders: .*`ground_truth`"):
        list_images(put(tmp_path, *(f"val/{file}" for file in FLAT)), "val")


def test_a_class_that_the_other_split_has_not(tmp_path: Path) -> None:
    src = put(tmp_path, "train/a/1", "val/a/2", *(f"val/new{index}/3" for index in range(6)))
    with pytest.raises(DataError, match=r"classes that the other split has not: new0, .*new4 and more"):
        list_images(src, "val", classes=("a",))


def test_a_ground_truth_of_other_images(tmp_path: Path) -> None:
    src = put(tmp_path, *(f"val/{file}" for file in FLAT), "val/ILSVRC2012_val_00000006.JPEG")
    with pytest.raises(DataError, match="has 5 lines, but there are 6 files"):
        list_images(src, "val", ground_truth=read_ground_truth(devkit(tmp_path)))
    with pytest.raises(DataError, match=r"has no class for ILSVRC2012_val_00000006\.JPEG$"):
        list_images(src, "val", ground_truth=read_ground_truth(kaggle(tmp_path)))
    put(tmp_path, "val/ILSVRC2012_val_00000007.JPEG")
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00000006\.JPEG, nor for 1 others"):
        list_images(src, "val", ground_truth=read_ground_truth(kaggle(tmp_path)))


@pytest.mark.parametrize("number", [4, 5, 0])
def test_a_class_number_that_is_none(tmp_path: Path, number: int) -> None:
    """4 is in meta.mat, but as a family of classes."""
    path = devkit(tmp_path)
    path.write_text(f"1\n{number}\n")
    with pytest.raises(DataError, match=rf"has class number {number}, which meta\.mat does not"):
        read_ground_truth(path)


def test_numbers_need_a_meta_mat(tmp_path: Path) -> None:
    path = devkit(tmp_path)
    (tmp_path / "meta.mat").write_bytes(b"not a mat file")
    with pytest.raises(DataError, match="is not the development kit's"):
        read_ground_truth(path)
    savemat(tmp_path / "meta.mat", {"other": [1, 2]})
    with pytest.raises(DataError, match="is not the development kit's"):
        read_ground_truth(path)
    (tmp_path / "meta.mat").unlink()
    with pytest.raises(DataError, match=r"meta\.mat of the same development kit is needed beside it"):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"ImageId,Class\na,\n", "line 2 has no Class"),
        (b"filename,label\na.jpg,x\nb/a.jpg,y\n", "gives a.jpg two classes, x and y"),
        (b"a.jpg 0\nb.jpg\n", "line 'b.jpg' is not FILE LABEL, as other lines are"),
        (b"img,target\na.jpg,0\n", "line 'img,target' is not FILE LABEL, as other lines are"),
        (b"ImageId,PredictionString\na,n01 1 2 3 4\nb,\n", "line 3 has no PredictionString"),
        (b"ImageId,PredictionString\na\n", "line 2 has no PredictionString"),
    ],
)
def test_a_file_that_is_no_ground_truth(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "truth").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_ground_truth(tmp_path / "truth")
    with pytest.raises(DataError, match="cannot be read"):
        read_ground_truth(tmp_path / "missing")
