"""A dataset's manifest, ``manifest.csv``: rows, and the CSV file that holds them. The only truth about a dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask.errors import InputError, UsageError
from imagemask.files import write_atomic
from imagemask.types import Row

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COLUMNS = tuple(field.name for field in dataclasses.fields(Row) if field.name != "extra")
MANIFEST, DATASET, QUARANTINE, SPLIT = "manifest.csv", "dataset.json", "quarantine.csv", "split.csv"
DATASETS = "datasets"
"""The folder of a workspace that holds datasets."""
FRAGMENTS = "fragments"
"""The folder of a dataset that says how the build of each case ended."""
_NUMBERS = {
    "slice": "int64",
    "height": "int64",
    "width": "int64",
    "spacing_y": "float64",
    "spacing_x": "float64",
    "source_height": "int64",
    "source_width": "int64",
    "foreground": "int64",
}
_ROWS_AT_ONCE = 50_000  # what bounds the memory of writing
_SPECIAL = re.compile(r'[,"\r\n]')


def read(dataset: Path) -> pd.DataFrame:
    """The manifest of a dataset folder, a row a pair; an empty text cell is "" and an empty spacing NaN.

    Raises InputError where it is missing, or is not a manifest.
    """
    import pandas as pd

    path = dataset / MANIFEST
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", lineterminator="\n")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no manifest", remedy="Build a dataset: imagemask build NAME") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy="Build it again, or restore it") from error
    missing = [column for column in COLUMNS if column not in text.columns]
    if missing:
        raise InputError(f"{path}: lacks the columns {', '.join(missing)}", remedy="docs/dataset.md lists them")
    # A row that is cut short is filled up by pandas, by its version with NaN or with "".
    short = text["digest"].fillna("").eq("").to_numpy()
    if short.any():
        raise InputError(f"{path}: line {short.argmax() + 2} is cut short", remedy="Build it again, or restore it")
    return _with_numbers(text, path)


def _with_numbers(text: pd.DataFrame, path: Path) -> pd.DataFrame:
    for column, kind in _NUMBERS.items():
        try:
            text[column] = _numbers(text[column], kind)
        except ValueError as error:
            raise InputError(f"{path}: column {column}: {error}", remedy="Build it again, or restore it") from error
    return text


def _numbers(cells: pd.Series[Any], kind: str) -> NDArray[Any]:
    """Text cells as numbers, each value parsed once, and by Python: pandas' own parser has been an ulp off."""
    import numpy as np
    import pandas as pd

    codes, values = pd.factorize(cells.to_numpy(object), use_na_sentinel=False)
    number = int if kind == "int64" else lambda cell: float(cell or "nan")
    return np.array([number(value) for value in values], kind)[codes]


def write(dataset: Path, frame: pd.DataFrame) -> None:
    """Replace the manifest of a dataset folder: sorted by key, LF, UTF-8, whole or not at all."""
    write_atomic(dataset / MANIFEST, to_bytes(frame))


def to_bytes(frame: pd.DataFrame) -> bytes:
    """A manifest as the bytes of its file. Equal frames give equal bytes."""
    ordered = frame if frame["key"].is_monotonic_increasing else frame.sort_values("key", kind="stable")
    out = io.BytesIO()
    out.write(csv_bytes(list(ordered.columns), ()))
    for start in range(0, len(ordered), _ROWS_AT_ONCE):
        part = ordered.iloc[start : start + _ROWS_AT_ONCE]
        lines = map(",".join, zip(*(_cells(part[name]) for name in part.columns), strict=True))
        out.write(("\n".join(lines) + "\n").encode("utf-8"))
    return out.getvalue()


def _cells(column: pd.Series[Any]) -> list[str]:
    """A column as CSV cells: numbers that read back exactly, text quoted where it must be, a missing value empty."""
    if column.dtype.kind in "iuf":
        return ["" if cell == "nan" else cell for cell in map(repr, column.tolist())]
    values: list[str] = column.tolist()
    try:
        special = _SPECIAL.search("".join(values))
    except TypeError:  # something is missing, or not text: to look for it each time would cost as much as writing
        values = ["" if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]
        special = _SPECIAL.search("".join(values))
    if not special:
        return values
    return list(map(_quoted, values))


