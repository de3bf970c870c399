"""The pictures of a dataset, against the rows: present, whole, of the right size, pixel for pixel what was built."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imagemask import files, manifest
from imagemask.errors import CaseError
from imagemask.verify.findings import Finding, found

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGES, MASKS = "images", "masks"

_BEGIN = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
_END = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_HEADER_BYTES = 33
_KINDS = {0: 1, 2: 3}
"""PNG colour type: channels, of the two that are written (PNG specification, 11.2.1)."""


class Wanted(NamedTuple):
    """What a row says of its pair."""

    line: int
    key: str
    height: int
    width: int
    foreground: int
    classes: str
    digest: str


@dataclass(frozen=True, slots=True)
class Task:
    """Some pairs for one worker. ``values`` are the foreground values that dataset.json declares, by class id from 1;

    None where it does not say: values and classes are then not judged. ``fast`` reads the ends of a file only.
    """

    dataset: Path
    values: tuple[int, ...] | None
    fast: bool
    rows: Sequence[Wanted]


class _Bad(Exception):  # noqa: N818  it never leaves this module
    """Why a picture cannot be compared with its row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def strays(dataset: Path, keys: set[str]) -> Iterator[Finding]:
    """Files in images/ and masks/ that belong to no row. What operating systems leave behind does not count."""
    for folder in (IMAGES, MASKS):
        names = sorted(path.name for path in (dataset / folder).iterdir()) if (dataset / folder).is_dir() else []
        for name in names:
            if not files.is_junk(name) and not (name.endswith(".png") and name.removesuffix(".png") in keys):
                yield found("IM013", f"{folder}/{name} has no row", file=f"{folder}/{name}")


def check(task: Task) -> list[Finding]:
    """All that is wrong with the pairs of a task."""
    return [finding for row in task.rows for finding in _pair(task, row)]


def _pair(task: Task, row: Wanted) -> Iterator[Finding]:
    pixels = {}
    for folder in (IMAGES, MASKS):
        name = f"{folder}/{row.key}.png"
        try:
            pixels[folder] = _picture(task, name, row, channels=(1, 3) if folder == IMAGES else (1,))
        except _Bad as bad:
            yield found(bad.code, str(bad), file=name, line=row.line)
    image, mask = pixels.get(IMAGES), pixels.get(MASKS)
    if mask is None:
        return
    name = f"{MASKS}/{row.key}.png"
    changed = image is not None and manifest.digest(image, mask) != row.digest
    if changed:
        yield found("IM020", f"the digest of {row.key} is another", file=name, line=row.line)
    for code, message in _values(mask, row, task.values):
        # Other pixels than were built hold other counts: the digest has said so already.
        if code == "IM017" or not changed:
            yield found(code, message, file=name, line=row.line)


def _picture(task: Task, name: str, row: Wanted, *, channels: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The pixels of one picture, or None where they are not asked for. Raises _Bad."""
    from imagemask import images

    data, end = _ends(task.dataset / name) if task.fast else _whole(task.dataset / name)
    _check_header(data, end, row, channels)
    if task.fast:
        return None
    try:
        return images.decode_png(data)
    except CaseError as error:
        raise _Bad("IM014", error.reason) from error


def _whole(path: Path) -> tuple[bytes, bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _missing(error) from error
    return data, data[-len(_END) :]


def _ends(path: Path) -> tuple[bytes, bytes]:
    try:
        with path.open("rb") as file:
            begin = file.read(_HEADER_BYTES)
            file.seek(-min(len(_END), len(begin)), 2)
            return begin, file.read()
    except OSError as error:
        raise _missing(error) from error


def _missing(error: OSError) -> _Bad:
    if isinstance(error, FileNotFoundError):
        return _Bad("IM012", "the file is missing")
    return _Bad("IM014", f"cannot be read: {error.strerror}")


def _check_header(data: bytes, end: bytes, row: Wanted, channels: tuple[int, ...]) -> None:
    """The size, depth and channels that a PNG's header declares, against its row; and that its end is there."""
    if len(data) < _HEADER_BYTES or not data.startswith(_BEGIN):
        raise _Bad("IM014", f"is not a PNG: it begins with {data[:8].hex(' ')}" if data else "is empty")
    width, height, depth, kind = struct.unpack_from(">IIBB", data, len(_BEGIN))
    if (height, width) != (row.height, row.width):
        raise _Bad("IM015", f"is {height}x{width}, its row says {row.height}x{row.width}")
    if depth != 8 or _KINDS.get(kind) not in channels:
        wanted = " or ".join(map(str, channels))
        raise _Bad("IM016", f"is {depth}-bit of PNG colour type {kind}, not 8-bit with {wanted} channels")
    if end != _END:
        raise _Bad("IM014", "is cut off: a PNG ends with IEND")


def _values(mask: NDArray[np.uint8], row: Wanted, values: tuple[int, ...] | None) -> Iterator[tuple[str, str]]:
    """Values, foreground and classes of a mask (HxW) against its row."""
    import numpy as np

    foreground = int(np.count_nonzero(mask))
    if foreground != row.foreground:
        yield "IM018", f"{foreground} foreground pixels, its row says {row.foreground}"
    if values is None:
        return
    # A comparison for each class is several times faster than a histogram of the mask.
    counts = [int(np.count_nonzero(mask == value)) for value in values]
    if sum(counts) < foreground:
        undeclared = sorted({*np.unique(mask).tolist()} - {0, *values})
        yield "IM017", f"the mask holds the values {', '.join(map(str, undeclared))}"
        return
    classes = " ".join(str(number) for number, count in enumerate(counts, start=1) if count)
    if classes != row.classes:
        yield "IM019", f"the mask holds the classes {classes or 'none'}, its row says {row.classes or 'none'}"
