"""Times measured on a Mac by `export/on_device_latency.py`, or typed in from a phone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvlab.errors import UserError

FORMAT = "mvlab.latency/1"
TEXTS = ("device", "os", "compute_units")
EXAMPLE = '{"package": "mobilevit-xs-2,2,2-256", "median_ms": 7.28, "repeats": 100}'


class LatencyError(UserError, ValueError):
    """Measurements that cannot be used. The message names the error, its place and the remedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDevice:
    """Content of a results file."""

    device: str
    os: str
    compute_units: str
    repeats: int
    """Smallest number of repeats of all packages."""
    ms: Mapping[str, float]
    """Median milliseconds for one image, by package name."""


def read_on_device(path: Path) -> OnDevice:
    """Read a results file.

    Raises:
        LatencyError: the file cannot be read, or is not of FORMAT.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatencyError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise LatencyError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LatencyError(
            f'{path} has no "format": "{FORMAT}"; `mvlab latency script` writes the program that makes such a file'
        )
    for key in TEXTS:
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise LatencyError(f'{path}: "{key}" is {content.get(key)!r}: say what was measured on, as text')
    entries = content.get("measurements")
    if not isinstance(entries, list) or not entries:
        raise LatencyError(f'{path}: "measurements" is no list of at least one entry like {EXAMPLE}')
    for number, entry in enumerate(entries):
        _require_entry(entry, f"{path}: measurements[{number}]")
    names = [entry["package"] for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise LatencyError(f"{path}: {', '.join(sorted(twice))} is measured twice: keep one of them")
    return OnDevice(
        **{key: content[key] for key in TEXTS},
        repeats=min(entry["repeats"] for entry in entries),
        ms={entry["package"]: float(entry["median_ms"]) for entry in entries},
    )


def _require_entry(entry: Any, where: str) -> None:
    if not isinstance(entry, dict) or entry.keys() != {"package", "median_ms", "repeats"}:
        raise LatencyError(f"{where} is {entry!r}: write it like {EXAMPLE}")
    if not isinstance(entry["package"], str):
        raise LatencyError(f"{where}: package is {entry['package']!r}: write the package's name without .mlpackage")
    ms, repeats = entry["median_ms"], entry["repeats"]
    if not isinstance(ms, int | float) or isinstance(ms, bool) or not 0 < ms < float("inf"):
        raise LatencyError(f"{where}: median_ms is {ms!r}: milliseconds are a number above 0")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise LatencyError(f"{where}: repeats is {repeats!r}: a whole number above 0 is needed")
