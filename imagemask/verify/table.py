"""What can be checked with nothing but manifest.csv: its form, its cells, its keys, and that no patient is divided."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from imagemask.errors import InputError
from imagemask.manifest import COLUMNS, key_of
from imagemask.names import is_identifier
from imagemask.types import SPLITS
from imagemask.verify.findings import Finding, found

if TYPE_CHECKING:
    import pandas as pd

LEVELS = ("patient", "group", "case")
"""What a split can keep whole. Patients and groups are never divided, but where a split by case was asked for."""

_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_VARIANT = re.compile(r"([a-z0-9.-]+(\+[a-z0-9.-]+)*)?")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Table:
    """A manifest as text, and the line of the file at which each row begins."""

    frame: pd.DataFrame
    lines: Sequence[int]


def read(path: Path) -> tuple[Table | None, list[Finding]]:
    """The manifest at ``path``, every cell as text; None and what is wrong where it is no manifest's table, or empty.

    Raises InputError where there is no such file, or the system does not let it be read.
    """
    import pandas as pd

    try:
        lines, wrong = _shape(path)
        if wrong:
            return None, wrong
        frame = pd.read_csv(path, dtype=str, na_filter=False, skip_blank_lines=False, lineterminator="\n")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no manifest", remedy="Build a dataset: imagemask build NAME") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", remedy="Check its permissions") from error
    return Table(frame, lines), []


def check(table: Table, *, kept_whole: str = "patient") -> list[Finding]:
    """All that is wrong with the rows themselves. ``kept_whole`` is the column that the split must not divide."""
    return [
        *_cells(table),
        *_consistent(table),
        *_keys(table),
        *_splits(table),
        *_divided(table, LEVELS if kept_whole != "case" else ("case",)),
        *_unassigned(table),
    ]


def _shape(path: Path) -> tuple[list[int], list[Finding]]:
    """The line at which each row begins; and why the file at ``path`` is not a manifest's table."""
    with path.open("rb") as file:
        if file.readline().endswith(b"\r\n"):
            return [], [found("IM001", "the lines end in CR LF, not LF", line=1)]
        if file.seek(0, 2) and file.seek(-1, 2) and file.read() != b"\n":
            return [], [found("IM001", "the last line is cut off", line=path.read_bytes().count(b"\n") + 1)]
    with path.open(encoding="utf-8", newline="") as text:
        try:
            return _rows(text)
        except UnicodeDecodeError:
            return [], [_not_utf8(path.read_bytes())]


def _rows(text: TextIO) -> tuple[list[int], list[Finding]]:
    reader = csv.reader(text, strict=True)
    lines: list[int] = []
    try:
        header = next(reader, [])
        if wrong := _header(header):
            return [], [found("IM002", wrong, line=1)]
        begin = reader.line_num + 1
        for row in reader:
            if len(row) != len(header):
                return [], [found("IM001", f"{len(row)} cells in a row, {len(header)} in the header", line=begin)]
            lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        return [], [found("IM001", str(error), line=reader.line_num)]
    return lines, [] if lines else [found("IM025", "there is a header, and no row", line=1)]


def _not_utf8(data: bytes) -> Finding:
    marked = data.decode("utf-8", errors="surrogateescape")
    place = next(at for at, letter in enumerate(marked) if "\udc80" <= letter <= "\udcff")
    return found("IM001", "a byte is not UTF-8", line=marked.count("\n", 0, place) + 1)


def _header(columns: Sequence[str]) -> str:
    """Why these are not the columns of a manifest; empty where they are."""
    if missing := [column for column in COLUMNS if column not in columns]:
        return f"there is no column {', '.join(missing)}"
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        return f"more than one column {', '.join(repeated)}"
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        return f"the columns stand in another order than {', '.join(COLUMNS)}"
    return ""


def _is_whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def _is_size(text: str) -> bool:
    return _is_whole(text) and text != "0"


def _is_length(text: str) -> bool:
    """Whether ``text`` is empty or a positive number of millimetres, as Python writes it."""
    return not text or (_NUMBER.fullmatch(text) is not None and 0 < float(text) < math.inf)


def _are_classes(text: str) -> bool:
    parts = text.split(" ") if text else []
    return all(map(_is_size, parts)) and [*map(int, parts)] == sorted({*map(int, parts)})


def _are_four(text: str) -> bool:
    parts = text.split(" ")
    return len(parts) == 4 and all(map(_is_whole, parts))


_CELLS: dict[str, tuple[Callable[[str], bool], str]] = {
    "dataset": (bool, "a name"),
    "case": (is_identifier, "a name that every file system takes, in Unicode's form NFC"),
    "slice": (_is_whole, "a whole number"),
    "variant": (lambda text: _VARIANT.fullmatch(text) is not None, "a variant such as crop40, fliph or rot-5"),
    "height": (_is_size, "a number of pixels"),
    "width": (_is_size, "a number of pixels"),
    "spacing_y": (_is_length, "a number of millimetres"),
    "spacing_x": (_is_length, "a number of millimetres"),
    "source_height": (_is_size, "a number of pixels"),
    "source_width": (_is_size, "a number of pixels"),
    "box": (_are_four, "y0 x0 y1 x1"),
    "pad": (_are_four, "top left bottom right"),
    "foreground": (_is_whole, "a number of pixels"),
    "classes": (_are_classes, "class ids in ascending order"),
    "source_sha256": (lambda text: not text or _HASH.fullmatch(text) is not None, "a SHA-256 or nothing"),
    "digest": (lambda text: _HASH.fullmatch(text) is not None, "a SHA-256"),
}


