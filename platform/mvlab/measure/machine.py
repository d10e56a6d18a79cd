"""The name of the machine that a time was measured on."""

import platform
from pathlib import Path

import torch


def machine_name() -> str:
    """Processor, threads and torch, e.g. "Intel Xeon (2 threads, torch 2.13.0)"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return f"{processor} ({torch.get_num_threads()} threads, torch {torch.__version__.partition('+')[0]})"
