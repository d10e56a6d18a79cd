"""Peak memory of a benchmark."""

import threading

import psutil

SECONDS_BETWEEN_SAMPLES = 1.0


class PeakMemory:
    """Peak memory of this process and Ray's workers together. Sampling takes CPU time from them."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
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
            self.peak_mb = max(self.peak_mb, resident_mb())


def resident_mb() -> float:
    """Return the resident memory of this process and Ray's workers. Shared pages count once."""
    total = psutil.Process().memory_full_info().pss
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::"):
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
    return float(total / 1e6)
