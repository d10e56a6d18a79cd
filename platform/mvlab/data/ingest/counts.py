"""Numbers of objects in a split, from its index."""

import numpy as np
import pyarrow as pa

from mvlab.data.sources.objects import BOXES, CROWD
from mvlab.data.store.schema import column_of
from mvlab.targets import Ragged


def count_objects(index: pa.Table) -> dict[str, int]:
    """Return the numbers of objects, of crowds among them, and of images without any; empty for a set without boxes."""
    if BOXES.name not in index.column_names:
        return {}
    crowd = column_of(index, CROWD)
    assert isinstance(crowd, Ragged)
    return {
        "objects": len(crowd.values),
        "crowds": int(np.count_nonzero(crowd.values)),
        "images_without_objects": int(np.count_nonzero(np.diff(crowd.ends, prepend=0) == 0)),
    }
