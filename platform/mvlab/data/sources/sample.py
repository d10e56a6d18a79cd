"""What a source yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, and its targets."""

    key: str
    """Unique within the set, e.g. the source file's name."""
    image: bytes
    """Encoded: JPEG, PNG or whatever else Pillow reads."""
    targets: Mapping[str, Any]
    """Field name -> value, as `TargetField` describes it."""
