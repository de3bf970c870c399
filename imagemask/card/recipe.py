"""How pixels were made, in words: what the card and the report say of the recipe in dataset.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Format = Callable[[str], str]


def words(recipe: Mapping[str, Any], *, code: Format = str, prose: Format = str) -> list[tuple[str, str]]:
    """What was chosen, and how, a line each.

    ``code`` and ``prose`` make numbers and texts of dataset.json, which may hold anything, fit for where they stand.
    """
    return [
        ("window", _window(texts(recipe.get("window")), code)),
        ("size", _size(recipe)),
        ("empty masks", "kept" if recipe.get("keep_empty") else "dropped: a pair whose mask is empty is not here"),
        ("copies", prose(_copies(recipe))),
    ]


def texts(value: Any) -> list[str]:
    """The items of a list as texts; none of what is no list."""
    return [str(one) for one in value] if isinstance(value, list) else []


def _window(window: Sequence[str], code: Format) -> str:
    ends = [" to ".join(map(code, one.split(":"))) for one in window]
    if len(ends) == 1:
        return f"{ends[0]} in the source's units (HU for CT) become 0 to 255; what lies outside is clipped"
    if ends:
        return f"red {ends[0]}, green {ends[1]}, blue {ends[-1]} in the source's units (HU for CT), each to 0 to 255"
    return "none: 8-bit pictures as they are, 16-bit ones divided by 257"


def _size(recipe: Mapping[str, Any]) -> str:
    side = recipe.get("size")
    if not isinstance(side, int):
        return "the source's own"
    return f"{side}x{side}, {'squashed' if recipe.get('stretch') else 'padded where a picture is not square'}"


def _copies(recipe: Mapping[str, Any]) -> str:
    asked = [f"centre crop by {margin}" for margin in texts(recipe.get("crops"))]
    asked += [f"mirrored ({way})" for way in texts(recipe.get("flips"))]
    asked += [f"turned by {angle} degrees" for angle in texts(recipe.get("rotations"))]
    combined = ", and their combinations" if recipe.get("combine") else ", each of the plain pair"
    return ", ".join(asked) + combined if asked else "none"
