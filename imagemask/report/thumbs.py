"""Thumbnails of pairs for a page: a small picture as a data URI, and the outline of every class as an SVG path.

A path's coordinates are whole quarters of a thumbnail's pixel, so that the same outline can lie over the large view.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask import images, pool, preview
from imagemask.errors import CaseError

FINE = 4
"""Units of an outline a thumbnail's pixel."""
BUDGET = 22_000_000
"""Bytes that all thumbnails of a page may take together, where the smallest step of LOOKS allows it."""
LOOKS = ((192, 72), (192, 60), (160, 60), (160, 50), (128, 50), (128, 35))
"""Longer side in pixels and WebP quality, the best first. Below the last, CT is no longer legible."""
_JPEG_ABOVE = 15  # a JPEG of this much more quality looks like the WebP
_SAMPLE = 24
_PORTION = 25  # pairs a call of a worker
_LONGEST = 1500  # characters that the outlines of one class may take before they are simplified further
_TOLERANCE = 1.0  # quarters of a pixel that a simplified outline may be off, to begin with
_ROUGHEST = 8.0

Values = Mapping[int, int]
"""Value in a written mask: position of its class, from 0."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """A thumbnail of ``width`` x ``height`` pixels and its ``outlines``: position of a class, and its path."""

    uri: str
    width: int
    height: int
    outlines: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        """The characters that it takes on a page."""
        return len(self.uri) + sum(len(path) + 6 for _, path in self.outlines)


def thumbnails(
    folder: Path,
    keys: Sequence[str],
    values: Values,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Thumb | str]:
    """A thumbnail of each pair of a dataset folder, in the order of ``keys``; where it cannot be read, why (text).

    All have the largest side and quality with which they fit into BUDGET, judged on a sample. ``progress`` is called
    with how many more are done, and of how many.
    """
    side, quality = fitting(folder, keys, values)
    make = partial(_portion, folder, dict(values), side, quality)
    found: list[Thumb | str] = ["" for _ in keys]
    portions = [list(enumerate(keys))[start : start + _PORTION] for start in range(0, len(keys), _PORTION)]
    executor = pool.processes if workers > 1 else pool.in_process
    for part in pool.run(make, portions, workers=workers, died=_died, make=executor):
        for at, one in part:
            found[at] = one
        if progress is not None:
            progress(len(part), len(keys))
    return found


def fitting(folder: Path, keys: Sequence[str], values: Values, budget: int = BUDGET) -> tuple[int, int]:
    """The first of LOOKS with which thumbnails of all ``keys`` take at most ``budget`` bytes; else the last.

    Judged on a sample, evenly chosen.
    """
    sample = [keys[at] for at in preview.evenly(len(keys), min(_SAMPLE, len(keys)))]
    for side, quality in LOOKS[:-1]:
        made = [
            one for one in (thumb_of(folder, key, values, side, quality) for key in sample) if isinstance(one, Thumb)
        ]
        if sum(map(len, made)) * len(keys) <= budget * max(len(made), 1):
            return side, quality
    return LOOKS[-1]


def _portion(
    folder: Path, values: Values, side: int, quality: int, part: Sequence[tuple[int, str]]
) -> list[tuple[int, Thumb | str]]:
    return [(at, thumb_of(folder, key, values, side, quality)) for at, key in part]


def _died(part: Sequence[tuple[int, str]]) -> list[tuple[int, Thumb | str]]:
    return [(at, "the process that read it died") for at, _ in part]


def thumb_of(folder: Path, key: str, values: Values, side: int, quality: int) -> Thumb | str:
    """The thumbnail of the pair ``key``; why there is none (text) where a picture of it cannot be read."""
    try:
        image, mask = (images.read_png(folder / kind / f"{key}.png") for kind in ("images", "masks"))
        return thumb(image, mask if mask.ndim == 2 else mask.max(axis=2), values, side=side, quality=quality)
    except (CaseError, OSError) as error:
        return str(error)


def thumb(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], values: Values, *, side: int = 192, quality: int = 60
) -> Thumb:
    """A thumbnail of ``image`` (uint8, HxW or HxWx3, RGB), its longer side at most ``side`` pixels, never grown.

    ``mask`` (uint8 HxW) is stretched onto it. A value that ``values`` does not know counts as one more class. The
    largest class comes first: where two share an edge, the smaller one is drawn over it.
    """
    scale = min(1.0, side / max(image.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else image
    found: dict[int, list[str]] = {}
    present, pixels = np.unique(mask[mask > 0], return_counts=True)
    for at in np.argsort(-pixels, kind="stable").tolist():
        path = outline(mask == present[at], (FINE * width, FINE * height))
        found.setdefault(values.get(int(present[at]), len(values)), []).append(path)
    outlines = tuple((position, "".join(paths)) for position, paths in found.items())
    return Thumb(encode(small.astype(np.uint8, copy=False), quality), width, height, outlines)


def encode(picture: NDArray[np.uint8], quality: int) -> str:
    """A data URI of ``picture`` (uint8, HxW or HxWx3, RGB): WebP, or the JPEG that looks alike if it is smaller."""
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, webp = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    settings = [cv2.IMWRITE_JPEG_QUALITY, min(100, quality + _JPEG_ABOVE), cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, jpeg = cv2.imencode(".jpg", pixels, settings)
    kind, data = ("webp", webp) if len(webp) <= len(jpeg) else ("jpeg", jpeg)
    return data_uri(data.tobytes(), kind)


def data_uri(data: bytes, kind: str) -> str:
    """``data``, an encoded picture of the ``kind`` that its media type names, as a URI that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def outline(inside: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """The outline of a class, holes included, on a grid of ``size`` (columns, rows), as an SVG path of whole numbers.

    Simplified (Douglas and Peucker 1973) by at most a quarter of a thumbnail's pixel, and further where it would be
    long; to be filled by the rule ``evenodd``. What is too small for the grid is a small square.
    """
    if not inside.any():
        return ""
    covered = cv2.resize(inside.astype(np.float32), size, interpolation=_kernel(inside.shape, size))
    fine = (covered > min(0.5, 0.99 * float(covered.max()))).view(np.uint8)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = _TOLERANCE
    path = _path(contours, tolerance)
    while len(path) > _LONGEST and tolerance < _ROUGHEST:
        tolerance *= 1.5
        path = _path(contours, tolerance)
    return path


def _kernel(shape: tuple[int, ...], size: tuple[int, int]) -> int:
    return cv2.INTER_AREA if size[0] < shape[1] else cv2.INTER_LINEAR


def _path(contours: Sequence[Any], tolerance: float) -> str:
    return "".join(_polygon(cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0].tolist()) for contour in contours)


def _polygon(points: list[list[int]]) -> str:
    """``M`` to the first point, then relative lines; a point or a line is widened, or it could not be seen."""
    if len(points) < 3:
        columns, rows = zip(*points, strict=True)
        width, height = max(columns) - min(columns) + 2, max(rows) - min(rows) + 2
        return f"M{min(columns) - 1} {min(rows) - 1}h{width}v{height}h-{width}z"
    steps = ((right[0] - left[0], right[1] - left[1]) for left, right in pairwise(points))
    return f"M{points[0][0]} {points[0][1]}l" + _joined(number for step in steps for number in step) + "z"


def _joined(numbers: Iterator[int]) -> str:
    """Numbers with a space between them where no sign parts them already."""
    return "".join(f"{number}" if number < 0 else f" {number}" for number in numbers).lstrip()
