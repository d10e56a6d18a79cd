"""How much memory a benchmark takes at its peak."""

import threading

import psutil

SECONDS_BETWEEN_SAMPLES = 0.2


class PeakMemory:
    """The most that this process and Ray's workers held together, while `watching`."""

    def __init__(self) -> None:
        self.watching, self.peak_mb = False, 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_SAMPLES):
            if self.watching:
                self.peak_mb = max(self.peak_mb, resident_mb())


def resident_mb() -> float:
    """Of this process and of Ray's workers; pages that they share are counted for each."""
    total = psutil.Process().memory_info().rss
    for process in psutil.process_iter(["name", "cmdline", "memory_info"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::"):
            total += process.info["memory_info"].rss
    return float(total / 1e6)
