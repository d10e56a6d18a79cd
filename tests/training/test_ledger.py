"""A ledger finds the first step at which two runs part, and says nothing else."""

import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvlab.data.feed.batch import Batch
from mvlab.training.ledger import (
    KINDS,
    Entry,
    Ledger,
    LedgerError,
    first_difference,
    ledger_path,
    read_ledger,
)

STEPS = tuple(itertools.product(range(3), range(4)))
"""(epoch, step) of a run."""

steps = st.sampled_from(STEPS)
Taken = tuple[Batch, Tensor, dict[str, Tensor]]


def taken(epoch: int, step: int) -> Taken:
    """What a run has at a step: the same whenever it comes there."""
    draw = np.random.default_rng((epoch, step))
    batch = Batch(step, draw.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8), {"label": draw.integers(0, 9, 2)})
    weights = {
        "conv.weight": torch.from_numpy(draw.normal(size=(3, 2, 3, 3)).astype(np.float32)),
        "head.bias": torch.from_numpy(draw.normal(size=5)),
        "norm.count": torch.tensor(step),
    }
    return batch, torch.tensor(float(draw.normal())), weights


def keep(folder: Path, positions: Sequence[tuple[int, int]], take: Callable[[int, int], Taken] = taken) -> Path:
    """A ledger of a run that begins at the first position and does all."""
    ledger = Ledger(folder, 0, epoch=positions[0][0], step=positions[0][1])
    for position in positions:
        ledger.record(*position, *take(*position))
    ledger.close()
    return ledger.path


def entries(positions: Sequence[tuple[int, int]], take: Callable[[int, int], Taken] = taken) -> list[Entry]:
    with tempfile.TemporaryDirectory() as folder:
        return read_ledger(keep(Path(folder), positions, take))


