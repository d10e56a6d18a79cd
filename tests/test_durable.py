"""A file is what it was or what was written, wherever the writer stops; a line is whole or left out."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.durable import append_line, atomic_folder, atomic_write, partial_name, read_json_lines
from mvlab.record.journal import Event, Journal

CALLS = ("fsync", "replace")


def write_file(path: Path) -> None:
    atomic_write(path, "new")


def write_folder(path: Path) -> None:
    with atomic_folder(path) as folder:
        (folder / "a").write_text("new")


def content_of(path: Path) -> str:
    return (path / "a" if path.is_dir() else path).read_text()


@contextmanager
def failing(call: str, number: int) -> Iterator[list[int]]:
    """Inside, the call of `os` with this number (from 0) fails; yields how many there were."""
    original, calls = getattr(os, call), [0]

    def instead(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] - 1 == number:
            raise OSError(28, "No space left on device")
        return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, instead)
        yield calls


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, write: Callable[[Path], None], call: str) -> None:
    path, number = tmp_path / "it", 0
    while True:
        if write is write_folder:
            path.mkdir(exist_ok=True)
        (path / "a" if path.is_dir() else path).write_text("old")
        with failing(call, number) as calls:
            try:
                write(path)
                failed = False
            except OSError:
                failed = True
        assert content_of(path) in (("old", "new") if failed else ("new",))
        assert [each.name for each in tmp_path.iterdir()] == ["it"], "nothing unfinished is left"
        if calls[0] <= number:
            break
        number += 1


def test_a_write_that_is_interrupted_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "it"
    write_folder(path)

    def interrupted() -> None:
        with atomic_folder(path) as folder:
            (folder / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert content_of(path) == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_another_writer_made_meanwhile_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "it", replace=False) as folder:
        (folder / "a").write_text("slower")
        write_folder(tmp_path / "it")
    assert content_of(tmp_path / "it") == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["it"]


def test_names_of_unfinished_files_differ_between_processes_with_one_id() -> None:
    """Pods on shared storage have equal process ids, and often equal host names."""
    assert len({partial_name("digits") for _ in range(100)}) == 100


FULL_DISK = """
import resource, sys
from pathlib import Path
from mvlab.record.journal import Event, Journal
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + int(sys.argv[2]), resource.RLIM_INFINITY))
Journal(path).append(Event(run="b", kind="end", status="FINISHED"))
"""


@pytest.mark.parametrize("room", [0, 1, 40, -1], ids=["none", "one byte", "some", "all but the newline"])
def test_an_event_that_only_partly_fits_is_an_error_and_the_next_is_whole(tmp_path: Path, room: int) -> None:
    """The system takes as many bytes as fit, and tells their number instead of an error."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="b", kind="end", status="FINISHED"))
    room = journal.path.stat().st_size - 1 if room < 0 else room
    said = subprocess.run([sys.executable, "-c", FULL_DISK, str(journal.path), str(room)], stderr=subprocess.PIPE)
    assert b"OSError" in said.stderr
    journal.append(Event(run="c", kind="end", status="FAILED"))
    assert [event.run for event in journal.events()] == ["b", "c"]


@given(lines=st.lists(st.tuples(st.integers(), st.booleans()), max_size=8))
def test_lines_that_were_torn_are_left_out_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "it"
    for value, is_torn in lines:
        append_line(path, str(value))
        if is_torn:
            os.truncate(path, path.stat().st_size - 1)
    assert list(read_json_lines(path)) == [value for value, is_torn in lines if not is_torn]
