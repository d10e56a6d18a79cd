"""COCO's 12 numbers: those of its authors, whatever the split over ranks."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvlab.tasks.detection.coco_eval import SUMMARY, Precision, judged
from mvlab.tasks.detection.evaluator import Alone
from tests.shared_data import SHARED_DATA
from tests.tasks.detection_sets import by_pycocotools, on_ranks, results_of, split

FAKE = SHARED_DATA / "coco-eval-100"
PUBLISHED = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)
"""Values of boxes in `val2014_fake_eval_res.txt` of cocoapi."""


def annotation(image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    return {
        "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, **more
    }  # fmt: skip


def assert_same(precision: Precision, expected: Any) -> None:
    """The arrays, to the bit, and the 12 numbers. Classes that nothing is known of may be left out at the end."""
    known = precision.precision.shape[2]
    for ours, theirs in (
        (precision.precision, expected.eval["precision"][:, :, :known]),
        (precision.recall, expected.eval["recall"][:, :known]),
    ):
        assert ours.tobytes() == theirs.tobytes()
    assert (expected.eval["precision"][:, :, known:] == -1).all()
    numbers = [math.nan if value == -1 else value for value in expected.stats.tolist()]
    np.testing.assert_array_equal([*precision.summary().values()], numbers)


@pytest.mark.skipif(not FAKE.is_dir(), reason=f"needs {FAKE}")
@pytest.mark.parametrize("world", [1, 2, 3])
def test_published_numbers_of_100_images_come_out(world: int) -> None:
    truth = json.loads((FAKE / "instances_val2014_100.json").read_text())
    found = json.loads((FAKE / "instances_val2014_fakebbox100_results.json").read_text())
    classes = {each["id"]: number for number, each in enumerate(sorted(truth["categories"], key=lambda c: c["id"]))}
    for each in (*truth["annotations"], *found):
        each["category_id"] = classes[each["category_id"]]
    image_ids = [each["id"] for each in truth["images"]]
    results = results_of(image_ids, truth["annotations"], found)
    shares = split(results, [number % world for number in range(len(image_ids))], world)
    for precision, _ in on_ranks(world, lambda rank, ranks: judged(shares[rank], ranks)):
        assert tuple(round(value, 3) for value in precision.summary().values()) == PUBLISHED
        assert_same(precision, by_pycocotools(image_ids, len(classes), truth["annotations"], found))


COORDINATES = st.integers(0, 60).map(float)
SIDES = st.sampled_from([0.0, 1.0, 8.0, 20.0, 33.0, 40.0, 97.0, 130.0])
BOXES = st.tuples(COORDINATES, COORDINATES, SIDES, SIDES).map(list)


@st.composite
def sets(draw: st.DrawFn) -> tuple[list[int], list[dict[str, Any]], list[dict[str, Any]], int, list[int]]:
    """Images, objects and detections of 3 classes, and the rank of each image."""
    image_ids = draw(st.lists(st.sampled_from([0, 1, 7, 902000103548, 3, 42, 40]), min_size=1, unique=True))
    places = st.tuples(st.sampled_from(image_ids), st.integers(0, 2), BOXES)
    objects = [
        annotation(*place, iscrowd=crowd)
        for place, crowd in draw(st.lists(st.tuples(places, st.integers(0, 4).map(lambda n: int(n == 0))), max_size=12))
    ]
    on_objects = st.sampled_from([(each["image_id"], each["category_id"], each["bbox"]) for each in objects] or [None])
    places = places | on_objects.filter(bool)
    scores = st.sampled_from([0.1, 0.5, 0.5000000001, 0.9])
    drawn = draw(st.lists(st.tuples(places, scores), min_size=1, max_size=20))
    found = [annotation(*place, score=score) for place, score in drawn]
    world = draw(st.integers(1, 4))
    owners = draw(st.lists(st.integers(0, world - 1), min_size=len(image_ids), max_size=len(image_ids)))
    return image_ids, objects, found, world, owners


@settings(max_examples=150, deadline=None)
@given(sets())
def test_any_split_over_ranks_gives_the_bits_of_pycocotools_in_one_process(drawn: Any) -> None:
    image_ids, objects, found, world, owners = drawn
    shares = split(results_of(image_ids, objects, found), owners, world)
    expected = by_pycocotools(image_ids, 3, objects, found)
    for precision, results in on_ranks(world, lambda rank, ranks: judged(shares[rank], ranks)):
        assert_same(precision, expected)
        assert results.image_ids.tolist() == sorted(image_ids)


def test_more_detections_than_the_limit_in_one_class_are_cut_as_pycocotools_does() -> None:
    objects = [annotation(1, 0, [10.0 * column, 0.0, 9.0, 9.0]) for column in range(120)]
    found = [{**each, "score": 1 - number / 200} for number, each in enumerate(objects)]
    precision, _ = judged(results_of([1], objects, found), Alone())
    assert_same(precision, by_pycocotools([1], 1, objects, found))
    assert precision.summary()["AR_100"] == pytest.approx(100 / 120)


def test_21_images_on_two_ranks_count_once_each() -> None:
    image_ids = list(range(21))
    objects = [annotation(image, 0, [5.0, 5.0, 40.0, 40.0]) for image in image_ids]
    found = [{**each, "score": 0.3 + each["image_id"] / 100} for each in objects[::2]]
    shares = split(results_of(image_ids, objects, found), [image % 2 for image in image_ids], 2)
    for precision, results in on_ranks(2, lambda rank, ranks: judged(shares[rank], ranks)):
        assert len(results.image_ids) == 21
        assert precision.summary()["AR_100"] == pytest.approx(11 / 21)


def test_detections_on_an_image_without_objects_are_false() -> None:
    objects = [annotation(1, 0, [5.0, 5.0, 40.0, 40.0])]
    found = [{**objects[0], "score": 0.5}, annotation(2, 0, [0.0, 0.0, 9.0, 9.0], score=0.9)]
    with_empty, _ = judged(results_of([1, 2], objects, found), Alone())
    without, _ = judged(results_of([1], objects, found[:1]), Alone())
    assert with_empty.summary()["AP"] == pytest.approx(0.5)
    assert without.summary()["AP"] == pytest.approx(1.0)


def test_no_detections_give_a_precision_of_zero() -> None:
    precision, _ = judged(results_of([1], [annotation(1, 0, [5.0, 5.0, 40.0, 40.0])], []), Alone())
    summary = precision.summary()
    assert (summary["AP"], summary["AR_100"]) == (0.0, 0.0)
    assert math.isnan(summary["AP_small"])


def test_without_objects_no_number_exists() -> None:
    for found in ([], [annotation(1, 0, [0.0, 0.0, 9.0, 9.0], score=0.9)]):
        precision, _ = judged(results_of([1], [], found), Alone())
        assert tuple(precision.summary()) == SUMMARY
        assert all(math.isnan(value) for value in precision.summary().values())


def test_a_class_without_objects_does_not_count_and_has_no_precision() -> None:
    objects = [annotation(1, 2, [5.0, 5.0, 40.0, 40.0])]
    found = [{**objects[0], "score": 0.5}, annotation(1, 0, [5.0, 5.0, 40.0, 40.0], score=0.9)]
    precision, _ = judged(results_of([1], objects, found), Alone())
    assert precision.summary()["AP"] == pytest.approx(1.0)
    assert precision.of_class(2) == pytest.approx((1.0, 1.0))
    assert all(math.isnan(value) for category in (0, 1, 7) for value in precision.of_class(category))


def test_standard_output_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    judged(results_of([1], [annotation(1, 0, [5.0, 5.0, 40.0, 40.0])], []), Alone())
    print("after")
    assert capsys.readouterr().out == "after\n"
