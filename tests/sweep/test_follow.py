"""Lines of other processes are told once, whole, and only those that are new."""

import time
from pathlib import Path
from typing import Any

import pytest

from mvlab.sweep import follow as module
from mvlab.sweep.follow import follow


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.01)


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_what_an_earlier_attempt_said_is_not_said_again(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    append(old, "epoch 1\nepoch 2\ncut by a cra")
    said: list[tuple[str, str]] = []
    with follow({old: "a", new: "b"}, lambda name, line: said.append((name, line))):
        append(new, "begins\n")
        append(old, "goes on — at epoch 2\n")
    assert sorted(said) == [("a", "goes on — at epoch 2"), ("b", "begins")]


def test_a_line_is_said_once_and_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said: list[str] = []
    with follow({log: "a"}, lambda _, line: said.append(line)):
        for part in ("one\ntw", "o …", " three\n", "never ends"):
            append(log, part)
            time.sleep(0.1)
    assert said == ["one", "two … three"]


def test_what_comes_last_is_said_before_we_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 3600)
    log, said = tmp_path / "log", list[str]()
    with pytest.raises(KeyboardInterrupt), follow({log: "a"}, lambda _, line: said.append(line)):  # noqa: PT012
        append(log, "last words\n")
        raise KeyboardInterrupt
    assert said == ["last words"]


def test_files_that_do_not_grow_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = {tmp_path / f"{index}": f"run {index}" for index in range(9)}
    for path in logs:
        append(path, "of an earlier attempt\n")
    opened: list[Path] = []
    real = Path.open

    def counted(path: Path, mode: str = "r", **how: Any) -> Any:
        if "b" in mode:
            opened.append(path)
        return real(path, mode, **how)

    monkeypatch.setattr(Path, "open", counted)
    said: list[str] = []
    with follow(logs, lambda name, _: said.append(name)):
        time.sleep(0.1)
        append(tmp_path / "3", "a line\n")
        time.sleep(0.1)
    assert said == ["run 3"]
    assert opened == [tmp_path / "3"]
