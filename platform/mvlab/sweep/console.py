"""Output of a sweep for people. A terminal shows one line that is kept up to date; a log gets a line now and then."""

import os
import threading
import time
from collections.abc import Callable
from typing import TextIO

SECONDS_BETWEEN_LINES = 5.0
"""Shortest time between two lines on the progress of one run, in a log."""
ERASE = "\r\x1b[K"
"""Control sequence: puts the cursor at the beginning of the line, and empties the line."""


class Console:
    """Prints lines, each after the time since the console's creation. Threads may share it."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._started = clock()
        self._lock = threading.Lock()
        self._name = self._line = ""
        """Run whose progress the terminal's last line shows, and that line; empty while it shows none."""
        self._next_s: dict[str, float] = {}
        """Earliest time of the next line on a run's progress in a log, by run."""

    def say(self, text: str) -> None:
        """Print a line that stays. Progress is shown below it, unless that is of the run the line begins with."""
        with self._lock:
            if text.startswith(f"{self._name} |"):
                self._name = self._line = ""
            erased = ERASE if self._is_terminal else ""
            self._write(f"{erased}{self._stamped(text)}\n{self._fitting(self._line)}")

    def progress(self, name: str, line: str) -> None:
        """Show the progress of the run `name`. A terminal shows it in place of any earlier progress."""
        with self._lock:
            text = self._stamped(f"{name} | {line}")
            if self._is_terminal:
                self._name, self._line = name, text
                self._write(f"{ERASE}{self._fitting(text)}")
            elif self._clock() >= self._next_s.get(name, 0.0):
                self._next_s[name] = self._clock() + SECONDS_BETWEEN_LINES
                self._write(f"{text}\n")

    def close(self) -> None:
        """Remove the progress from the terminal, so that the next output begins a line."""
        with self._lock:
            if self._line:
                self._name = self._line = ""
                self._write(ERASE)

    def _stamped(self, text: str) -> str:
        elapsed = int(self._clock() - self._started)
        return f"[{elapsed // 60}:{elapsed % 60:02d}] {text}"

    def _fitting(self, line: str) -> str:
        """Cut a line to one row of the terminal: only one row can be erased."""
        if not line:
            return ""
        columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        return line if len(line) < columns else f"{line[: columns - 2]}…"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
