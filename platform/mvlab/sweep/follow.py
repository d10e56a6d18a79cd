"""Follow files that other processes append lines to."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def follow(logs: Mapping[Path, str], say: Callable[[str, str], None]) -> Iterator[None]:
    """Inside the context, call `say(name, line)` for every complete line that a file gets. Earlier lines are skipped.

    `logs`: file -> name. A file that did not grow is not opened, since a sweep has a file for each run.
    """
    done = threading.Event()
    read = {path: _size(path) for path in logs}

    def look() -> None:
        for path, name in logs.items():
            if _size(path) > read[path]:
                with path.open("rb") as file:
                    file.seek(read[path])
                    new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                read[path] += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    say(name, line)

    def work() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            look()
        look()

    thread = threading.Thread(target=work, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it is missing."""
    return path.stat().st_size if path.exists() else 0
