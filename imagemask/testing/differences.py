"""What differs, in words: two trees of files, two lists of cases, two readings of the same slices.

Each function raises AssertionError that begins with ``said`` and names the first few differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagemask import files
from imagemask.names import some
from imagemask.types import Case

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = tuple[NDArray[Any], NDArray[np.integer[Any]]]
    """Image and mask of a slice."""

T = TypeVar("T")


def same_pixels(
    expected: Mapping[str, Mapping[int, Pixels]], found: Mapping[str, Mapping[int, Pixels]], said: str
) -> None:
    """Hold the slices of each case, by index, against those of another reading."""
    import numpy as np

    for case, slices in expected.items():
        assert slices.keys() == found[case].keys(), f"{said}: {case} has other slices"
        for index, pixels in slices.items():
            for what, one, other in zip(("image", "mask"), pixels, found[case][index], strict=True):
                assert np.array_equal(one, other), f"{said}: {case}, slice {index}, another {what}"


def same_cases(expected: Sequence[Case], found: Sequence[Case], said: str) -> None:
    """Hold cases against those that were found another time, or elsewhere."""
    same({case.id: case for case in expected}, {case.id: case for case in found}, said, tell=_other_fields)
    assert list(expected) == list(found), f"{said}: {some([case.id for case in found])}"


def same(
    expected: Mapping[str, T], found: Mapping[str, T], said: str, *, tell: Callable[[T, T], str] | None = None
) -> None:
    """Hold a mapping against another one; ``tell`` says in which way two values differ."""
    keys = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    assert not keys, f"{said}: {some([_difference(key, expected, found, tell) for key in keys])}"


def _difference(key: str, expected: Mapping[str, T], found: Mapping[str, T], tell: Callable[[T, T], str] | None) -> str:
    if key not in found:
        return f"{key} (lacking)"
    if key not in expected:
        return f"{key} (unexpected)"
    return f"{key} ({tell(expected[key], found[key])})" if tell else f"{key} (changed)"


def against(expected: object, found: object) -> str:
    """Two values of one key, in words."""
    return f"{found}, not {expected}"


def _other_fields(expected: Case, found: Case) -> str:
    names = [one.name for one in fields(Case) if getattr(expected, one.name) != getattr(found, one.name)]
    return f"another {', '.join(names)}"


def pictures(dataset: Path) -> dict[str, str]:
    """``tree`` of the pictures of a dataset."""
    return {path: digest for path, digest in tree(dataset).items() if path.startswith(("images/", "masks/"))}


def tree(folder: Path) -> dict[str, str]:
    """Relative path: SHA-256, of every file but the locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}