def _where(table: Table, columns: Sequence[str], good: Callable[..., bool]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Position and cells of each row whose ``columns`` are not ``good``; cells that recur are judged once."""
    judge = good if {"key", "digest"} & set(columns) else cache(good)
    rows = zip(*(table.frame[column].tolist() for column in columns), strict=True)
    return ((position, cells) for position, cells in enumerate(rows) if not judge(*cells))


def _cells(table: Table) -> Iterator[Finding]:
    for column, (good, what) in _CELLS.items():
        for position, (cell,) in _where(table, [column], good):
            yield found("IM003", f"{column} is {cell!r}, not {what}", line=table.lines[position])


def _consistent(table: Table) -> Iterator[Finding]:
    """Cells that contradict others of their row."""
    for position, cells in _where(table, ["box", "source_height", "source_width"], _box_fits):
        yield found("IM003", f"box {cells[0]} is not within {cells[1]}x{cells[2]}", line=table.lines[position])
    for position, cells in _where(table, ["pad", "height", "width"], _pad_fits):
        yield found("IM003", f"pad {cells[0]} leaves nothing of {cells[1]}x{cells[2]}", line=table.lines[position])
    for position, cells in _where(table, ["foreground", "classes"], _foreground_has_classes):
        message = f"foreground is {cells[0]} and classes are {cells[1]!r}"
        yield found("IM003", message, line=table.lines[position])


def _box_fits(box: str, height: str, width: str) -> bool:
    if not (_are_four(box) and _is_size(height) and _is_size(width)):
        return True  # said elsewhere
    y0, x0, y1, x1 = map(int, box.split(" "))
    return y0 < y1 <= int(height) and x0 < x1 <= int(width)


def _pad_fits(pad: str, height: str, width: str) -> bool:
    if not (_are_four(pad) and _is_size(height) and _is_size(width)):
        return True
    top, left, bottom, right = map(int, pad.split(" "))
    return top + bottom < int(height) and left + right < int(width)


def _foreground_has_classes(foreground: str, classes: str) -> bool:
    return not _is_whole(foreground) or (foreground != "0") == bool(classes)


def _keys(table: Table) -> Iterator[Finding]:
    def fits(key: str, case: str, index: str, variant: str) -> bool:
        return not _is_whole(index) or key == key_of(case, int(index), variant)

    for position, cells in _where(table, ["key", "case", "slice", "variant"], fits):
        wanted = key_of(cells[1], int(cells[2]), cells[3])
        yield found("IM004", f"the key is {cells[0]!r}, the row says {wanted!r}", line=table.lines[position])
    keys = table.frame["key"].tolist()
    yield from _twice(keys, table.lines)
    for position in range(1, len(keys)):
        if keys[position] < keys[position - 1]:
            message = f"{keys[position]!r} stands after {keys[position - 1]!r}"
            yield found("IM006", message, line=table.lines[position])


def _twice(keys: Sequence[str], lines: Sequence[int]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        earlier = first.setdefault(key.casefold(), position)
        if earlier != position:
            message = f"{key!r} is {keys[earlier]!r} of line {lines[earlier]} again"
            yield found("IM005", message, line=lines[position])


def _splits(table: Table) -> Iterator[Finding]:
    for position, (cell,) in _where(table, ["split"], lambda text: text in ("", *SPLITS)):
        message = f"split is {cell!r}, not {', '.join(SPLITS)} or nothing"
        yield found("IM007", message, line=table.lines[position])
    for position, (cell,) in _where(table, ["fold"], lambda text: not text or _is_whole(text)):
        yield found("IM007", f"fold is {cell!r}, not a number or nothing", line=table.lines[position])


def _divided(table: Table, levels: Iterable[str]) -> Iterator[Finding]:
    """One finding for each unit that stands in several splits; a case of a divided patient is not said again."""
    frame = table.frame[[*LEVELS, "split"]]
    frame = frame[frame["split"].isin(SPLITS)]
    for level in levels:
        named = frame[frame[level] != ""]
        splits = named.drop_duplicates([level, "split"])
        divided = splits[splits.duplicated(level)].drop_duplicates(level)
        again = named[named[level].isin(divided[level])]
        pairs = {unit: rows.value_counts().sort_index() for unit, rows in again.groupby(level)["split"]}
        for position, unit in zip(divided.index, divided[level], strict=True):
            places = ", ".join(f"{split} ({count} pairs)" for split, count in pairs[unit].items())
            yield found("IM008", f"{level} {unit!r} stands in {places}", line=table.lines[position])
        frame = frame[~frame[level].isin(divided[level])]


def _unassigned(table: Table) -> Iterator[Finding]:
    blank = table.frame.index[table.frame["split"] == ""]
    if len(blank) == len(table.frame):
        return
    for position, patient in zip(blank, table.frame["patient"][blank], strict=True):
        message = f"patient {patient!r} has no split" if patient else "the pair has no split"
        yield found("IM009", message, line=table.lines[position])
