"""Progress: one line that updates on a terminal, one line every few seconds in a log."""

import sys
import time

SECONDS_BETWEEN_LINES = 5.0


class ProgressLine:
    """Progress of a long command, on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._next_s = 0.0
        self._width = 0

    def show(self, text: str, *, last: bool = False) -> None:
        """Replace the line by `text`. A log gets a line once in a while, and the last one always."""
        if self._is_terminal:
            end = "\n" if last else ""
            print(f"\r{text.ljust(self._width)}", end=end, file=sys.stderr, flush=True)
            self._width = len(text)
        elif last or time.monotonic() >= self._next_s:
            print(text, file=sys.stderr, flush=True)
            self._next_s = time.monotonic() + SECONDS_BETWEEN_LINES