def _quoted(cell: str) -> str:
    """A CSV cell. Not csv.writer's work: it leaves a carriage return bare, at which readers then break the line."""
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def from_columns(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A frame of whole columns, those of a manifest first."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(cells, dtype=_NUMBERS.get(name, "str")) for name, cells in columns.items()})


def table(rows: Iterable[Mapping[str, Any]], extra: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a frame with the columns of a manifest, then ``extra``, the source's own."""
    import pandas as pd

    columns = [*COLUMNS, *extra]
    frame = pd.DataFrame.from_records(list(rows), columns=columns)
    return frame.astype({name: kind for name, kind in _NUMBERS.items() if kind == "float64"})


def record(row: Row) -> dict[str, Any]:
    """A row as a flat mapping, column: value, the source's own columns included."""
    flat = {name: getattr(row, name) for name in COLUMNS}
    return flat | dict(row.extra)


def key_of(case: str, index: int, variant: str = "") -> str:
    """The key of the pair of a case, slice and variant: ``lung_001-0153~fliph``."""
    return f"{case}-{index:04d}" + (f"~{variant}" if variant else "")


def digest(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> str:
    """SHA-256 of a decoded pair: shape, dtype and bytes of the image (HxW or HxWx3), then of the mask (HxW)."""
    import numpy as np

    state = hashlib.sha256()
    for array in (image, mask):
        state.update(f"{array.shape}{array.dtype.str}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def digest_of_pairs(rows: pd.DataFrame, dataset: Mapping[str, Any]) -> str:
    """SHA-256 of the key and pixel digest of every row, in their order, and of ``dataset.json``'s labels: by this a run
    knows the dataset that it was trained on. It says nothing of the split.
    """
    state = hashlib.sha256(json.dumps(dataset["labels"], sort_keys=True).encode())
    for key, pixels in zip(rows["key"], rows["digest"], strict=True):
        state.update(f"\n{key} {pixels}".encode())
    return state.hexdigest()


def read_dataset(dataset: Path) -> dict[str, Any]:
    """``dataset.json`` of a dataset folder. Raises InputError where it is missing or damaged."""
    path = dataset / DATASET
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing", remedy="Build a dataset: imagemask build NAME") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy="Build it again, or restore it") from error
    return document


def slice_counts(dataset: Path, case: str) -> tuple[int, int] | None:
    """How many slices of ``case`` were read, and how many of them are not in the dataset because they were empty.

    None where its fragment is missing or damaged: a dataset is whole without them.
    """
    try:
        fragment = json.loads((dataset / FRAGMENTS / f"{case}.json").read_text(encoding="utf-8"))
        return int(fragment["read"]), int(fragment["empty"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def without_pairs(dataset: Path, besides: Collection[str]) -> list[dict[str, str]]:
    """The built cases, but ``besides``, of which no slice is in the dataset: ``case``, ``patient``, ``group``.

    Those whose fragment is missing, or was written before it said whose it is, are not known.
    """
    found = []
    for path in sorted((dataset / FRAGMENTS).glob("*.json")):
        if path.stem in besides or path.name.startswith("."):
            continue
        try:
            fragment = json.loads(path.read_text(encoding="utf-8"))
            if fragment["outcome"] == "built" and not fragment["rows"]:
                found.append({name: str(fragment[name]) for name in ("case", "patient", "group")})
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A small table as the bytes of its file: a header, LF, UTF-8."""
    lines = [",".join(_quoted(str(cell)) for cell in row) for row in (columns, *rows)]
    return ("\n".join(lines) + "\n").encode("utf-8")


def mask_values(labels: Mapping[int, str]) -> dict[int, int]:
    """Source label value: value in a written mask. One foreground class is 255; several are 1, 2, ... in order."""
    foreground = sorted(labels)
    if len(foreground) == 1:
        return {foreground[0]: 255}
    return {value: position for position, value in enumerate(foreground, start=1)}


def to_labels(mask: NDArray[np.uint8], dataset: Mapping[str, Any]) -> NDArray[np.uint8]:
    """A written mask (HxW) as class ids 0..K, by ``dataset.json``'s labels, the only authority on what a value means.

    Raises InputError for a value that dataset.json does not declare.
    """
    import numpy as np

    table = np.full(256, 255, np.uint8)
    table[0] = 0
    for position, label in enumerate(dataset["labels"], start=1):
        table[label["mask_value"]] = position
    classes = table[mask]
    if len(dataset["labels"]) < 255 and bool((classes == 255).any()):
        unknown = sorted(set(np.unique(mask[classes == 255]).tolist()))
        raise InputError(f"mask values {unknown} are not declared in dataset.json")
    return classes


def find(dataset: Path | None, here: Path) -> Path:
    """The dataset folder to work on: the one given; else ``here`` if it holds a manifest; else the one in datasets/.

    Given may be its folder, its manifest.csv, or the bare name of a folder in datasets/. Raises UsageError where there
    are none or several.
    """
    if dataset is not None:
        return _given(dataset, here)
    if (here / MANIFEST).is_file():
        return here
    found = sorted(
        path.parent for path in (here / DATASETS).glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError("there is no dataset here", remedy="Build one (imagemask build NAME), or name its folder")
    names = ", ".join(str(path.relative_to(here)) for path in found)
    raise UsageError(f"there are {len(found)} datasets here: {names}", remedy="Name the one that you mean")


def _given(dataset: Path, here: Path) -> Path:
    if dataset.name == MANIFEST and (here / dataset).is_file():
        return dataset.parent
    named = here / DATASETS / dataset
    if not (here / dataset).exists() and dataset.parts == (dataset.name,) and named.is_dir():
        return named
    return dataset
