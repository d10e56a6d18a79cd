"""A file system that fails now and then, as a network's does."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def failing(
    monkeypatch: pytest.MonkeyPatch, number: int, name: str, *, times: int | None = 1, mode: str = "r"
) -> Callable[[], int]:
    """Let opening a file, or listing a folder, of this name fail with the error `number`; returns how often it has.

    Args:
        times: how often; None for always.
        mode: opening in another one succeeds.
    """
    failed = 0

    def with_faults(do: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(path: Any, *how: Any, **more: Any) -> Any:
            nonlocal failed
            asked = how[0] if how else more.get("mode", "r")
            is_meant = isinstance(path, str | os.PathLike) and Path(path).name == name and asked.startswith(mode)
            if is_meant and (times is None or failed < times):
                failed += 1
                raise OSError(number, os.strerror(number), str(path))
            return do(path, *how, **more)

        return faulty

    monkeypatch.setattr(io, "open", with_faults(io.open))
    monkeypatch.setattr(os, "listdir", with_faults(os.listdir))
    return lambda: failed
