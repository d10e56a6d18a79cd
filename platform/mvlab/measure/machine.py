"""Name of the machine that a time was measured on, and the threads that it uses."""

import os
import platform
from pathlib import Path

import psutil
import torch


def machine_name() -> str:
    """Return processor, threads and torch, e.g. "Intel Xeon (2 threads, torch 2.13.0)"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{processor} ({threads} thread{'s' * (threads > 1)}, torch {torch.__version__.partition('+')[0]})"


def device_name(device: str) -> str:
    """Return the name of the GPU and of its torch, or of the machine."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()} (torch {torch.__version__.partition('+')[0]})"
    return machine_name()


def use_threads(number: int | None) -> int:
    """Let torch use this number of CPU threads, or every core available to this process; return the number."""
    if number is None:
        use_all_cores()
    else:
        torch.set_num_threads(number)
    return torch.get_num_threads()


def use_all_cores() -> None:
    """Let torch use every core available to this process. Ray gives the driver of a submitted job only one."""
    process = psutil.Process()
    torch.set_num_threads(len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1)
