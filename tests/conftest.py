"""Paths, and what several tests share."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

SHARED_DATA = Path(os.environ.get("MVLAB_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Small pieces of the real sets; tests that need them skip where they are not."""
