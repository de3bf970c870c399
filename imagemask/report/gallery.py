"""The gallery's data: small columns that the page reads at once, and thumbnails in blocks that it reads near them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from imagemask.report.thumbs import FINE, Thumb

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 50
"""Thumbnails in a block."""


def columns(frame: pd.DataFrame, flagged: Mapping[str, set[str]], titles: Mapping[str, str]) -> dict[str, Any]:
    """What filters and captions need of every pair of ``frame``, a manifest: a list a column, texts coded by a list.

    ``flagged`` are codes of the audit by key, ``titles`` what the codes mean. The lesion size is ``area``, in mm2 where
    every pair with an outline has a spacing, else in percent of the picture; ``unit`` says which.
    """
    flags = [
        sorted([*cell.split(), *flagged.get(key, ())]) for key, cell in zip(frame["key"], frame["flags"], strict=True)
    ]
    names = sorted({flag for some in flags for flag in some})
    position = {name: at for at, name in enumerate(names)}
    area, unit = areas(frame)
    coded = {name: _coded(frame[name]) for name in ("split", "patient", "variant", "category", "source")}
    return {
        "keys": frame["key"].tolist(),
        "slice": frame["slice"].tolist(),
        "size": [f"{width} x {height}" for height, width in zip(frame["height"], frame["width"], strict=True)],
        "area": area,
        "unit": unit,
        "flags": [[position[flag] for flag in some] for some in flags],
        "flag": {"names": names, "titles": [titles.get(name, "") for name in names]},
        "fine": FINE,
        "block": BLOCK,
        **coded,
    }


def _coded(cells: pd.Series[Any]) -> dict[str, list[Any]]:
    """Texts as positions (``at``) in a sorted list of ``names``."""
    import pandas as pd

    at, names = pd.factorize(cells, sort=True)
    return {"at": at.tolist(), "names": [str(name) for name in names]}


def areas(frame: pd.DataFrame) -> tuple[list[float], str]:
    """The labelled area of each pair to four digits, and its unit: mm2, or % of the picture."""
    foreground = frame["foreground"].to_numpy(np.float64)
    pixel = frame["spacing_y"].to_numpy(np.float64) * frame["spacing_x"].to_numpy(np.float64)
    some = foreground > 0
    if some.any() and bool(np.isfinite(pixel[some]).all()):
        area, unit = foreground * np.where(some, pixel, 0.0), "mm\N{SUPERSCRIPT TWO}"
    else:
        area, unit = 100 * foreground / (frame["height"] * frame["width"]).to_numpy(np.float64), "% of the picture"
    return [float(f"{value:.4g}") for value in area], unit


def blocks(made: Sequence[Thumb | str]) -> Iterator[Markup]:
    """The thumbnails in blocks of JSON: [data URI, width, height, [[class, path], ...]], or why there is none."""
    for start in range(0, len(made), BLOCK):
        part = made[start : start + BLOCK]
        yield script_json(
            [one if isinstance(one, str) else [one.uri, one.width, one.height, one.outlines] for one in part]
        )


def script_json(value: object) -> Markup:
    """``value`` as JSON that cannot end the <script> it stands in, nor begin a comment there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # \u2028 and \u2029 are line ends to older scripts; the rest is what the HTML parser looks for.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  nothing in it can be markup now
