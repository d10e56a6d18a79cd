"""Refusals of weights."""

from collections.abc import Sequence

from mvlab.errors import UserError


class WeightsError(UserError, ValueError):
    """Weights that cannot be read, written or recognised. The message says why, and what to do."""


def few(names: Sequence[str], most: int = 3) -> str:
    """Return at most so many of the `names`, and the number of the others: a network has hundreds."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
