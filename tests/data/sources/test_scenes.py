"""Scenes: what detection is tried on without a download."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvlab.data.data_set import describe_embedded, open_embedded
from mvlab.data.geometry import IGNORED
from mvlab.data.ingest.write import write_split
from mvlab.data.randomness import Stream, generator
from mvlab.data.sources import digits
from mvlab.data.sources.digit_stamps import CROWD_SIDES, SIDES, draw_digit
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.sources.scenes import NUM_SAMPLES, Scene, draw_scene, photo_halves, scenes
from mvlab.data.sources.splits import SPLITS, Split
from mvlab.data.store.shards import open_split
from mvlab.targets import Ragged


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw_scene("train", index) for index in range(400)]


@pytest.fixture(scope="module")
def val() -> list[Sample]:
    return list(scenes("val"))


def test_images_have_the_stated_sizes(drawn: list[Scene]) -> None:
    sizes = {scene.pixels.shape for scene in drawn}
    assert all(max(height, width) == 320 and min(height, width) >= 240 for height, width, _ in sizes)
    assert {height > width for height, width, _ in sizes} == {True, False}
    assert len(sizes) > 50


def test_boxes_are_tight_around_visible_pixels(drawn: list[Scene]) -> None:
    for scene in drawn:
        assert set(np.unique(scene.instances)) - {0} == {1 + number for number in range(len(scene.objects))}
        for number, each in enumerate(scene.objects, 1):
            left, top, width, height = map(int, each.box)
            inside = scene.instances[top : top + height, left : left + width] == number
            assert inside.shape == (height, width), "a box is inside of its image"
            assert inside.sum() == each.area == (scene.instances == number).sum()
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()


def test_objects_are_as_many_and_as_large_as_stated(drawn: list[Scene]) -> None:
    counts = [len(scene.objects) for scene in drawn]
    assert set(counts) == set(range(7))
    sides = [max(each.box[2:]) for scene in drawn for each in scene.objects if not each.is_crowd]
    assert max(sides) <= SIDES[1] * 1.25, "a tilted digit is a little larger"
    areas = np.array([each.area for scene in drawn for each in scene.objects])
    for share in (areas < 32**2, (areas >= 32**2) & (areas < 96**2)):  # COCO's small and medium
        assert share.mean() > 0.1


def test_some_images_are_empty_and_some_have_a_crowd(drawn: list[Scene]) -> None:
    empty = np.mean([not scene.objects for scene in drawn])
    crowded = np.mean([any(each.is_crowd for each in scene.objects) for scene in drawn])
    assert abs(empty - 0.10) < 3 * (0.10 * 0.90 / len(drawn)) ** 0.5
    assert abs(crowded - 0.05) < 3 * (0.05 * 0.95 / len(drawn)) ** 0.5
    for scene in drawn:
        for each in scene.objects:
            if each.is_crowd:
                assert min(each.box[2:]) > CROWD_SIDES[0], "more than one digit"


def test_every_digit_is_drawn_and_visible(drawn: list[Scene]) -> None:
    """The strokes of an object have one colour, which is lighter than the colours around it."""
    assert {each.category for scene in drawn for each in scene.objects} == set(range(10))
    brightness = np.array([0.299, 0.587, 0.114])
    contrasts = []
    for scene in drawn:
        grey = scene.pixels @ brightness
        for number, each in enumerate(scene.objects, 1):
            left, top, width, height = map(int, each.box)
            region = slice(top, top + height), slice(left, left + width)
            behind = grey[region][scene.instances[region] == 0]
            if len(behind) > 50:
                contrasts.append(float(np.median(grey[scene.instances == number]) - behind.mean()))
    assert np.mean(np.array(contrasts) > 40) > 0.9


def test_colours_say_nothing_about_classes(drawn: list[Scene]) -> None:
    """Mean colours of classes differ by no more than chance allows: by an analysis of variance."""
    colours: dict[int, list[float]] = {digit: [] for digit in range(10)}
    for scene in drawn:
        for number, each in enumerate(scene.objects, 1):
            colours[each.category].append(float(np.median(scene.pixels[scene.instances == number])))
    everything = np.concatenate([np.array(values) for values in colours.values()])
    between = sum(len(values) * (np.mean(values) - everything.mean()) ** 2 for values in colours.values()) / 9
    assert between / everything.var() < 2.5, "F(9, 1000) exceeds 2.4 with a probability of 0.01"


def test_masks_have_a_ring_of_one_pixel_around_objects(drawn: list[Scene]) -> None:
    for scene in drawn[:40]:
        mask = scene.mask
        assert set(np.unique(mask)) <= {0, *(1 + each.category for each in scene.objects), IGNORED}
        ring = mask == IGNORED
        assert ring.any() == bool(scene.objects)
        is_object = scene.instances > 0
        assert not (is_object[1:] & (mask[:-1] == 0)).any(), "no stroke touches the background"
        assert not (is_object[:, :-1] & (mask[:, 1:] == 0)).any()
        front = scene.instances == len(scene.objects)
        if scene.objects:
            assert (mask[front] == 1 + scene.objects[-1].category).all(), "the front is not covered by rings"
            rows = np.flatnonzero(ring.any(axis=1))
            strokes = np.flatnonzero(is_object.any(axis=1))
            assert strokes[0] - rows[0] <= 1
            assert rows[-1] - strokes[-1] <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_drawn_again_every_bit_is_the_same(split: Split) -> None:
    order = [7, 3, 0]
    first, again = ([draw_scene(split, index) for index in these] for these in (order, order[::-1]))
    for one, other in zip(first, again[::-1], strict=True):
        assert one.pixels.tobytes() == other.pixels.tobytes()
        assert one.instances.tobytes() == other.instances.tobytes()
        assert one.objects == other.objects


def test_splits_share_neither_digits_nor_photos() -> None:
    (train, *_), (val, *_) = (digits.load(split) for split in SPLITS)
    assert sorted([*train, *val]) == list(range(1_797))
    for left, right in zip(photo_halves("train"), photo_halves("val"), strict=True):
        assert left.width + right.width == 640
        assert left.tobytes() != right.tobytes()
    assert draw_scene("train", 0).pixels.tobytes() != draw_scene("val", 0).pixels.tobytes()


def test_every_handwritten_digit_has_strokes() -> None:
    rng = generator(0, Stream.SCENES, item=1)
    for _ in range(1_000):
        stamp = draw_digit(rng, "val")
        assert stamp.strokes.mean() > 0.1


def test_samples_have_ids_that_differ_between_splits(val: list[Sample]) -> None:
    assert len({sample.key for sample in val}) == len(val) == NUM_SAMPLES["val"]
    first = next(scenes("train"))
    assert first.targets["image_id"] not in {sample.targets["image_id"] for sample in val}
    ids = [each for sample in val for each in sample.targets["annotation_ids"]]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids


def test_stored_scenes_are_the_drawn_ones(val: list[Sample], tmp_path: Path) -> None:
    few = val[:24]
    manifest = write_split(
        few, str(tmp_path), name="scenes", split="val", classes=digits.CLASSES, seed=0, task="detection",
        fields=OBJECT_FIELDS,
    )  # fmt: skip
    reader = open_split(manifest.ref(str(tmp_path)))
    targets = reader.targets(np.arange(len(few)))
    boxes, image_ids = targets["boxes"], targets["image_id"]
    assert isinstance(boxes, Ragged)
    assert sorted(image_ids[:].tolist()) == [sample.targets["image_id"] for sample in few]
    by_id = {sample.targets["image_id"]: sample for sample in few}
    for row, image_id in enumerate(image_ids[:].tolist()):
        sample = by_id[image_id]
        assert [*map(tuple, boxes[row].tolist())] == sample.targets["boxes"]
        for name in ("categories", "crowd", "areas", "annotation_ids"):
            assert targets[name][row].tolist() == sample.targets[name]
        with Image.open(io.BytesIO(reader.read(row))) as image:
            assert image.size == Image.open(io.BytesIO(sample.image)).size


def test_a_job_finds_the_set_that_was_planned(tmp_path: Path) -> None:
    planned, found = describe_embedded("scenes", tmp_path), open_embedded("scenes", tmp_path)
    assert (found.num_train, found.num_val) == (planned.num_train, planned.num_val) == tuple(NUM_SAMPLES.values())
    assert (found.classes, found.task, found.fields) == (planned.classes, "detection", OBJECT_FIELDS)
    assert found.train_group_rows == planned.train_group_rows
