"""The cases of a raw folder, as every command sees them: in order, and each under a name that it can be written to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagemask.errors import InputError
from imagemask.types import Case, Generator, Options

_FORBIDDEN = set('/\\~%:*?"<>|')


def discover(generator: Generator, raw: Path, options: Options) -> list[Case]:
    """What ``generator`` finds below ``raw``, sorted by id.

    Raises InputError where there is nothing, where an id cannot be a file name, or where two cases would be written
    under one name on a file system that does not tell capitals.
    """
    cases = sorted(generator.discover(raw, options), key=lambda case: case.id)
    if not cases:
        raise InputError(f"{raw}: holds no case", remedy=f"imagemask check {generator.SOURCE}")
    for reason in problems(cases):
        raise InputError(f"{raw}: {reason}", remedy="Rename the file that it comes from")
    return cases


def problems(cases: list[Case]) -> Iterator[str]:
    """Why cases cannot be written side by side, a sentence each."""
    seen: dict[str, str] = {}
    for case in cases:
        if not case.id or case.id.startswith(".") or _FORBIDDEN.intersection(case.id) or not case.id.isprintable():
            yield f"{case.id!r} cannot be a file name"
        if (folded := case.id.casefold()) in seen:
            yield f"{seen[folded]!r} and {case.id!r} would be written under one name"
        seen[folded] = case.id
