"""Targets: columns of a batch, ragged ones too, there and back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import digits
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.shards import SplitReader
from mvlab.data.store.storage import DataError
from mvlab.targets import Ragged, TargetField, arrays_of, from_arrays, take

FIELDS = (
    TargetField(name="boxes", dtype="float32", kind="ragged", shape=(4,)),
    TargetField(name="classes", dtype="int64", kind="ragged", stored="uint8"),
    TargetField(name="where", dtype="float64", shape=(2,)),
    TargetField(name="sure", dtype="bool"),
)
boxes = st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), max_size=5)
samples = st.lists(st.tuples(boxes, st.floats(allow_nan=False), st.booleans()), min_size=1, max_size=12)


def targets_of(drawn: tuple[Any, float, bool]) -> dict[str, Any]:
    of_boxes, number, sure = drawn
    return {"boxes": of_boxes, "classes": [*range(len(of_boxes))], "where": [number, -number], "sure": sure}


@given(drawn=samples, data=st.data())
def test_what_is_ingested_is_read_whatever_rows_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], data: st.DataObject
) -> None:
    folder, image = str(tmp_path_factory.mktemp("set")), next(digits("val")).image
    written = [Sample(str(number), image, targets_of(each)) for number, each in enumerate(drawn)]
    write_split(written, folder, name="mine", split="train", classes=(), seed=3, task="mine", fields=FIELDS)
    manifest = read_manifest(folder, "train")
    assert (manifest.task, manifest.fields) == ("mine", FIELDS)
    reader = SplitReader(folder, manifest)
    rows = np.array(data.draw(st.lists(st.integers(0, len(drawn) - 1), max_size=20)), np.int64)
    read = reader.targets(rows)
    stored = reader.targets(np.arange(len(reader)))
    for number, row in enumerate(rows.tolist()):
        assert np.array_equal(read["boxes"][number], stored["boxes"][row])
    everything = [
        (
            stored["boxes"][row].tolist(),
            stored["classes"][row].tolist(),
            *stored["where"][row].tolist(),
            bool(stored["sure"][row]),
        )
        for row in range(len(drawn))
    ]
    expected = [
        (np.array(b, np.float32).reshape(-1, 4).tolist(), [*range(len(b))], n, -n, sure) for b, n, sure in drawn
    ]
    assert sorted(map(str, everything)) == sorted(map(str, expected))
    assert [str(stored[field.name].values.dtype) for field in FIELDS[:2]] == ["float32", "int64"]


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=9), data=st.data())
def test_rows_of_a_ragged_column_are_its_own(counts: list[int], data: st.DataObject) -> None:
    ends = np.cumsum(counts)
    column = Ragged(np.arange(ends[-1]), ends)
    rows = np.array(data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=9)), np.int64)
    taken = take(column, rows)
    assert [taken[i].tolist() for i in range(len(taken))] == [column[row].tolist() for row in rows.tolist()]
    again = from_arrays(arrays_of({"column": taken, "plain": rows}))
    assert np.array_equal(again["column"].values, taken.values)
    assert np.array_equal(again["plain"], rows)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "image"}, "every data set has a column of that name"),
        ({"name": "two words"}, "must be an identifier"),
        ({"name": "x", "dtype": "complex64"}, "'complex64' is none of bool, uint8"),
        ({"name": "x", "shape": (2, 2)}, r"must be \(\) or \(K,\)"),
        ({"name": "x", "kind": "heap"}, "kind='heap' is unknown"),
    ],
)
def test_a_field_that_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TargetField(**{"dtype": "int64"} | wrong)


def test_a_sample_without_one_of_the_targets_is_refused(tmp_path: Path) -> None:
    wrong = [Sample("lonely", next(digits("val")).image, {"label": 1})]
    with pytest.raises(DataError, match="sample lonely has targets label; the set has boxes, classes, where, sure"):
        write_split(wrong, str(tmp_path), name="mine", split="train", classes=(), seed=0, fields=FIELDS)
