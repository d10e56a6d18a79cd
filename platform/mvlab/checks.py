"""Checks of values, with messages that name what is allowed."""

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mvlab.errors import InvalidValueError


def require(condition: bool, message: str) -> None:
    """Raise an InvalidValueError that says `message` unless `condition` holds."""
    if not condition:
        raise InvalidValueError(message)


def require_fields(config: Any) -> None:
    """Raise an InvalidValueError unless every field of a dataclass holds what its annotation says.

    A float is a finite number, an int a whole one; neither is a bool. A Literal is one of its values. Parts of tuples
    and mappings are looked at too.
    """
    for name, hint in _hints(config.__class__).items():
        problem = _mismatch(getattr(config, name), hint)
        require(problem is None, f"{type(config).__name__}: {name}={getattr(config, name)!r} {problem}")


def require_number(
    name: str,
    number: float,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Raise an InvalidValueError that says the bounds unless `number` is within them; NaN never is."""
    bounds = {"above": above, "at least": least, "at most": most, "below": below}
    said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
    require(number > above and number < below and least <= number <= most, f"{name}={number} must be {said}")


def require_one_of(what: str, name: str, known: Iterable[str]) -> None:
    """Raise an InvalidValueError that lists `known`, the nearest name first, unless `name` is among them."""
    known = list(known)
    require(name in known, f"{what}={name!r} is unknown{did_you_mean(name, known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown `name`: the name that may be meant, and all known ones."""
    known = list(known)
    nearest = [each for each in known if each.startswith(name)] or difflib.get_close_matches(
        name, known, n=1, cutoff=0.3
    )
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    return f"{hint} There are {', '.join(map(repr, known))}"


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, without those of its class variables."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _mismatch(value: Any, hint: Any) -> str | None:
    """Return why `value` does not fit the annotation `hint`; None if it does."""
    if isinstance(hint, type):
        return _not_a(hint, value)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return None if value in parts else f"is unknown{did_you_mean(str(value), map(str, parts))}"
    if origin in (Union, types.UnionType):
        problems = [_mismatch(value, part) for part in parts]
        return None if None in problems else problems[0]
    if origin is tuple:
        return _not_a_tuple(parts, value)
    if not isinstance(value, origin):
        return f"is no {origin.__name__}"
    if issubclass(origin, Mapping):
        found = (_mismatch(each, part) for pair in value.items() for each, part in zip(pair, parts, strict=True))
        return next(filter(None, found), None)
    return None


def _not_a(kind: type, value: Any) -> str | None:
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if is_number and math.isfinite(value) else "is no finite number"
    if kind is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "is no whole number"
    if isinstance(value, kind):
        return None
    return f"is no {kind.__name__}" if is_dataclass(kind) else f"is not of type {kind.__name__}"


def _not_a_tuple(parts: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, tuple):
        return "is no tuple"
    if Ellipsis in parts:
        parts = (parts[0],) * len(value)
    if len(value) != len(parts):
        return f"has {len(value)} parts: {len(parts)} are needed"
    return next(filter(None, map(_mismatch, value, parts)), None)
