"""How a value refuses what it cannot be."""

import difflib
from collections.abc import Iterable


def require(condition: bool, message: str) -> None:
    """Raises a ValueError that says `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def require_one_of(what: str, name: str, known: Iterable[str]) -> None:
    """Raises a ValueError that says what `known` is, the nearest first, unless `name` is among it."""
    known = list(known)
    require(name in known, f"{what}={name!r} is unknown{did_you_mean(name, known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error about an unknown `name`: what may be meant, and all that there is."""
    known = list(known)
    nearest = [each for each in known if each.startswith(name)] or difflib.get_close_matches(
        name, known, n=1, cutoff=0.3
    )
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    return f"{hint} There are {', '.join(map(repr, known))}"
