"""Who is in a picture: a table that says so, and names that are spelt in several ways."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from imagemask.errors import InputError
from imagemask.types import Case

COLUMNS = ["file", "patient"]
_REMEDY = "A line is FILE,PATIENT, below the header file,patient; a file has one patient"


def read_table(path: Path) -> dict[str, str]:
    """The patient of each file that a CSV with the columns ``file,patient`` names, without spaces around them.

    Raises InputError, with the line, for a table that cannot be read, a line that is not two printable texts, and a
    file that is given two patients.
    """
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            if [_plain(cell).casefold() for cell in next(rows, [])] != COLUMNS:
                raise InputError(f"{path}: the header is not file,patient", remedy=_REMEDY)
            for row in rows:
                if row and not _add(row, found):
                    raise InputError(f"{path}: line {rows.line_num} is {','.join(row)!r}", remedy=_REMEDY)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or a path that no file can have
        raise InputError(f"{path}: cannot be read: {error}", remedy=_REMEDY) from error
    return found


def row_of(table: Mapping[str, str], place: Path) -> str:
    """What a table calls the file at ``place``, a path below the raw folder: that, its name or its stem; "" if not."""
    said = (_plain(text) for text in (place.as_posix(), place.name, place.stem))
    return next((text for text in said if text in table), "")


def folded(cases: Iterable[Case]) -> list[Case]:
    """The cases with patients in small letters: JHX and jhx are one, and who is not spelt as before is flagged so."""
    spellings: dict[str, str] = {}
    found = []
    for case in cases:
        same = spellings.setdefault(case.patient.casefold(), case.patient) == case.patient
        flags = case.flags if same else (*case.flags, "patient_spelling")
        found.append(replace(case, patient=case.patient.casefold(), flags=flags))
    return found


def _add(row: list[str], found: dict[str, str]) -> bool:
    """Note what a line says; False where it says nothing, or something else than an earlier one."""
    file, patient = map(_plain, row) if len(row) == 2 else ("", "")
    usable = bool(file and patient) and f"{file}{patient}".isprintable()
    return usable and found.setdefault(file, patient) == patient


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
