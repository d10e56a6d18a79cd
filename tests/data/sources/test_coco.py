"""Sets in COCO's format: what is taken of them, what is left out and counted, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from data.coco_sets import HEIGHT, WIDTH, Change, annotation, write_set
from hypothesis import given
from hypothesis import strategies as st
from shared_data import SHARED_DATA

from mvlab.data.sources.coco import TOLERANCE, clipped, list_coco, split_of_files, splits_of_coco
from mvlab.data.sources.left_out import Reason
from mvlab.data.sources.listing import Listing
from mvlab.data.store.storage import DataError

sides = st.one_of(st.floats(-100, 200), st.integers(-100, 200).map(float), st.sampled_from([WIDTH + 0.005, -0.005]))


def listed(folder: Path, split: str = "train", **options: Any) -> Listing:
    return list_coco(splits_of_coco(str(folder))[split], split, **options)


def test_ids_boxes_and_areas_are_those_of_the_file_to_the_bit(tmp_path: Path) -> None:
    write_set(tmp_path)
    listing = listed(tmp_path)
    assert listing.files == ("train2017/a.jpg", "train2017/sub/b.jpg")
    assert (listing.class_ids, listing.classes) == ((2, 90), ("bicycle", "toothbrush"))
    assert listing.targets == {
        "image_id": (902000103548, 5),
        "boxes": ([[10.07, 5.3, 20.11, 30.0], [1.0, 2.0, 3.0, 4.0]], [[0.1, 0.2, 40.3, 40.4]]),
        "categories": ([1, 0], [0]),
        "crowd": ([False, False], [True]),
        "areas": ([12.5, 7.25], [12.5]),
        "annotation_ids": ([0, 3], [4]),
    }
    assert listing.image_sizes == ((WIDTH, HEIGHT),) * 2


def test_images_without_annotations_are_evaluated_and_not_trained_on(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_set(tmp_path, split=split)
    train, val = listed(tmp_path, "train"), listed(tmp_path, "val")
    assert (len(train), train.counts["images_without_annotations_left_out"]) == (2, 1)
    assert [(each.path, each.reason) for each in train.left_out] == [("train2017/c.jpg", Reason.UNANNOTATED)]
    assert (len(val), val.counts["images_without_annotations_left_out"]) == (3, 0)
    assert val.targets["boxes"][val.files.index("val2017/c.jpg")] == []


def test_degenerate_boxes_are_dropped_and_others_are_clipped_and_counted(tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        boxes = [[60, 40, 10, 20], [-5, 1, 10, 2], [70, 1, 5, 5], [3, 3, 0, 5], [3, 3, 5, -1], [0, 0, WIDTH + 0.009, 2]]
        told["annotations"] = [annotation(key, 5, 2, box) for key, box in enumerate(boxes)]

    write_set(tmp_path, change)
    listing = listed(tmp_path)
    assert listing.targets["boxes"] == ([[60, 40, 4, 8], [0, 1, 5, 2], [0, 0, WIDTH + 0.009, 2]],)
    assert listing.targets["annotation_ids"] == ([0, 1, 5],)
    assert listing.targets["areas"] == ([12.5] * 3,), "areas stay those of the file"
    assert (listing.counts["degenerate_boxes_dropped"], listing.counts["boxes_clipped"]) == (3, 2)


@given(left=sides, top=sides, width=sides, height=sides)
def test_a_clipped_box_is_the_part_of_it_that_is_inside(left: float, top: float, width: float, height: float) -> None:
    box = clipped([left, top, width, height], WIDTH, HEIGHT)
    right, bottom = min(left + width, WIDTH), min(top + height, HEIGHT)
    part_left, part_top = max(left, 0), max(top, 0)
    is_inside = right > part_left and bottom > part_top
    assert is_inside == (box[2] > 0 and box[3] > 0) or min(right - part_left, bottom - part_top) < 1e-9
    if is_inside and box[2] > 0 and box[3] > 0:
        assert box == pytest.approx([part_left, part_top, right - part_left, bottom - part_top], abs=2 * TOLERANCE)
    if left >= 0 and top >= 0 and left + width <= WIDTH and top + height <= HEIGHT and width > 0 and height > 0:
        assert box == [left, top, width, height]


def test_an_image_whose_annotations_are_dropped_stays(tmp_path: Path) -> None:
    write_set(tmp_path, lambda told: told.update(annotations=[annotation(1, 5, 2, [1, 1, 0, 0])]))
    assert listed(tmp_path).targets["boxes"] == ([],)


@pytest.mark.parametrize("where", ["train2017", "images/train2017"])
def test_files_that_are_missing_or_not_named_are_counted(tmp_path: Path, where: str) -> None:
    write_set(tmp_path)
    images = tmp_path / "train2017"
    (images / "sub" / "b.jpg").unlink()
    (images / "of_nobody.jpg").touch()
    (images / ".DS_Store").touch()
    if where != "train2017":
        (tmp_path / "images").mkdir()
        images.rename(tmp_path / where)
    listing = listed(tmp_path)
    assert listing.files == (f"{where}/a.jpg",)
    assert {each.path.removeprefix(f"{where}/"): each.reason for each in listing.left_out} == {
        ".DS_Store": Reason.HIDDEN,
        "c.jpg": Reason.UNANNOTATED,
        "of_nobody.jpg": Reason.UNNAMED,
        "sub/b.jpg": Reason.ABSENT,
    }
    counted = {name: listing.counts[name] for name in ("files_named", "files_missing", "files_not_named")}
    assert counted == {"files_named": 3, "files_missing": 1, "files_not_named": 1}
    with pytest.raises(DataError, match=r"1 of 2 files cannot be read \(1 in the annotations, but not among"):
        listing.require_files(0.1)


def test_missing_ids_areas_and_crowd_flags(tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        for each in told["annotations"]:
            del each["id"], each["area"], each["iscrowd"]

    write_set(tmp_path, change)
    listing = listed(tmp_path)
    assert listing.targets["annotation_ids"] == ([1, 2], [3])
    assert listing.targets["areas"] == ([20.11 * 30.0, 12.0], [40.3 * 40.4])
    assert listing.targets["crowd"] == ([False, False], [False])
    assert listing.counts["areas_from_boxes"] == 3


def test_both_splits_share_one_list_of_categories(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path, lambda told: told["categories"][0].update(name="comb"), split="val")
    train = listed(tmp_path)
    categories = list(zip(train.class_ids, train.classes, strict=True))
    assert listed(tmp_path, categories=categories).classes == train.classes
    with pytest.raises(DataError, match=r"they differ, e\.g\. in id 90, 'comb'"):
        listed(tmp_path, "val", categories=categories)


def test_a_mask_as_large_as_its_image_is_no_hindrance(tmp_path: Path) -> None:
    rle = {"size": [HEIGHT, WIDTH], "counts": "secret"}
    write_set(tmp_path, lambda told: told["annotations"][0].update(segmentation=rle))
    assert len(listed(tmp_path)) == 2


REFUSED: list[tuple[Change, str]] = [
    (lambda told: told["annotations"][1].update(image_id=6), r"annotations\[1\]: there is no image with id 6"),
    (lambda told: told["annotations"][1].update(category_id=1), r"annotations\[1\]: there is no category with id 1"),
    (lambda told: told["annotations"][1].update(bbox=[1, 2, float("nan"), 4]), "'bbox' is .*four finite numbers"),
    (lambda told: told["annotations"][1].update(bbox=[1, 2, float("inf"), 4]), "'bbox' is .*four finite numbers"),
    (lambda told: told["annotations"][1].update(bbox=[1, 2, 10**400, 4]), "'bbox' is .*four finite numbers"),
    (lambda told: told["annotations"][1].update(bbox=[1, 2, 3]), "'bbox' is .*four finite numbers"),
    (lambda told: told["annotations"][1].update(bbox=["1", 2, 3, 4]), "'bbox' is .*four finite numbers"),
    (lambda told: told["annotations"][1].pop("bbox"), "'bbox' is missing"),
    (lambda told: told["annotations"][1].update(area=-1), "'area' is -1"),
    (lambda told: told["annotations"][1].update(area=None), "'area' is None"),
    (lambda told: told["annotations"][1].update(iscrowd=2), "'iscrowd' is 2"),
    (lambda told: told["annotations"][1].update(id=0), "annotation id 0 occurs twice"),
    (lambda told: told["annotations"][1].pop("id"), r"annotations\[1\]: 'id' is missing"),
    (lambda told: told["annotations"][1].update(segmentation={"size": [9, 9], "counts": [81]}), "mask .RLE. has size"),
    (lambda told: told["annotations"].insert(0, 3), r"annotations\[0\] is no object"),
    (lambda told: told["images"][1].update(id=902000103548), "image id 902000103548 occurs twice"),
    (lambda told: told["images"][1].update(file_name="./a.jpg"), "file name a.jpg occurs twice"),
    (lambda told: told["images"][1].update(file_name="x/../../b.jpg"), "lies outside of the folder"),
    (lambda told: told["images"][1].update(file_name="/etc/passwd"), "lies outside of the folder"),
    (lambda told: told["images"][1].update(file_name=""), "'file_name' is ''"),
    (lambda told: told["images"][1].update(file_name="\ud800"), "'file_name' is"),
    (lambda told: told["images"][1].pop("width"), "'width' is missing: a whole number"),
    (lambda told: told["images"][1].update(height=0), "'height' is 0: a whole number is needed, at least 1"),
    (lambda told: told["images"][1].update(id="5"), "'id' is '5': a whole number.*write it without quotes or decimals"),
    (
        lambda told: told["images"][1].update(width=64.0),
        "'width' is 64.0: .*, at least 1: write it without quotes or dec",
    ),
    (lambda told: told["images"][1].update(id=2**63), "'id' is 9223372036854775808: a whole number"),
    (lambda told: told["images"].clear(), "annotations.0.: there is no image|names no images"),
    (lambda told: told["annotations"].clear(), "none of its 3 images has annotations"),
    (lambda told: told["categories"].clear(), "has 0 categories"),
    (lambda told: told["categories"][0].update(id=2), "category id 2 occurs twice"),
    (lambda told: told["categories"][0].update(name="bicycle"), "two categories have the name 'bicycle'"),
    (lambda told: told.pop("categories"), "has no list 'categories'"),
    (lambda told: told.update(images={}), "has no list 'images'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_annotations_that_cannot_be_used(tmp_path: Path, change: Change, message: str) -> None:
    file = write_set(tmp_path, change)
    with pytest.raises(DataError, match=message) as raised:
        listed(tmp_path)
    assert str(file) in str(raised.value), "the message names the file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [}', "is no valid JSON: Expecting value: line 1 column 13"),
        ("", "is no valid JSON"),
        ("[" * 100_000, "is no valid JSON"),
        ("[]", "holds a JSON list: an object with images, annotations, categories is needed"),
        ("3", "holds a JSON int"),
    ],
)
def test_files_that_hold_no_annotations(tmp_path: Path, content: str, message: str) -> None:
    write_set(tmp_path, content=content)
    with pytest.raises(DataError, match=message):
        listed(tmp_path)


def test_sources_that_are_not_in_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no annotations in COCO's layout"):
        splits_of_coco(str(tmp_path))
    file = write_set(tmp_path)
    file.with_name("instances_train2014.json").write_text("{}")
    with pytest.raises(DataError, match="has no annotations of val"):
        splits_of_coco(str(tmp_path), "val")
    with pytest.raises(DataError, match="which of them is train"):
        splits_of_coco(str(tmp_path))
    file.unlink()
    write_set(tmp_path, split="val")
    assert list(splits_of_coco(str(tmp_path), "val")) == ["val"], "the other split need not be whole"
    with pytest.raises(DataError, match="has annotations for train2014, but no folder train2014/ or images/train2014/"):
        splits_of_coco(str(tmp_path))


def test_a_file_and_a_folder_of_any_names(tmp_path: Path) -> None:
    file = write_set(tmp_path).rename(tmp_path / "labels.json")
    listing = list_coco(split_of_files(str(file), str(tmp_path / "train2017")), "train")
    assert listing.files == ("a.jpg", "sub/b.jpg")
    with pytest.raises(DataError, match=r"none of the 2 files that .*labels.json names, e.g. a.jpg"):
        list_coco(split_of_files(str(file), str(tmp_path / "annotations")), "train")
    for wrong in ((tmp_path / "no.json", tmp_path), (file, tmp_path / "nowhere")):
        with pytest.raises(DataError, match="is no f"):
            split_of_files(*map(str, wrong))


@pytest.mark.parametrize("name", ["coco-130", "coco-38", "bccd"])
def test_counts_of_real_sets(name: str) -> None:
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs {folder} (or MVLAB_SHARED_DATA)")
    for split, where in splits_of_coco(str(folder)).items():
        told = json.loads(Path(where.folder.at(where.file)).read_text())
        listing = list_coco(where, split)
        objects = sum(map(len, listing.targets["boxes"]))
        assert objects + listing.counts["degenerate_boxes_dropped"] == len(told["annotations"])
        assert listing.counts["degenerate_boxes_dropped"] == (name == "bccd")
        assert listing.counts["files_not_named"] == (2 if (name, split) == ("coco-130", "val") else 0)
        annotated = {each["image_id"] for each in told["annotations"]}
        assert len(listing) == (len(annotated) if split == "train" else len(told["images"]))
