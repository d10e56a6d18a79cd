"""What weights can be refused for."""

from collections.abc import Sequence

NAMES_SHOWN = 3


class WeightsError(ValueError):
    """Weights that cannot be read, written or understood; the message says why, and what to do."""


def few(names: Sequence[str]) -> str:
    """Some of the `names`, and how many more there are: a network has hundreds."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
