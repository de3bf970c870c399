"""The cases of a raw folder, as every command sees them: in order, and each under a name that it can be written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from imagemask import names
from imagemask.errors import CaseError, InputError
from imagemask.types import Case, Generator, Options


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
        if not names.is_identifier(case.id):
            yield f"{case.id!r} cannot be a file name"
        if (folded := case.id.casefold()) in seen:
            yield f"{seen[folded]!r} and {case.id!r} would be written under one name"
        seen[folded] = case.id


def relative(path: Path, raw: Path) -> str:
    """``path`` as the manifest names it: relative to the raw folder where it lies below it, with forward slashes.

    Bytes of a name that are no text are written in hexadecimal, after a backslash and an x.
    """
    if not path.is_absolute():
        return path.as_posix()
    inside = str(path).startswith(f"{raw}{os.sep}")  # a series has hundreds of files: is_relative_to is slow
    name = str(path)[len(str(raw)) + 1 :] if inside else path.name
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def inputs(case: Case, raw: Path) -> dict[Path, str]:
    """Each file of ``case`` and what the manifest calls it.

    Raises CaseError where a name is not text, as some systems allow: no table could hold it.
    """
    found = {path: relative(path, raw) for path in (*case.images, *case.masks)}
    for path, written in found.items():
        if not str(path).endswith(written):  # it was escaped
            reason = f"the name {written} is not UTF-8"
            raise CaseError("undecodable_name", reason, file=path, remedy="Rename the file")
    return found
