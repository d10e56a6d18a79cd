"""Numbers of objects in a split, from its index."""

import numpy as np
import pyarrow as pa

from mvlab.data.sources.objects import BOXES, CROWD
from mvlab.data.store.schema import column_of
from mvlab.targets import ragged


def count_objects(index: pa.Table) -> dict[str, int]:
    """Return the numbers of objects, of crowds among them, and of images without any; empty for other sets."""
    if not {BOXES.name, CROWD.name} <= {*index.column_names}:  # boxes alone are of another task
        return {}
    crowd = ragged(column_of(index, CROWD))
    return {
        "objects": len(crowd.values),
        "crowds": int(np.count_nonzero(crowd.values)),
        "images_without_objects": int(np.count_nonzero(np.diff(crowd.ends, prepend=0) == 0)),
    }
