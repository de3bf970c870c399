"""What the values of the seeds' configuration files must be. Each reader raises ValueError that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from imagemask.learn.complaints import closest


def one_of(table: Mapping[str, str]) -> Callable[[Any], str]:
    """A reader of one of the names in ``table``, which gives what stands there for it."""

    def read(value: Any) -> str:
        name = text(value)
        if name not in table:
            near = closest(name, table)
            raise ValueError(f"must be one of {', '.join(table)}" + (f". Did you mean {near}?" if near else ""))
        return table[name]

    return read


def text(value: Any) -> str:
    """Text."""
    _demand(isinstance(value, str), "text in quotes")
    return str(value)


def truth(value: Any) -> bool:
    """True or False."""
    _demand(isinstance(value, bool), "True or False")
    return bool(value)


def whole(value: Any) -> int:
    """A whole number."""
    _demand(isinstance(value, int) and not isinstance(value, bool), "a whole number")
    return int(value)


def number(value: Any) -> float:
    """A number."""
    _demand(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), "a number")
    return float(value)


def numbers(value: Any) -> list[float]:
    """A list of numbers."""
    _demand(isinstance(value, list | tuple), "a list of numbers")
    return [number(one) for one in value]


def names(value: Any) -> list[str]:
    """A list of texts."""
    _demand(isinstance(value, list | tuple), "a list of names in quotes")
    return [text(one) for one in value]


def square(value: Any) -> int:
    """The side of a square: the seeds give it twice, (3, 3)."""
    equal = isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]
    _demand(equal, "two equal whole numbers in brackets, such as (3, 3)")
    return whole(value[0])


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"must be {what}")
