"""Folders with what systems, tools and people leave in them: each entry is listed once, and taken or told."""

import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from data.sources.test_sources import put, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from mvlab.data.sources.folders import Listing, list_images
from mvlab.data.sources.left_out import Reason
from mvlab.data.sources.splits import beside, refuse_overlap, splits_in
from mvlab.data.sources.tree import walk
from mvlab.data.store.storage import DataError, Folder
from mvlab.report.listing import describe_listings

NOT_UTF8 = os.fsdecode(b"caf\xe9.jpg")


def left(listing: Listing) -> dict[str, Reason]:
    return {each.path: each.reason for each in listing.left_out}


def test_what_systems_make_is_no_class_and_no_image(tmp_path: Path) -> None:
    junk = [
        *("@eaDir/a.jpg@SynoEAStream", "__MACOSX/cat/._a.jpg", "lost+found/x", ".ipynb_checkpoints/a.jpg"),
        *("cat/Thumbs.db", "cat/desktop.ini", "cat/._a.jpg", "cat/@eaDir/a.jpg", "$RECYCLE.BIN/a.jpg"),
    ]
    listing = list_images(put(tmp_path, "cat/a.jpg", "dog/b.jpg", *junk), "train")
    assert listing.classes == ("cat", "dog")
    assert shown(listing) == {"cat/a.jpg": "cat", "dog/b.jpg": "dog"}
    assert left(listing) == {
        "@eaDir/": Reason.SYSTEM,
        "__MACOSX/": Reason.SYSTEM,
        "lost+found/": Reason.SYSTEM,
        "$RECYCLE.BIN/": Reason.SYSTEM,
        ".ipynb_checkpoints/": Reason.HIDDEN,
        "cat/Thumbs.db": Reason.SYSTEM,
        "cat/desktop.ini": Reason.SYSTEM,
        "cat/._a.jpg": Reason.HIDDEN,
        "cat/@eaDir/": Reason.SYSTEM,
    }


def test_text_and_stray_files_and_empty_classes_are_told(tmp_path: Path) -> None:
    src = put(tmp_path, "train/a/1.jpg", "train/c/2.jpg", "train/a/_annotations.csv", "train/stray.jpg")
    (tmp_path / "train" / "b").mkdir()
    os.mkfifo(tmp_path / "train" / "a" / "pipe")
    listing = list_images(src, "train")
    assert (listing.classes, listing.targets["label"]) == (("a", "c"), (0, 1))
    assert left(listing) == {
        "train/a/_annotations.csv": Reason.TEXT,
        "train/stray.jpg": Reason.STRAY,
        "train/b/": Reason.EMPTY,
        "train/a/pipe": Reason.SPECIAL,
    }
    assert listing.missing == []


def test_an_empty_class_of_one_split_keeps_its_place_in_the_list_of_the_other(tmp_path: Path) -> None:
    src = put(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "train/c/3.jpg", "val/a/1.jpg", "val/c/3.jpg")
    (tmp_path / "val" / "b").mkdir()
    listing = list_images(src, "val", classes=list_images(src, "train").classes)
    assert (listing.classes, listing.targets["label"]) == (("a", "b", "c"), (0, 2))


def test_a_loop_brings_nothing_in_twice(tmp_path: Path) -> None:
    """`cat/loop -> ..` made 122 images of 3, and a dog came in as a cat."""
    src = put(tmp_path, "train/cat/a.jpg", "train/cat/deep/b.jpg", "train/dog/c.jpg", "val/dog/d.jpg")
    for link, target in (("cat/loop", ".."), ("cat/deep/up", "../../.."), ("dog/self", "."), ("dog/again", "again")):
        (tmp_path / "train" / link).symlink_to(target)
    (tmp_path / "train" / "kitty").symlink_to("cat")
    listing = list_images(src, "train")
    assert listing.classes == ("cat", "dog")
    assert shown(listing) == {
        "train/cat/a.jpg": "cat",
        "train/cat/deep/b.jpg": "cat",
        "train/dog/c.jpg": "dog",
    }
    assert left(listing) == {
        "train/cat/loop/": Reason.LISTED,
        "train/cat/deep/up/": Reason.LISTED,
        "train/dog/self/": Reason.LISTED,
        "train/kitty/": Reason.LISTED,
        "train/dog/again": Reason.DANGLING,
    }


def test_class_folders_may_be_symlinks_to_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "disk/cats/a.jpg", "disk/more/b.jpg", "src/dog/c.jpg", "one.jpg")
    (tmp_path / "src" / "cat").symlink_to(tmp_path / "disk" / "cats")
    (tmp_path / "src" / "dog" / "more").symlink_to("../../disk/more")
    (tmp_path / "src" / "dog" / "one.jpg").symlink_to(tmp_path / "one.jpg")
    listing = list_images(str(tmp_path / "src"), "train")
    assert shown(listing) == {"cat/a.jpg": "cat", "dog/c.jpg": "dog", "dog/more/b.jpg": "dog", "dog/one.jpg": "dog"}
    assert listing.sizes == (1, 3, 2, 4)
    assert listing.left_out == ()


