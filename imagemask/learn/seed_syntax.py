"""The syntax of the seeds' configuration files: INI with values that are Python literals, and comments after ; or #.

Nothing is evaluated: what is no literal is an error, but for names of OpenCV's constants, which stay text. Section and
key are as ``configparser`` reads them: keys in any case, ``=`` or ``:`` between key and value, a value whose brackets
are open goes on in the next line.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imagemask.errors import InputError

_SECTION = re.compile(r"\[([^\[\]]+)\]")
_KEY = re.compile(r"([^=:]*)[=:](.*)")
_CONSTANT = re.compile(r"cv2(\.[A-Za-z_]\w*)+")
_PIECE = re.compile(r"""(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<comment>[;#].*)|(?P<other>.)""")
_MISSED_COMMA = re.compile(r"(?<=\d)\.\s+(?=[\d\-])")
_MISSPELT = {
    **dict.fromkeys(("fale", "fals", "flase", "fasle", "falase", "false"), False),
    **dict.fromkeys(("ture", "tru", "treu", "trua", "true"), True),
    "none": None,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value, and its line, from 1; ``repaired`` says how a misspelt value was read, or is empty."""

    section: str
    key: str
    value: Any
    line: int
    repaired: str = ""


def entries(text: str, *, place: str) -> Iterator[Entry]:
    """The keys of a configuration, in order; ``place`` is what errors call it.

    Raises InputError with the line for what is neither a section nor a key, and for a value that is no literal.
    """
    section = ""
    lines = enumerate(text.split("\n"), start=1)
    for number, raw in lines:
        line, at = _uncommented(raw), f"{place}:{number}"
        if not line:
            continue
        if found := _SECTION.fullmatch(line):
            section = found[1].strip()
            continue
        found = _KEY.fullmatch(line)
        if not found or not found[1].strip():
            raise InputError(f"{at}: {line!r} is neither a [section] nor `key = value`", remedy="Correct the line")
        if not section:
            raise InputError(
                f"{at}: {found[1].strip()} stands before the first [section]", remedy="Put it into a section"
            )
        key, value = found[1].strip().lower(), found[2].strip()
        while _depth(value) > 0:
            more = next(lines, None)
            if more is None:
                raise InputError(f"{at}: [{section}] {key}: a bracket is never closed", remedy="Close it")
            value = f"{value} {_uncommented(more[1])}"
        yield _entry(section, key, value, number, place)


def _entry(section: str, key: str, text: str, line: int, place: str) -> Entry:
    try:
        return Entry(section, key, _literal(text), line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    if _CONSTANT.fullmatch(text):
        return Entry(section, key, text, line)
    if text.lower() in _MISSPELT:
        meant = _MISSPELT[text.lower()]
        return Entry(section, key, meant, line, f"{text} is read as {meant}, which was meant")
    commas = _MISSED_COMMA.sub(", ", text)
    try:
        meant = _literal(commas)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        shown = text if len(text) < 80 else f"{text[:77]}..."
        raise InputError(
            f"{place}:{line}: [{section}] {key} = {shown}: not a Python literal",
            remedy="Text stands in quotes; else a number, True, False, None, or these in (), [] or {}",
        ) from None
    return Entry(section, key, meant, line, f"{text} is read as {meant}, which was meant")


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a backslash in a path, as Windows writes them
        return ast.literal_eval(text)


def _uncommented(line: str) -> str:
    """The line without a comment and without spaces around it; ; and # inside quotes are kept."""
    kept = []
    for piece in _PIECE.finditer(line):
        if piece["comment"] is not None:
            break
        kept.append(piece[0])
    return "".join(kept).strip()


def _depth(text: str) -> int:
    """How many brackets are open at the end of ``text``, those inside quotes left out."""
    others = "".join(piece[0] for piece in _PIECE.finditer(text) if piece["other"] is not None)
    return sum(others.count(one) for one in "([{") - sum(others.count(one) for one in ")]}")
