"""`@compiled`: compiled by numba once on a machine, and again whenever one of the compiled files changes.

Numba's own cache checks only the file of a function. It would keep using old code of functions from other files.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

F = TypeVar("F", bound=Callable[..., Any])
_FILES = (
    "codecs/tiled_jpeg/decode",
    "codecs/tiled_jpeg/entropy",
    "codecs/tiled_jpeg/header",
    "codecs/tiled_jpeg/layout",
    "codecs/tiled_jpeg/pixels",
    "codecs/tiled_jpeg/resize",
    "codecs/tiled_jpeg/rewrite_kernels",
    "data/geometry",
    "data/geometry_kernels",
    "models/cpu/norm_silu_kernels",
    "tasks/detection/colour_kernels",
    "tasks/detection/crop",
    "tasks/detection/crop_kernels",
    "tasks/detection/nms_kernels",
)
_HERE = Path(__file__).parent
_SETTINGS: Any = numba.config


@lru_cache(maxsize=1)
def cache_folder() -> str | None:
    """Folder of the compiled code, named by all that it depends on; None where nothing can be written."""
    parts = [(_HERE / f"{name}.py").read_bytes() for name in _FILES]
    machine = [numba.__version__, get_host_cpu_name(), get_host_cpu_features().flatten()]
    digest = hashlib.sha256(b"".join([*parts, *(text.encode() for text in machine)])).hexdigest()[:16]
    for place in _places():
        folder = place / f"kernels-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return str(folder)
    return None


def _places() -> Iterator[Path]:
    """Candidates for the cache: numba's own setting, beside the source, this user's folder for temporary files."""
    if _SETTINGS.CACHE_DIR:
        yield Path(_SETTINGS.CACHE_DIR)
    yield _HERE / "__pycache__"
    own = Path(tempfile.gettempdir()) / f"mvlab-{os.getuid()}"
    with suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.stat().st_uid == os.getuid():
            yield own


def compiled(function: F) -> F:
    """Compile to code that releases the interpreter's lock, so that threads run side by side."""
    return _compiled(function)


def compiled_for_threads(function: F) -> F:
    """Compile as `compiled` does. `numba.prange` runs in threads, and products may be added unrounded."""
    return _compiled(function, parallel=True, fastmath={"contract"})


def _compiled(function: F, **options: Any) -> F:
    folder = cache_folder()
    before, _SETTINGS.CACHE_DIR = _SETTINGS.CACHE_DIR, folder or ""
    try:
        result: Any = numba.njit(cache=folder is not None, nogil=True, **options)(function)
    finally:
        _SETTINGS.CACHE_DIR = before
    return cast(F, result)
