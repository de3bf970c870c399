"""Text of other people put into YAML and Markdown so that it stays text, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])")
_AT_THE_BEGINNING = re.compile(r"^(?:(?P<mark>[#+=~-])|(?P<number>\d+)(?P<dot>[.)]))")
_TICKS = re.compile(r"`+")


def scalar(text: str) -> str:
    """A text as a double-quoted YAML scalar of one line (YAML 1.2, 5.7 and 7.3.1)."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def prose(text: str) -> str:
    """A text as one line of Markdown, in a paragraph, an item or a cell: no markup, no HTML, no second line."""
    plain = _SPECIAL.sub(r"\\\g<0>", _line(text))
    return _AT_THE_BEGINNING.sub(_harmless, plain)


def _harmless(begin: re.Match[str]) -> str:
    return f"\\{begin['mark']}" if begin["mark"] else f"{begin['number']}\\{begin['dot']}"


def code(text: str) -> str:
    """A text as a code span of Markdown, in a cell of a table, too; "" for nothing."""
    plain = _line(text)
    ticks = "`" * (max(map(len, _TICKS.findall(plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{pad}{plain.replace('|', chr(92) + '|')}{pad}{ticks}" if plain else ""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table of Markdown; its cells are Markdown already. A column of numbers is aligned to the right."""
    body = [[str(cell) for cell in row] for row in rows]
    numbers = [bool(body) and all(row[place].isdigit() for row in body) for place in range(len(header))]
    rule = ["---:" if number else "---" for number in numbers]
    return [f"| {' | '.join(line)} |" for line in [list(header), rule, *body]]


def _line(text: str) -> str:
    """Without line breaks and without what is not to be seen."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
