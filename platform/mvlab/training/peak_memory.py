"""Peak memory of a run in a process that does one run after the other."""

import ctypes
import platform
import resource
from contextlib import suppress
from pathlib import Path

import torch

PEAK_MEMORY = Path("/proc/self/clear_refs")
RESET_THE_PEAK = "5"
"""Number that, written to PEAK_MEMORY, sets the peak of a process's memory to what it has now (Linux, proc(5))."""


def begin_anew(device: torch.device) -> None:
    """Give back memory that was freed and kept, and forget the peak so far.

    Where that is impossible, peaks are those of all runs in this process.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # not Linux, or a container that forbids it
        PEAK_MEMORY.write_text(RESET_THE_PEAK)


def memory_metrics(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process since `begin_anew`, in GB (1e9 bytes): of the machine, and of its GPU.

    MLflow shows metrics that begin with "system/" in a tab of its own.
    """
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB on Linux
    metrics = {"system/max_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    if device.type == "cuda":
        metrics["system/gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return metrics
