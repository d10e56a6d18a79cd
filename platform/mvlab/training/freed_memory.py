"""Settings for glibc that make a process keep the memory it frees.

Ray Train calls the training function in a thread. Memory that the thread frees, glibc gives back to the kernel; then it
faults in thousands of pages again at every step. glibc reads the settings when a process starts.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}


def missing_here(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that this process, and so those it starts, would not have."""
    return {name: value for name, value in variables.items() if name not in os.environ}


@contextmanager
def inherited(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside the context, processes that this one starts have the variables, unless it has others by that name."""
    added = missing_here(variables)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
