"""What a sweep says to people: on a terminal one line that is kept up to date, in a log a line now and then."""

import os
import threading
import time
from collections.abc import Callable
from typing import TextIO

SECONDS_BETWEEN_LINES = 5.0
"""Of the progress of one run, in a log."""
ERASE = "\r\x1b[K"
"""Puts the cursor at the beginning of the line, and empties the line."""


class Console:
    """Says lines after the time since it was made; threads may share it."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._started = clock()
        self._lock = threading.Lock()
        self._name = self._line = ""
        """Whose progress the terminal's last line shows, and as what; empty while it shows none."""
        self._next_s: dict[str, float] = {}
        """By run: when its progress may be told of again in a log."""

    def say(self, text: str) -> None:
        """A line that stays; progress is shown below it, unless the line begins with the name that it is of."""
        with self._lock:
            if text.startswith(f"{self._name} |"):
                self._name = self._line = ""
            erased = ERASE if self._is_terminal else ""
            self._write(f"{erased}{self._stamped(text)}\n{self._fitting(self._line)}")

    def progress(self, name: str, line: str) -> None:
        """How far the run `name` is: takes the place of what any run said of this before."""
        with self._lock:
            text = self._stamped(f"{name} | {line}")
            if self._is_terminal:
                self._name, self._line = name, text
                self._write(f"{ERASE}{self._fitting(text)}")
            elif self._clock() >= self._next_s.get(name, 0.0):
                self._next_s[name] = self._clock() + SECONDS_BETWEEN_LINES
                self._write(f"{text}\n")

    def close(self) -> None:
        """Takes the progress off the terminal: whoever writes next begins a line."""
        with self._lock:
            if self._line:
                self._name = self._line = ""
                self._write(ERASE)

    def _stamped(self, text: str) -> str:
        elapsed = int(self._clock() - self._started)
        return f"[{elapsed // 60}:{elapsed % 60:02d}] {text}"

    def _fitting(self, line: str) -> str:
        """As much of it as the terminal shows in one row: only that can be taken back."""
        if not line:
            return ""
        columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        return line if len(line) < columns else f"{line[: columns - 2]}…"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
