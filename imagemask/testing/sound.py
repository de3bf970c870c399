"""Whether cases, slices and codes are what a build can work with. Each function raises AssertionError: why not."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagemask import files
from imagemask.names import some
from imagemask.testing.differences import same_cases
from imagemask.types import SPLITS, Case, Slice, Source

if TYPE_CHECKING:
    from imagemask.testing.differences import Pixels

_WORD = re.compile("[a-z][a-z0-9_]*")
_OVERWRITTEN = "the {} changes after it was yielded; each slice needs an array of its own"


def require_picklable(found: list[Case]) -> None:
    """Cases are sent to worker processes."""
    try:
        copies = pickle.loads(pickle.dumps(found))  # noqa: S301  our own bytes
    except Exception as error:
        raise AssertionError(f"cases cannot be sent to another process: {error}") from error
    same_cases(found, copies, "cases are not equal to their copies in another process")


def require_sound(case: Case, raw: Path, source: Source) -> None:
    """Its files are there, below ``raw``; it is somebody's where the source says whose; split and flags are words."""
    for path in (*case.images, *case.masks):
        assert path.is_file(), f"{case.id}: {path} is not a file"
        assert path.resolve().is_relative_to(raw.resolve()), f"{case.id}: {path} lies outside the raw folder"
        assert not files.is_junk(path.name), f"{case.id}: {path} is junk of an operating system"
    known = case.patient or case.group or source.group == "none"
    assert known, f"{case.id}: has neither patient nor group, and group in the source manifest is {source.group!r}"
    assert case.split in ("", *SPLITS), f"{case.id}: the split {case.split!r} is none of {', '.join(SPLITS)}"
    _require_flags(case.id, case.flags)


def require_word(where: str, kind: str, word: str) -> None:
    """A flag or a code is a word that never changes, not prose."""
    assert _WORD.fullmatch(word), f"{where}: the {kind} {word!r} is not one word of small letters, with _"


def _require_flags(where: str, flags: Iterable[str]) -> None:
    for flag in flags:
        require_word(where, "flag", flag)


def require_sound_slice(case: Case, one: Slice, pixels: Pixels) -> None:
    """It has the shapes that a slice has, and is still what it was when it was yielded: ``pixels`` are copies."""
    import numpy as np

    where = f"{case.id}, slice {one.index}"
    image, mask = pixels
    assert type(one.index) is int, f"{where}: the index is a {type(one.index).__name__}, not an int"
    assert one.index >= 0, f"{where}: the index is negative"
    assert image.shape[:2] == mask.shape, f"{where}: the image is {image.shape}, the mask {mask.shape}"
    assert image.shape[2:] in ((), (3,)), f"{where}: the image is {image.shape}, neither HxW nor HxWx3"
    assert one.spacing is None or 0 < min(one.spacing) <= max(one.spacing) < np.inf, f"{where}: spacing {one.spacing}"
    assert np.array_equal(np.asarray(one.image), image), f"{where}: {_OVERWRITTEN.format('image')}"
    assert np.array_equal(one.mask, mask), f"{where}: {_OVERWRITTEN.format('mask')}"
    listed = one.source is None or one.source in (*case.images, *case.masks)
    assert listed, f"{where}: its source {one.source} is no file of the case"
    _require_flags(where, one.flags)


def require_labels(read: Mapping[str, Mapping[int, Pixels]], source: Source) -> None:
    """The masks hold labels that the source manifest declares, and do hold some."""
    import numpy as np

    foreground = 0
    for case, slices in read.items():
        for index, (_, mask) in slices.items():
            undeclared = sorted({*np.unique(mask).tolist()} - {0, *source.labels})
            assert not undeclared, f"{case}, slice {index}: the mask holds undeclared labels: {some(undeclared)}"
            foreground += bool(mask.any())
    assert foreground, "not one slice of the phantom has foreground"