def test_a_loop_behind_a_class_that_is_a_symlink_brings_in_no_other_class(tmp_path: Path) -> None:
    """Followed, it brought the dog in as a cat: the pool does not hold the source, but it holds a class of it."""
    put(tmp_path, "pool/cat/a.jpg", "pool/dog/b.jpg", "pool/stray.jpg", "train/cow/c.jpg")
    (tmp_path / "train" / "cat").symlink_to("../pool/cat")
    (tmp_path / "pool" / "cat" / "loop").symlink_to("..")
    listing = list_images(str(tmp_path), "train")
    assert shown(listing) == {"train/cat/a.jpg": "cat", "train/cow/c.jpg": "cow"}
    assert [(each.path, each.reason) for each in listing.left_out] == [("train/cat/loop/", Reason.LISTED)]


@settings(max_examples=60)
@given(
    links=st.lists(
        st.tuples(st.sampled_from(["a", "b", "a/x", "b/y"]), st.sampled_from(["", "a", "b", "a/x", "b/y", "gone"])),
        max_size=6,
    )
)
def test_no_folder_is_listed_twice_whatever_links_there_are(
    links: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("links")
    src = put(folder, "a/1.jpg", "b/2.jpg", "a/x/3.jpg", "b/y/4.jpg")
    for number, (place, target) in enumerate(links):
        (folder / place / f"link{number}").symlink_to(folder / target)
    listing = list_images(src, "train")
    assert shown(listing) == {"a/1.jpg": "a", "a/x/3.jpg": "a", "b/2.jpg": "b", "b/y/4.jpg": "b"}
    expected = Counter(Reason.DANGLING if target == "gone" else Reason.LISTED for _, target in links)
    assert Counter(left(listing).values()) == expected


def test_a_store_is_listed_as_a_disk_is(tmp_path: Path) -> None:
    """Stores have no symlinks; this one is a folder that pyarrow alone lists."""
    put(tmp_path, "src/cat/a.jpg", "src/cat/deep/b.jpg", "src/@eaDir/c", "src/cat/.d", "src/dog/notes.txt", "src/e.jpg")
    store = Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "src")
    assert not store.is_local
    assert walk(store) == walk(Folder.of(str(tmp_path / "src")))
    assert store.sizes() == {"e.jpg": 6}


def test_a_file_that_is_renamed_while_its_folder_is_listed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another process's unfinished shards are."""
    put(tmp_path, "a", "b")
    listed = os.scandir

    def scandir(path: str) -> AbstractContextManager[list[os.DirEntry[str]]]:
        found = list(listed(path))
        (tmp_path / "b").rename(tmp_path / "c")
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", scandir)
    assert Folder.of(str(tmp_path)).sizes() == {"a": 1}


def test_symlinks_to_nothing_are_missing_images(tmp_path: Path) -> None:
    """As git-annex leaves them: 5 of 8 images of a class were missing, without a word."""
    src = put(tmp_path, *(f"cat/{number}.jpg" for number in range(3)), "dog/a.jpg")
    for number in range(3, 8):
        (tmp_path / "cat" / f"{number}.jpg").symlink_to(f"../.git/annex/objects/{number}")
    listing = list_images(src, "train")
    assert [each.path for each in listing.missing] == [f"cat/{number}.jpg" for number in range(3, 8)]
    with pytest.raises(DataError, match=r"5 of 9 files cannot be read \(5 symlink to nothing\), e\.g\. cat/3\.jpg"):
        listing.require_files(0.5)
    listing.require_files(0.6)


def test_a_class_or_a_split_that_is_a_symlink_to_nothing_is_refused(tmp_path: Path) -> None:
    src = put(tmp_path, "train/cat/a.jpg")
    (tmp_path / "train" / "dog").symlink_to("/mnt/away/dog")
    with pytest.raises(DataError, match="train/dog is a symlink to nothing: a class folder"):
        list_images(src, "train")
    (tmp_path / "train" / "dog").unlink()
    (tmp_path / "val").symlink_to("/mnt/away/val")
    with pytest.raises(DataError, match="val is a symlink to nothing"):
        splits_in(src)


def test_a_name_that_is_not_utf8_is_a_missing_image(tmp_path: Path) -> None:
    src = put(tmp_path, "train/cat/a.jpg", f"train/cat/{NOT_UTF8}", f"train/cat/{NOT_UTF8}.d/b.jpg", NOT_UTF8)
    listing = list_images(src, "train")
    assert shown(listing) == {"train/cat/a.jpg": "cat"}
    names = {r"train/cat/caf\xe9.jpg", r"train/cat/caf\xe9.jpg.d/b.jpg"}
    assert left(listing) == dict.fromkeys(names, Reason.NOT_UTF8)
    assert {each.path for each in listing.missing} == names
    assert [each.path for each in beside(src, ["train"])] == [r"caf\xe9.jpg"]
    put(tmp_path, f"train/{NOT_UTF8}/a.jpg")
    with pytest.raises(DataError, match=r"class folders whose names are not UTF-8: caf\\xe9\.jpg"):
        list_images(src, "train")
    with pytest.raises(DataError, match="cannot be opened"):
        list_images(str(tmp_path / "train" / NOT_UTF8), "train")
    assert Folder.of(src).sizes()[NOT_UTF8] == 4


