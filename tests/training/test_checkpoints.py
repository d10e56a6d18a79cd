"""A checkpoint is whole or refused, and only what was asked for stays."""

import errno
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.small import RUN, assign, few_digits, go, state_at
from transient import failing

from mvlab.data.store import patience
from mvlab.data.store.storage import StoreError
from mvlab.disk import DiskError
from mvlab.durable import partial_name
from mvlab.errors import InvalidValueError
from mvlab.training.checkpoint_files import DIGEST, FILE, CheckpointError
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.checkpoints import REFUSED, Checkpoints, read_checkpoint
from mvlab.training.files import read_epochs
from mvlab.training.state import FORMAT, State, parse_state, write_state


def write(folder: Path, *states: State, keep: CheckpointPolicy | None = None) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep or CheckpointPolicy(last=9), RUN.task)
    for state in states:
        checkpoints.write(state)
    checkpoints.wait()
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Broken ones

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a state": (lambda path: (path / FILE).write_bytes((path / FILE).read_bytes()[:999]), "is truncated"),
    "an empty state": (lambda path: (path / FILE).write_bytes(b""), "is truncated"),
    "no state": (lambda path: (path / FILE).unlink(), "is no whole checkpoint"),
    "no digest": (lambda path: (path / DIGEST).unlink(), "is no whole checkpoint"),
    "half a digest": (lambda path: (path / DIGEST).write_text('{"sha256": "'), "is no whole checkpoint"),
    "another digest": (lambda path: (path / DIGEST).write_text("[]"), "is no whole checkpoint"),
    "a digest without its length": (lambda path: (path / DIGEST).write_text('{"sha256": "0"}'), "is truncated"),
    "an empty folder": (lambda path: (shutil.rmtree(path), path.mkdir()), "is no whole checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_one_is_refused_with_the_reason_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    checkpoints = write(tmp_path, state_at(0, 4), state_at(0, 8), state_at(1, 0, 50.0))
    harm, reason = DAMAGES[damage]
    for name in ("epoch-00001-step-00000000", "epoch-00000-step-00000008"):
        harm(tmp_path / name)
    state, refused = checkpoints.newest()
    assert state is not None
    assert (state.epoch, state.step) == (0, 4)
    assert ["epoch-00001-step-00000000" in refused[0], "epoch-00000-step-00000008" in refused[1]] == [True, True]
    assert len(refused) == 2
    assert all(reason in each for each in refused)


@settings(max_examples=50)
@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    checkpoints = write(folder, state_at(0, 4))
    file = checkpoints.path_of(0, 4) / FILE
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << bit
    file.write_bytes(content)
    state, (refused,) = checkpoints.newest()
    assert state is None
    assert "sha256 has changed" in refused


def sealed(path: Path, content: Any) -> None:
    """Saves something as a checkpoint whose digest is right."""
    path.mkdir(parents=True)
    torch.save(content, path / FILE)
    saved = (path / FILE).read_bytes()
    described = {"bytes": len(saved), "sha256": hashlib.sha256(saved).hexdigest(), "metrics": {}}
    (path / DIGEST).write_text(json.dumps(described))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Even if its digest is right: whoever can write one can write the other."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "executed").touch, ())

    path = tmp_path / "epoch-00000-step-00000001"
    sealed(path, {"format": FORMAT, "model": Evil()})
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value), "torch's message advises to execute it"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"format": 1, "weights": torch.zeros(2)}, f"has format 1; this version of mvlab reads {FORMAT}"),
        ({"format": FORMAT, "model": {}}, "cannot be read as a checkpoint"),
        ({"model": {}}, "cannot be read as a checkpoint"),
        ([1, 2], "cannot be read as a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_of_this_version_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "epoch-00000-step-00000001"
    sealed(path, content)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(path)


def test_one_of_another_version_is_not_passed_over(tmp_path: Path) -> None:
    """It is whole: a run that began anew instead, or went back behind it, would lose what it holds."""
    checkpoints = write(tmp_path, state_at(0, 4))
    sealed(tmp_path / "epoch-00000-step-00000008", {"format": 1})
    with pytest.raises(CheckpointError, match="has format 1"):
        checkpoints.newest()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """All of a checkpoint's file."""
    return write_state(state_at(0, 4), tmp_path_factory.mktemp("content") / FILE)


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_broken_in_a_file_is_refused_as_that(content: bytes, data: st.DataObject) -> None:
    """Before its digest is looked at, or where there is none: no other error escapes."""
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(len(content), start + 99)))
    broken = content[:start] + data.draw(st.binary(max_size=9)) + content[end:]
    with suppress(CheckpointError):
        parse_state(broken[: data.draw(st.integers(0, 2 * len(content)))], Path(FILE))


