"""The best, median and worst predictions of a run: truth and prediction outlined over the picture, whole and close."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from markupsafe import Markup

from imagemask import images, manifest
from imagemask.errors import CaseError, InputError
from imagemask.report import run_folder
from imagemask.report.run_folder import Line, RunFolder
from imagemask.report.scales import fixed
from imagemask.report.svg import coordinate
from imagemask.report.thumbs import FINE, encode, outline

PLACES = ("worst", "median", "best")
_SIDE, _GAP = 176, 8
_QUALITY = 70
_ROOM, _LEAST = 1.6, 0.25
"""Around what is marked: times its size, and a share of the picture's longer side at least."""
_STROKES = (("truth", "var(--truth, #56b4e9)", 2.8), ("prediction", "var(--prediction, #e69f00)", 1.3))
"""Bright on any picture, in light and dark; where both are in one place, the one below still shows at its edges."""
_DASHES = (None, "6 3", "2 3", "8 3 2 3")
"""Of the classes."""

Labels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Case:
    """A picture (uint8, HxW or HxWx3), and the class ids of truth and prediction, HxW."""

    image: Labels
    truth: Labels
    prediction: Labels


def cases(run: RunFolder, dataset: Path) -> Markup:
    """Every case of cases.csv, worst first. One that cannot be read says why. Raises InputError for a damaged table."""
    lines = run.table(run_folder.CASES)
    document = manifest.read_dataset(dataset)
    names = [str(label["name"]) for label in document["labels"]]
    groups = []
    for place in PLACES:
        figures = Markup("").join(_figure(run, dataset, document, line) for line in lines if line["place"] == place)
        groups.append(Markup('<h3>{}</h3><div class="cases">{}</div>').format(place.capitalize(), figures))
    return legend(names) + Markup("").join(groups)


def legend(names: list[str]) -> Markup:
    """Which line is which: truth and prediction, and the dashes of the classes where there are several."""
    entries: list[tuple[str, str, float, str | None]] = [
        (name, colour, width, None) for name, colour, width in _STROKES
    ]
    if len(names) > 1:
        entries += [(name, "#fff", 1.3, _dash(at)) for at, name in enumerate(names, start=1)]
    items = (
        Markup(
            '<li><svg width="34" height="14" viewBox="0 0 34 14" aria-hidden="true"><rect width="34" height="14" rx="3"'
            ' fill="#444"/><path d="M4 7h26" stroke="{}" stroke-width="{}"{}/></svg> {}</li>'
        ).format(colour, width, _dashed(dash), name)
        for name, colour, width, dash in entries
    )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def drawing(case: Case, title: str, desc: str) -> Markup:
    """The whole picture, and beside it the part that matters, framed in the first."""
    height, width = case.truth.shape
    top, left, bottom, right = part = near(case)
    scale = _SIDE / max(height, width)
    x, y = (_SIDE - width * scale) / 2, (_SIDE - height * scale) / 2
    frame = Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#fff" stroke-opacity="0.7"/>'
    ).format(*map(coordinate, (x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale)))
    panels = _panel(case, (0, 0, height, width), 0) + frame + _panel(case, part, _SIDE + _GAP)
    return Markup(
        '<svg class="case" role="img" viewBox="0 0 {} {}" width="100%"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(2 * _SIDE + _GAP, _SIDE, title, desc, panels)


def near(case: Case) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the part that holds truth and prediction, with room around, in pixels."""
    height, width = case.truth.shape
    marked = (case.truth > 0) | (case.prediction > 0)
    if not marked.any():
        return 0, 0, height, width
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    wanted = _ROOM * max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + _ROOM
    half = max(wanted, _LEAST * max(height, width)) / 2
    y, x = (float(found[0] + found[-1] + 1) / 2 for found in (rows, columns))
    return max(0, round(y - half)), max(0, round(x - half)), min(height, round(y + half)), min(width, round(x + half))


def patient_link(patient: str) -> Markup:
    """A patient's name, leading to her slices in the gallery."""
    return Markup('<a href="#patient={}">{}</a>').format(quote(patient, safe=""), patient)


def _figure(run: RunFolder, dataset: Path, document: Mapping[str, Any], line: Line) -> Markup:
    key = line["key"]
    try:
        case = _read(run, dataset, document, key)
    except (CaseError, InputError, OSError, ValueError) as error:
        return Markup("<figure><figcaption>{}: cannot be shown: {}</figcaption></figure>").format(key, str(error))
    dice, pixels = fixed(run_folder.number(line["dice"])), f"{line['foreground']} true, {line['predicted']} predicted"
    svg = drawing(case, f"{key}, Dice {dice}", f"Truth and prediction outlined over {key}: {pixels} pixels.")
    caption = Markup('<a href="#pair={}">{}</a> of {}: Dice {}, {} pixels').format(
        quote(key, safe=""), key, patient_link(line["patient"]), dice, pixels
    )
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(svg, caption)


def _read(run: RunFolder, dataset: Path, document: Mapping[str, Any], key: str) -> Case:
    image, truth = (images.read_png(dataset / kind / f"{key}.png") for kind in ("images", "masks"))
    prediction = images.read_png(run.folder / run_folder.SPLIT / run_folder.MASKS / f"{key}.png")
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"image {image.shape}, truth {truth.shape} and prediction {prediction.shape} have other sizes")
    return Case(image, manifest.to_labels(truth, document), manifest.to_labels(prediction, document))


def _panel(case: Case, part: tuple[int, int, int, int], left: float) -> Markup:
    """A part of the picture with both outlines, in the middle of a square."""
    top, first, bottom, last = part
    cut = slice(top, bottom), slice(first, last)
    height, width = bottom - top, last - first
    scale = _SIDE / max(height, width)
    picture = np.ascontiguousarray(case.image[cut])
    if scale < 0.5:  # twice as fine as it is shown, for dense displays
        size = max(1, round(2 * width * scale)), max(1, round(2 * height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    x, y = left + (_SIDE - width * scale) / 2, (_SIDE - height * scale) / 2
    shown = Markup('<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none"{} href="{}"/>').format(
        *map(coordinate, (x, y, width * scale, height * scale)),
        Markup(' image-rendering="pixelated"') if scale > 2 else "",
        encode(picture, _QUALITY),
    )
    grid = scale / FINE
    outlines = Markup('<g transform="translate({} {}) scale({:.5f})">{}</g>').format(
        coordinate(x), coordinate(y), grid, Markup("").join(_outlines(case, cut))
    )
    return shown + outlines


def _outlines(case: Case, cut: tuple[slice, slice]) -> Iterator[Markup]:
    """The outline of every class of truth, and on top of it of the prediction, in ``FINE`` units a pixel."""
    for (_, colour, stroke), labels in zip(_STROKES, (case.truth, case.prediction), strict=True):
        inside = labels[cut]
        size = FINE * inside.shape[1], FINE * inside.shape[0]
        for value in np.unique(inside[inside > 0]).tolist():
            yield Markup(
                '<path d="{}" fill="none" stroke="{}" stroke-width="{}" vector-effect="non-scaling-stroke"{}/>'
            ).format(outline(inside == value, size), colour, stroke, _dashed(_dash(value)))


def _dash(value: int) -> str | None:
    return _DASHES[(value - 1) % len(_DASHES)]


def _dashed(dash: str | None) -> Markup:
    return Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup()
