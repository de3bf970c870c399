"""What is wrong with a configuration, for a person to act on: file, line, key, value, and the nearest valid one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from imagemask.errors import InputError, UsageError
from imagemask.learn import toml

_REMEDY = "docs/training.md lists the keys"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of a configuration stand: the file, the line of each key, and what the file itself calls it."""

    place: str
    lines: Mapping[toml.Key, int] = field(default_factory=dict)
    names: Mapping[toml.Key, str] = field(default_factory=dict)

    def line(self, path: toml.Key) -> int | None:
        """The line of a key, else that of the table or array around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)

    def at(self, path: toml.Key) -> str:
        """``file:line``."""
        line = self.line(path)
        return self.place if line is None else f"{self.place}:{line}"

    def name(self, path: toml.Key) -> str:
        """The key as the file calls it."""
        return self.names.get(path, dotted(path))


def complain(
    error: ValidationError,
    tree: Mapping[str, Any],
    known: Iterable[toml.Key],
    origin: Origin,
    options: Mapping[toml.Key, str],
) -> InputError | UsageError:
    """What to raise for a ``tree`` that is not valid: a UsageError where a command-line option is at fault.

    ``known`` are the valid keys; ``options`` are the paths in ``tree`` that the command line set, and their options.
    """
    known = list(known)
    found: list[tuple[int, str]] = []
    for one in error.errors():
        path = _blamed(one, tree)
        option = next((options[path[:n]] for n in range(len(path), 0, -1) if path[:n] in options), None)
        unknown = f"{origin.name(path)} is no key. {nearest_key(path, known)}"
        if option:
            reason = unknown if one["type"] == "extra_forbidden" else _reason(one)
            return UsageError(f"{option} {_inside(tree, path)!r}: {reason}")
        text = f"{origin.name(path)}{_value(_inside(tree, path))}: {_reason(one)}"
        text = unknown if one["type"] == "extra_forbidden" else text
        found.append((origin.line(path) or 0, f"{origin.at(path)}: {text}" if origin.place else text))
    return InputError("; ".join(text for _, text in sorted(found)), remedy=_REMEDY)


def nearest_key(path: toml.Key, known: Iterable[toml.Key]) -> str:
    """Which valid key was meant by one that is none: of the same name elsewhere, else one spelt much like it."""
    *table, name = path
    known = list(known)
    for one in known:
        if one[-1] == name:
            return f"It belongs {_where(one)}"
    here = sorted(str(one[-1]) for one in known if one[:-1] == tuple(table))
    if near := closest(str(name), here):
        return f"Did you mean {near}?"
    if near := closest(str(name), sorted({str(one[-1]) for one in known})):
        return f"Did you mean {dotted(next(one for one in known if one[-1] == near))}?"
    return f"There are {', '.join(here)}"


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that is spelt most like ``name``; "" where none is much like it."""
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[near[0]] if near else ""


def dotted(path: toml.Key) -> str:
    """A path as people write it: ``data.sizes[1]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _where(path: toml.Key) -> str:
    table = dotted(path[:-1])
    return f"into the table [{table}]" if table else "to the top, before the first table"


def _blamed(error: ErrorDetails, tree: Mapping[str, Any]) -> toml.Key:
    """The key at fault. A rule about several keys of a table names them in its message: the first that was given is."""
    path = error["loc"]
    table = _inside(tree, path)
    if error["type"] == "value_error" and isinstance(table, Mapping):
        for word in re.findall(r"\w+", error["msg"]):
            if word in table:
                return (*path, word)
    return path


def _inside(tree: Any, path: toml.Key) -> Any:
    for part in path:
        inside = isinstance(tree, Mapping) and part in tree
        within = isinstance(tree, tuple) and isinstance(part, int) and part < len(tree)
        if not inside and not within:
            return None
        tree = tree[part]
    return tree


def _value(one: Any) -> str:
    if one is None or isinstance(one, Mapping):
        return ""
    try:
        return f" = {toml.value(one)}"
    except TypeError:
        return f" = {one}"


def _reason(error: ErrorDetails) -> str:
    if error["type"] in ("model_type", "model_attributes_type"):
        return "must be a table"
    if error["type"] == "tuple_type":
        return "must be a list"
    reason = error["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    if error["type"] == "literal_error":
        near = closest(str(error["input"]), re.findall(r"'([^']*)'", error.get("ctx", {}).get("expected", "")))
        return f"{reason}. Did you mean {toml.value(near)}?" if near else reason
    return reason
