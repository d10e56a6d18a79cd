"""Shows lines that other processes append to files, as they come."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def follow(logs: Mapping[Path, str], say: Callable[[str, str], None]) -> Iterator[None]:
    """Say, while inside, every whole line that each file gets, with the name it goes by; not what it had before.

    A file that did not grow is not opened: there is one for each run of a sweep.
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
    """Return its bytes, 0 while it is not there."""
    return path.stat().st_size if path.exists() else 0
