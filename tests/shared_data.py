"""Where the small pieces of the real sets are; tests that need them skip where they are not."""

import os
from pathlib import Path

SHARED_DATA = Path(os.environ.get("MVLAB_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
