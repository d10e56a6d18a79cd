"""`@compiled`: by numba, once on a machine, and again whenever one of the compiled files changes.

Numba's own cache looks at the file of a function alone, and would go on using what that once called in another.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit

F = TypeVar("F", bound=Callable[..., Any])
_FILES = ("retile_kernels", "tile_decode", "tile_entropy", "tile_header", "tile_pixels", "tile_resize")


def _cache_folder() -> Path:
    """Named by what is compiled: beside it, or where numba is told to, or the user's if nobody may write there."""
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in _FILES)).hexdigest()[:16]
    beside = here if os.access(here, os.W_OK) else Path.home() / ".cache" / "mvlab"
    settings: Any = config
    return Path(settings.CACHE_DIR or beside / "__pycache__") / f"kernels-{digest}"


_FOLDER = str(_cache_folder())


def compiled(function: F) -> F:
    """Without the interpreter's lock, so that threads run side by side."""
    settings: Any = config
    before, settings.CACHE_DIR = settings.CACHE_DIR, _FOLDER
    try:
        result: Any = njit(cache=True, nogil=True)(function)
    finally:
        settings.CACHE_DIR = before
    return cast(F, result)
