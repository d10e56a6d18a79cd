"""What a person sees: read back from a pseudo-terminal, as its screen would show it."""

import os
import pty
import re
import threading
from dataclasses import dataclass
from fcntl import ioctl
from io import StringIO
from struct import pack
from termios import TIOCSWINSZ

import pytest

from mvlab.sweep.console import Console

COLUMNS = 60


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Terminal:
    """A terminal of COLUMNS columns that shows what was written to it."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, pack("HHHH", 24, COLUMNS, 0, 0))
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while some := os.read(self._ours, 4096):
                self._written += some
        except OSError:  # EIO: the other side is closed
            return

    def screen(self) -> list[str]:
        """Its lines once everything is written, the last one unfinished."""
        self.stream.close()
        self._reader.join(10)
        os.close(self._ours)
        lines = [""]
        for part in re.findall(r"\r\n|\r|\x1b\[K|[^\r\x1b]+", self._written.decode()):
            match part:
                case "\r\n":
                    lines.append("")
                case "\r":
                    column = 0
                case "\x1b[K":
                    lines[-1] = lines[-1][:column]
                case text:
                    lines[-1] += text
        assert all(len(line) <= COLUMNS for line in lines if "long" not in line), "a row would wrap"
        return lines


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_on_a_terminal_the_latest_progress_stays_below_all_that_is_said(terminal: Terminal) -> None:
    clock = Clock()
    console = Console(terminal.stream, clock)
    console.say("a | starting its workers")
    for step in (1, 2, 3):
        clock.now_s += 1
        console.progress("a", f"epoch 1/2 step {step}/9 | loss 2.{step}")
    console.say("b | starting its workers")
    console.progress("b", "epoch 1/2 step 1/9 | short")
    assert terminal.screen() == [
        "[0:00] a | starting its workers",
        "[0:03] b | starting its workers",
        "[0:03] b | epoch 1/2 step 1/9 | short",
    ]


def test_what_a_run_says_takes_the_place_of_its_progress_but_not_of_anothers(terminal: Terminal) -> None:
    console = Console(terminal.stream, Clock())
    console.progress("a", "epoch 1/2 step 8/9 | x")
    console.say("a | epoch 1/2 done")
    console.progress("a b", "epoch 1/2 step 7/9 | x")
    console.say("a | exported")
    assert terminal.screen() == [
        "[0:00] a | epoch 1/2 done",
        "[0:00] a | exported",
        "[0:00] a b | epoch 1/2 step 7/9 | x",
    ]


def test_progress_is_cut_to_a_row_what_stays_is_not(terminal: Terminal) -> None:
    console = Console(terminal.stream, Clock())
    for step in (1, 2):
        console.progress("a", f"epoch 1/2 step {step}/9 | {'x' * 200}")
    console.say("a long line" + 200 * "y")
    for step in (3, 4):
        console.progress("a", f"epoch 1/2 step {step}/9 | {'x' * 200}")
    screen = terminal.screen()
    assert len(screen) == 2
    assert screen[0].endswith(200 * "y")
    assert screen[1].startswith("[0:00] a | epoch 1/2 step 4/9 | xxx")
    assert len(screen[1]) == COLUMNS - 1
    assert screen[1].endswith("x…")


def test_a_closed_console_leaves_an_empty_line(terminal: Terminal) -> None:
    console = Console(terminal.stream, Clock())
    console.progress("a", "epoch 1/2 step 1/9 | x")
    console.close()
    console.close()
    terminal.stream.write("measuring latency\n")
    assert terminal.screen() == ["measuring latency", ""]


def test_in_a_log_every_run_tells_of_progress_every_five_seconds() -> None:
    log, clock = StringIO(), Clock()
    console = Console(log, clock)
    for second in range(12):
        for name in ("a", "b"):
            console.progress(name, f"epoch 1/2 step {second}/99 |")
        if second == 3:
            console.say("a | checkpoint refused")
            console.say("a | checkpoint refused")
        clock.now_s += 1
    console.close()
    assert log.getvalue().splitlines() == [
        "[0:00] a | epoch 1/2 step 0/99 |",
        "[0:00] b | epoch 1/2 step 0/99 |",
        "[0:03] a | checkpoint refused",
        "[0:03] a | checkpoint refused",
        "[0:05] a | epoch 1/2 step 5/99 |",
        "[0:05] b | epoch 1/2 step 5/99 |",
        "[0:10] a | epoch 1/2 step 10/99 |",
        "[0:10] b | epoch 1/2 step 10/99 |",
    ]


def test_a_terminal_that_cannot_go_back_is_written_to_like_a_log(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(terminal.stream, Clock())
    console.progress("a", "epoch 1/2 step 1/9 | x")
    console.progress("a", "epoch 1/2 step 2/9 | x")
    console.say("a | done")
    assert terminal.screen() == ["[0:00] a | epoch 1/2 step 1/9 | x", "[0:00] a | done", ""]


def test_threads_do_not_mix_their_lines(terminal: Terminal) -> None:
    console = Console(terminal.stream, Clock())

    def talk(name: str) -> None:
        for step in range(50):
            console.progress(name, f"epoch 1/2 step {step}/50 | x")
            console.say(f"{name} | said {step}")

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.close()
    expected = sorted(f"[0:00] {name} | said {step}" for name in "abcd" for step in range(50))
    *said, last = terminal.screen()
    assert sorted(said) == expected
    assert last == ""