WHOLE = entries(STEPS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return keep(tmp_path, STEPS)


def bits_of(taken: Taken) -> dict[str, np.ndarray]:
    """All that is recorded, by name, as bytes that can be changed in place."""
    batch, loss, weights = taken
    arrays = {"pixels": batch.pixels, "labels": batch.targets["label"], "loss": loss.numpy()}
    arrays |= {name: tensor.numpy() for name, tensor in weights.items()}
    return {name: array.reshape(-1).view(np.uint8) for name, array in arrays.items()}


flips = st.sampled_from([(name, 8 * array.size) for name, array in bits_of(taken(0, 0)).items()]).flatmap(
    lambda each: st.tuples(st.just(each[0]), st.integers(0, each[1] - 1))
)


@given(where=steps, what=flips)
def test_any_flipped_bit_is_found_at_its_step_with_its_kind(where: tuple[int, int], what: tuple[str, int]) -> None:
    name, bit = what

    def take(epoch: int, step: int) -> Taken:
        values = taken(epoch, step)
        if (epoch, step) == where:
            bits_of(values)[name][bit // 8] ^= 1 << bit % 8
        return values

    other = entries(STEPS, take)
    found = first_difference(WHOLE, other)
    assert found is not None
    kind = {"pixels": "batch", "labels": "batch", "loss": "loss"}.get(name, "weights")
    assert ((found.epoch, found.step), found.kind, found.num_same) == (where, kind, STEPS.index(where))
    assert (found.a, found.b) == (WHOLE[found.num_same], other[found.num_same])
    assert WHOLE[found.num_same].chain != other[found.num_same].chain
    back = first_difference(other, WHOLE)
    assert back is not None
    assert (back.a, back.b, back.kind) == (found.b, found.a, kind)


def test_the_same_run_has_the_same_ledger(tmp_path: Path) -> None:
    contents = {keep(tmp_path / name, STEPS).read_bytes() for name in "ab"}
    assert len(contents) == 1
    assert first_difference(WHOLE, list(WHOLE)) is None
    assert [entry.position for entry in WHOLE] == list(STEPS)


@given(kinds=st.sets(st.sampled_from(["batch", "loss", "weights"]), min_size=1), where=st.integers(0, len(STEPS) - 1))
def test_the_first_kind_is_named_when_several_differ(kinds: set[str], where: int) -> None:
    def other(entry: Entry) -> Entry:
        values = {kind: getattr(entry, kind) + ("'" if kind in kinds else "") for kind in ("batch", "loss", "weights")}
        return Entry(entry.epoch, entry.step, chain="", **values)

    found = first_difference(WHOLE, WHOLE[:where] + [other(entry) for entry in WHOLE[where:]])
    assert found is not None
    assert (found.kind, found.num_same) == (min(kinds, key=list(KINDS).index), where)


@given(missing=st.sets(st.integers(0, len(STEPS) - 1), min_size=1))
def test_the_first_missing_step_is_named(missing: set[int]) -> None:
    rest = [entry for index, entry in enumerate(WHOLE) if index not in missing]
    first = min(missing)
    for a, b in ((WHOLE, rest), (rest, WHOLE)):
        found = first_difference(a, b)
        assert found is not None
        assert (found.kind, found.num_same, (found.epoch, found.step)) == ("missing", first, STEPS[first])
        assert (found.a, found.b) == ((WHOLE[first], None) if a is WHOLE else (None, WHOLE[first]))


@given(killed_after=st.integers(0, len(STEPS)), goes_on_at=st.integers(0, len(STEPS)), cut=st.integers(0, 400))
def test_a_killed_run_that_goes_on_leaves_the_bytes_of_one_that_was_not(
    killed_after: int, goes_on_at: int, cut: int
) -> None:
    """It goes on at a checkpoint, before which all was recorded; the kill cut off what it liked of the rest."""
    goes_on_at = min(goes_on_at, killed_after)
    with tempfile.TemporaryDirectory() as folder:
        path = ledger_path(Path(folder), 0)
        whole = keep(Path(folder), STEPS).read_bytes()
        lines = whole.splitlines(keepends=True)
        needed = sum(map(len, lines[: 1 + goes_on_at]))
        written = sum(map(len, lines[: 1 + killed_after]))
        path.write_bytes(whole[: max(needed, written - cut)])
        position = [*STEPS, (3, 0)][goes_on_at]
        ledger = Ledger(Path(folder), 0, epoch=position[0], step=position[1])
        for step in STEPS[goes_on_at:]:
            ledger.record(*step, *taken(*step))
        ledger.close()
        assert path.read_bytes() == whole
        assert list(Path(folder).iterdir()) == [path]


@given(cut=st.integers(1, 400))
def test_a_ledger_that_was_cut_short_is_read_up_to_there(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = keep(Path(folder), STEPS)
        content = path.read_bytes()[:-cut]
        path.write_bytes(content)
        assert read_ledger(path) == WHOLE[: content.count(b"\n") - 1]


@pytest.mark.parametrize("kept", [0, 1, 5])
@pytest.mark.parametrize("gap", [1, 3, 6])
def test_steps_without_a_ledger_are_missing_and_it_begins_anew(tmp_path: Path, kept: int, gap: int) -> None:
    if kept:
        keep(tmp_path, STEPS[:kept])
    for _ in range(2):  # going on twice at one place is as once
        path = keep(tmp_path, STEPS[kept + gap :])
        lines = path.read_text().splitlines()
        begins = [json.loads(line) for line in lines if '"begin"' in line]
        # An epoch's length is in no ledger: what goes on at the next one's start may follow.
        follows = bool(kept) and gap + STEPS[kept - 1][1] < 4 and STEPS[kept + gap][1] == 0
        assert [(each["epoch"], each["step"]) for each in begins] == [
            *([STEPS[0]] if kept else []),
            *([] if follows else [STEPS[kept + gap]]),
        ]
        again = read_ledger(path)
        assert [entry.position for entry in again] == [*STEPS[:kept], *STEPS[kept + gap :]]
        found = first_difference(WHOLE, again)
        assert found is not None
        assert (found.kind, (found.epoch, found.step)) == ("missing", STEPS[kept])


def test_a_run_from_the_start_leaves_nothing_of_what_was_there(tmp_path: Path, file: Path) -> None:
    whole = file.read_bytes()
    keep(tmp_path, STEPS[6:])
    assert keep(tmp_path, STEPS).read_bytes() == whole


@given(at=st.integers(0), change=st.integers(1, 255))
def test_any_changed_byte_is_found_in_its_line(at: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = keep(Path(folder), STEPS)
        content = bytearray(path.read_bytes())
        at %= len(content) - 1  # without its end the last line is one that was cut short
        line = 1 + content[:at].count(b"\n")
        content[at] ^= change
        path.write_bytes(content)
        with pytest.raises(LedgerError, match=rf"ledger-rank0\.jsonl, line {line} .*\. Copy the ledger again"):
            read_ledger(path)


@given(line=st.integers(0, len(STEPS) - 1))
def test_a_line_that_was_taken_out_or_moved_is_found(line: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = keep(Path(folder), STEPS)
        lines = path.read_bytes().splitlines(keepends=True)
        moved = [*lines[:line], lines[line + 1], lines[line], *lines[line + 2 :]]
        for content in (lines[:line] + lines[line + 1 :], moved, [*lines[: line + 1], *lines[line:]]):
            path.write_bytes(b"".join(content))
            with pytest.raises(LedgerError, match="line"):
                read_ledger(path)


@pytest.mark.parametrize("line", ["", "[]", "{}", "7", '[["epoch", 1]]', "\x00", '{"begin":2,"epoch":0,"step":0}'])
def test_other_files_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ledger-rank0.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(LedgerError, match="line 1 is no line of a ledger"):
        read_ledger(path)


def test_a_run_does_not_go_on_from_a_ledger_that_was_changed(tmp_path: Path, file: Path) -> None:
    changed = file.read_bytes().replace(WHOLE[5].loss.encode(), WHOLE[6].loss.encode())
    file.write_bytes(changed)
    with pytest.raises(LedgerError, match="line 7 does not fit"):
        Ledger(tmp_path, 0, epoch=2, step=0)
    assert file.read_bytes() == changed
    Ledger(tmp_path, 0, epoch=1, step=0).close()  # what is dropped may be anything
    assert read_ledger(file) == WHOLE[:4]


def test_a_step_is_recorded_once_and_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 3, epoch=1, step=2)
    for before in ((1, 1), (0, 9)):
        with pytest.raises(ValueError, match=r"is not after what the ledger holds; next is \(1, 2\)"):
            ledger.record(*before, *taken(*before))
    ledger.record(1, 2, *taken(1, 2))
    with pytest.raises(ValueError, match="is not after"):
        ledger.record(1, 2, *taken(1, 2))
    ledger.record(2, 0, *taken(2, 0))
    assert [entry.position for entry in read_ledger(tmp_path / "ledger-rank3.jsonl")] == [(1, 2), (2, 0)]


def test_a_step_is_in_the_file_when_record_returns(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0, epoch=0, step=0)
    for index, position in enumerate(STEPS):
        ledger.record(*position, *taken(*position))
        assert read_ledger(ledger.path) == WHOLE[: index + 1]
