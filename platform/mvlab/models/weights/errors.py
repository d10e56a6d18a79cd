"""Refusals of weights."""

from collections.abc import Sequence

from mvlab.errors import UserError

NAMES_SHOWN = 3


class WeightsError(UserError, ValueError):
    """Weights that cannot be read, written or recognised. The message says why, and what to do."""


def few(names: Sequence[str]) -> str:
    """Return some of the `names`, and the number of the others: a network has hundreds."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
