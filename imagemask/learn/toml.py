"""TOML beyond ``tomllib``: the line on which each key stands, and documents written from plain values.

Source: the TOML specification, versions 1.0 and 1.1.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Key = tuple[str | int, ...]
"""Where a value lies: names of tables and keys, and numbers of items from 0, from the outside in."""

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t]+ | \#[^\n]*)
    | (?P<newline>\r?\n)
    | (?P<text>\"{3}(?:\\[\s\S]|[^\\])*?\"{3,5} | '{3}[\s\S]*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<sign>[\[\]{}=,.])
    | (?P<bare>[^\s\[\]{}=,.\#"']+)
    """,
    re.VERBOSE,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines(text: str) -> dict[Key, int]:
    """The line, from 1, of every key, table and item of an array in a document that ``tomllib`` has read.

    A table has the line of its header, or of the first key that implies it. Only for a text that ``tomllib`` reads.
    """
    return _Reader(text).document()


def is_toml(text: str) -> bool:
    """Whether a text can be read as TOML."""
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def dumps(document: Mapping[str, Any]) -> str:
    """A TOML document of tables, text, numbers, truth values, and lists or tuples of these; None is left out.

    What ``tomllib`` reads from it equals ``document``, with lists in place of tuples. Raises TypeError for a value of
    another type, and for None in a list.
    """
    return "\n".join(_tables(document, ())).lstrip("\n") + "\n"


def value(one: Any) -> str:
    """A value as TOML, on one line. Raises TypeError for what TOML has no form for, and for None."""
    match one:
        case bool():
            return "true" if one else "false"
        case int():
            return str(one)
        case float():
            return repr(one)
        case str():
            return _quoted(one)
        case list() | tuple():
            return f"[{', '.join(value(item) for item in one)}]"
        case Mapping():
            return f"{{ {', '.join(f'{_key(name)} = {value(item)}' for name, item in one.items())} }}" if one else "{}"
    raise TypeError(f"TOML has no form for {type(one).__name__}: {one!r}")


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner = {name: one for name, one in table.items() if isinstance(one, Mapping)}
    plain = {name: one for name, one in table.items() if one is not None and name not in inner}
    if path and (plain or not inner):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for name, one in plain.items():
        yield f"{_key(name)} = {value(one)}"
    for name, one in inner.items():
        yield from _tables(one, (*path, name))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Reader:
    """Walks through the tokens of a document, and writes down where each key is met."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_TOKEN.finditer(text))
        self.at = 0
        self.line = 1
        self.found: dict[Key, int] = {}
        self.items: dict[Key, int] = {}
        """Arrays of tables, and the number of their last item."""

    def document(self) -> dict[Key, int]:
        table: Key = ()
        while self._skip():
            if self._peek() == "[":
                table = self._header()
            else:
                self._statement(table)
        return self.found

    def _header(self) -> Key:
        """``[a.b]`` or ``[[a.b]]``; the path that the keys below it go on from."""
        line, repeated = self.line, False
        self._next()
        if self._peek() == "[" and self._adjacent():
            repeated = True
            self._next()
        *outer, last = self._path()
        path: Key = ()
        for name in outer:
            path = self._entered((*path, name), line)
        path = (*path, last)
        if repeated:
            self.found.setdefault(path, line)
            self.items[path] = self.items.get(path, -1) + 1
            path = (*path, self.items[path])
        self.found.setdefault(path, line)
        while self._peek() == "]":
            self._next()
        return path

    def _entered(self, path: Key, line: int) -> Key:
        """A table on the way to another: of an array of tables its last item."""
        self.found.setdefault(path, line)
        return (*path, self.items[path]) if path in self.items else path

    def _statement(self, table: Key) -> None:
        """``a.b = value``."""
        line = self.line
        path = table
        for name in self._path():
            path = (*path, name)
            self.found.setdefault(path, line)
        self._next()  # the sign =
        self._value(path)

    def _path(self) -> list[str]:
        """A dotted key; ends before ``=`` or ``]``."""
        names = []
        while (piece := self._peek()) and piece not in ("=", "]"):
            if piece != ".":
                names.append(self._name(piece))
            self._next()
        return names

    def _name(self, piece: str) -> str:
        if piece.startswith('"'):
            return next(iter(tomllib.loads(f"{piece} = 0")))
        return piece[1:-1] if piece.startswith("'") else piece

    def _value(self, path: Key) -> None:
        opening = self._peek()
        if opening == "{":
            self._next()
            while self._skip() and self._peek() != "}":
                self._statement(path)
                self._comma()
            self._next()
        elif opening == "[":
            self._next()
            number = 0
            while self._skip() and self._peek() != "]":
                self.found[*path, number] = self.line
                self._value((*path, number))
                self._comma()
                number += 1
            self._next()
        else:
            while self._peek() not in ("", ",", "]", "}", "\n"):
                self._next()

    def _comma(self) -> None:
        self._skip()
        if self._peek() == ",":
            self._next()

    def _adjacent(self) -> bool:
        return self.tokens[self.at - 1].end() == self.tokens[self.at].start()

    def _peek(self) -> str:
        """The next piece behind spaces and comments; a line's end is a piece, the document's end is none."""
        while self.at < len(self.tokens) and self.tokens[self.at].lastgroup == "space":
            self.at += 1
        piece = self.tokens[self.at][0] if self.at < len(self.tokens) else ""
        return "\n" if piece == "\r\n" else piece

    def _next(self) -> None:
        """Go past the next piece."""
        self.line += self._peek().count("\n")
        self.at += 1

    def _skip(self) -> bool:
        """Go past the ends of lines; whether anything is left."""
        while self._peek() == "\n":
            self._next()
        return bool(self._peek())
