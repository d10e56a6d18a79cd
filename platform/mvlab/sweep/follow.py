"""Shows lines that other processes append to files, as they come."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def follow(logs: Mapping[Path, str], say: Callable[[str], None]) -> Iterator[None]:
    """While inside, says every new whole line of each file, after the name it goes by."""
    done = threading.Event()
    read = dict.fromkeys(logs, 0)

    def look() -> None:
        for path, name in logs.items():
            if path.exists():
                with path.open(encoding="utf-8") as file:
                    file.seek(read[path])
                    new = file.read()
                whole = new[: new.rfind("\n") + 1]
                read[path] += len(whole.encode())
                for line in whole.splitlines():
                    say(f"{name} | {line}")

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