# Not broken, but not to be read just now

TRANSIENT = [errno.ESTALE, errno.EMFILE, errno.EACCES, errno.EIO]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a store that does not answer again without a pause, and give up soon."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "SECONDS_OF_PATIENCE", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", TRANSIENT)
@pytest.mark.parametrize("name", [DIGEST, FILE, "checkpoints"])
def test_an_error_that_passes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    checkpoints = write(tmp_path / "checkpoints", state_at(0, 4), state_at(0, 8))
    failed = failing(monkeypatch, number, name)
    state, refused = checkpoints.newest()
    assert state is not None
    assert (state.step, refused, failed()) == (8, [], 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", [DIGEST, FILE, "checkpoints"])
def test_an_error_that_stays_ends_the_attempt_and_touches_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    job = assign(tmp_path / "run", few_digits(tmp_path / "data"), keep=CheckpointPolicy(every_steps=1))
    assert not go(job, stop_at=3)
    before = names(job.folder.checkpoints)
    with monkeypatch.context() as broken:
        failing(broken, errno.ESTALE, name, times=None)
        with pytest.raises(StoreError, match=r"cannot be read.*tried again for"):
            go(job)
    assert names(job.folder.checkpoints) == before
    assert not go(job, stop_at=1)
    assert "resumes with epoch 1, step 4" in job.folder.progress.read_text()


def test_too_little_memory_says_nothing_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own error is a RuntimeError."""
    checkpoints = write(tmp_path, state_at(0, 4))
    monkeypatch.setattr(torch, "load", lambda *_, **__: torch.empty(1 << 60, dtype=torch.uint8))
    with pytest.raises(MemoryError, match=FILE):
        checkpoints.newest()


def test_the_best_is_not_pruned_for_an_error_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = CheckpointPolicy(last=1, best=1)
    checkpoints = write(tmp_path, state_at(1, 0, 90.0), state_at(2, 0, 10.0), keep=keep)
    failing(monkeypatch, errno.ESTALE, DIGEST)
    checkpoints.write(state_at(3, 0, 20.0))
    with pytest.raises(OSError, match="Stale"):
        checkpoints.wait()
    write(tmp_path, state_at(4, 0, 30.0), keep=keep)
    assert names(tmp_path) == ["epoch-00001-step-00000000", "epoch-00004-step-00000000"]


# Written whole or not at all


@pytest.mark.parametrize("when", ["training.checkpoints.write_state", "durable.sync"])
def test_one_whose_writing_broke_off_is_never_taken_and_the_next_one_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    checkpoints = write(tmp_path, state_at(0, 4))

    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(f"mvlab.{when}", break_off)
        checkpoints.write(state_at(0, 8))
        with pytest.raises(OSError, match="No space left"):
            checkpoints.wait()
    assert names(tmp_path) == ["epoch-00000-step-00000004"], "nothing lies there half-written"
    (tmp_path / partial_name("epoch-00000-step-00000008")).mkdir()  # as a process leaves it that is killed
    state, refused = checkpoints.newest()
    assert state is not None
    assert (state.step, refused) == (4, [])
    write(tmp_path, state_at(0, 12))
    assert names(tmp_path) == ["epoch-00000-step-00000004", "epoch-00000-step-00000012"]


def test_an_error_of_the_writer_ends_the_run_and_not_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.ENOSPC, FILE, times=None, mode="w")
    job = assign(tmp_path / "run", few_digits(tmp_path / "data"), keep=CheckpointPolicy(every_steps=1))
    with pytest.raises(DiskError, match=r"run on .* cannot be written to: No space left on device \(.* bytes are free"):
        go(job)
    assert read_epochs(job.folder.epochs) == [], "within its first epoch"


def test_a_broken_one_is_replaced_when_the_run_comes_there_again(tmp_path: Path) -> None:
    checkpoints = write(tmp_path, state_at(0, 4), state_at(0, 8))
    DAMAGES["half a state"][0](checkpoints.path_of(0, 8))
    write(tmp_path, state_at(0, 8))
    state, refused = checkpoints.newest()
    assert state is not None
    assert (state.step, refused) == (8, [])
    assert len(names(tmp_path)) == 2


# Which stay


@settings(max_examples=40)
@given(
    tops=st.lists(st.sampled_from([10.0, 20.0, 30.0, math.nan, None]), min_size=1, max_size=8),
    last=st.integers(1, 3),
    best=st.integers(0, 3),
)
def test_the_last_and_the_best_stay(
    tmp_path_factory: pytest.TempPathFactory, tops: list[float | None], last: int, best: int
) -> None:
    """None stands for one within an epoch, which has no metric, NaN for one of no sample. Of equals the later one is
    the better."""
    folder = tmp_path_factory.mktemp("keep")
    states = [state_at(epoch, 3 if top1 is None else 0, top1 or 99.0) for epoch, top1 in enumerate(tops)]
    write(folder, *states, keep=CheckpointPolicy(last=last, best=best))
    order = sorted((top1, epoch) for epoch, top1 in enumerate(tops) if top1 is not None and not math.isnan(top1))
    kept = {*range(len(tops))[-last:], *(epoch for _, epoch in order[len(order) - min(best, len(order)) :])}
    assert names(folder) == [states[epoch].name for epoch in sorted(kept)]


def test_what_a_run_went_back_behind_does_not_count_among_the_last(tmp_path: Path) -> None:
    """Else a broken one would push out those that are whole, and the run could begin anew. It is kept, too."""
    keep = CheckpointPolicy(last=1, best=0)
    checkpoints = write(tmp_path, state_at(0, 4), state_at(0, 8), state_at(0, 12))
    for step in (8, 12):
        DAMAGES["half a state"][0](checkpoints.path_of(0, step))
    checkpoints.set_aside(checkpoints.newest()[0])
    checkpoints = write(tmp_path, state_at(0, 6), keep=keep)
    state, refused = checkpoints.newest()
    assert state is not None
    assert (state.step, refused) == (6, [])
    one, *others = names(tmp_path)
    assert one == state.name
    assert [name[: len(REFUSED) + len(one)] for name in others] == [
        f"{REFUSED}epoch-00000-step-{step:08d}" for step in (8, 12)
    ]


def test_what_lies_beyond_is_never_pruned(tmp_path: Path) -> None:
    """Whoever wrote it."""
    write(tmp_path, state_at(0, 8), state_at(0, 12))
    write(tmp_path, state_at(0, 4), keep=CheckpointPolicy(last=1, best=0))
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize(
    "wrong", [{"every_steps": 0}, {"every_minutes": 0.0}, {"last": 0}, {"best": -1}, {"every_steps": -3}]
)
def test_what_cannot_be_kept_is_refused(wrong: dict[str, Any]) -> None:
    (field,) = wrong
    with pytest.raises(InvalidValueError, match=f"`{field}` {wrong[field]}"):
        CheckpointPolicy(**wrong)