@pytest.mark.parametrize(
    ("train", "val"), [("train", "valid"), ("training", "validation"), ("Train", "Val"), ("train", "val")]
)
def test_the_usual_names_of_splits(tmp_path: Path, train: str, val: str) -> None:
    src = put(tmp_path, f"{train}/cat/a.jpg", f"{val}/cat/b.jpg", "test/cat/c.jpg", "README.roboflow.txt", ".git/x")
    assert splits_in(src) == {"train": train, "val": val}
    assert shown(list_images(src, "val")) == {f"{val}/cat/b.jpg": "cat"}
    expected = {"test/": Reason.OTHER_SPLIT, "README.roboflow.txt": Reason.TEXT, ".git/": Reason.HIDDEN}
    assert {each.path: each.reason for each in beside(src, ["train", "val"])} == expected
    assert {each.path for each in beside(src, ["val"])} == {*expected, f"{train}/"}
    assert beside(str(tmp_path / train), ["train"]) == [], "its own listing tells of all that is there"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "valid", "validation"), "has valid/ and validation/: which of them is val"),
        (("test",), "has test/, named as splits are, but neither train/ nor val/"),
        (("test", "cat"), "has test/, named as splits are"),
        (("train2017", "val2017"), "has train2017/, val2017/, named as splits are"),
        (("seg_test", "seg_train"), "has seg_test/, seg_train/, named as splits are"),
    ],
)
def test_names_of_splits_that_are_not_clear_are_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    src = put(tmp_path, *(f"{name}/cat/a.jpg" for name in folders))
    with pytest.raises(DataError, match=message):
        splits_in(src)


def test_classes_may_have_names_that_only_sound_like_splits(tmp_path: Path) -> None:
    src = put(tmp_path, "test tube/a.jpg", "train station/b.jpg", "validator/c.jpg", "train2/d.jpg")
    assert splits_in(src) == {}
    assert len(list_images(src, "train").classes) == 4


@pytest.mark.parametrize("folders", [("images", "labels"), ("images",)])
def test_folders_of_kinds_of_files_are_no_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """As the sets of object detectors have them."""
    src = put(tmp_path, *(f"train/{name}/1.{'jpg' if name == 'images' else 'txt'}" for name in folders))
    with pytest.raises(DataError, match="1 files and no class folders"):
        list_images(src, "train")


def test_an_empty_source_says_what_it_left_out(tmp_path: Path) -> None:
    src = put(tmp_path, "cat/Thumbs.db", "cat/.a.jpg", "dog/.b.jpg")
    with pytest.raises(DataError, match=r"holds no files: .*Left out: 2 hidden .*; 1 made by a system .*; 2 class"):
        list_images(src, "train")


@pytest.mark.parametrize(
    ("src", "out"), [("p", "p"), ("p", "p/shards"), ("p", "link/x"), ("out/train", "out"), ("out/val/raw", "out")]
)
def test_shards_never_lie_among_the_images(tmp_path: Path, src: str, out: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "link").symlink_to("p")
    with pytest.raises(DataError, match=r"`out` .* and `src` .* lie in each other"):
        refuse_overlap(str(tmp_path / src), str(tmp_path / out), ["train", "val"])


@pytest.mark.parametrize(("src", "out"), [("p", "q"), ("p", "pp"), ("out/raw", "out"), ("p/q", "p")])
def test_shards_may_lie_beside_the_images(tmp_path: Path, src: str, out: str) -> None:
    refuse_overlap(str(tmp_path / src), str(tmp_path / out), ["train", "val"])


def test_the_account_adds_up(tmp_path: Path) -> None:
    src = put(tmp_path, "train/cat/a.jpg", "train/cat/b.jpg", "train/cat/.c", "val/cat/d.jpg", "test/cat/e.jpg")
    (tmp_path / "train" / "cat" / "f.jpg").symlink_to("nowhere")
    listings = {split: list_images(src, split) for split in ("train", "val")}
    table = describe_listings(listings, beside(src, listings), {"train": 1, "val": 1})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    found = {row[0]: row[1:] for row in rows}
    assert rows[0][1:] == ["train", "val", "beside", "e.g."]
    assert found["listed"] == ["4", "1", "1", ""]
    assert found["taken"] == ["1", "1", "0", ""]
    assert found["bad: no readable image"] == ["1", "0", "0", ""]
    assert found[f"bad: {Reason.DANGLING}"] == ["1", "0", "0", "train/cat/f.jpg"]
    assert found[f"left out: {Reason.HIDDEN}"] == ["1", "0", "0", "train/cat/.c"]
    assert found[f"left out: {Reason.OTHER_SPLIT}"] == ["0", "0", "1", "test/"]
    for column in range(3):
        numbers = [int(row[column]) for name, row in found.items() if name[:4] in ("list", "take", "bad:", "left")]
        assert numbers[0] == sum(numbers[1:]), "all that is listed is taken, bad or left out"
