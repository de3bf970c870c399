"""Pictures of a dataset as PNGs: how many images each split has, and sheets of samples.

The seed projects publish ``<Title>_Statistics.png``, a bar chart of the files in each split, and sheets of samples.
Theirs count files by their ending; here the manifest says what there is, patients beside images, and masks are
outlined. Drawn with OpenCV, several times as large as they end, so that lines are smooth.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask import images, manifest, preview
from imagemask.errors import CaseError, InputError
from imagemask.files import make_folder, write_atomic
from imagemask.report.gather import UNASSIGNED
from imagemask.report.scales import Scale
from imagemask.split import used
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

SAMPLES, COLUMNS, SIDE = 12, 4, 224
"""Pairs in a sheet, how many stand in a row, and a pair's side in pixels."""
_FINE = 4
"""Pixels drawn for one that is written, each way."""
_WIDTH, _HEIGHT, _MARGIN = 960, 560, 72
_PAPER, _INK, _MUTED, _GRID = (251, 251, 249), (26, 34, 40), (85, 97, 107), (225, 229, 232)
_COLOURS: tuple[Colour, ...] = ((0, 114, 178), (197, 85, 0), (0, 128, 95), (133, 122, 0))
_HEADER = 33
"""Bytes of a PNG's signature and its first part, IHDR."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WEIGHT = 0.6 if int(cv2.__version__.split(".")[0]) >= 5 else 1.6
"""Of strokes, times the size of text: from OpenCV 5 a weight of a real font, before that a width in pixels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A split: pairs, those of them that are augmented copies, those with foreground, and patients (0: not known)."""

    name: str
    images: int
    variants: int
    foreground: int
    patients: int


def write(folder: Path, frame: pd.DataFrame, out: Path) -> list[Path]:
    """Write ``<Title>_Statistics.png`` and a ``<Title>_Samples_<split>.png`` a split into the folder ``out``.

    ``frame`` is the manifest of the dataset in ``folder``. Raises InputError where it holds no pair, a picture of it
    cannot be read, or nothing can be written.
    """
    if frame.empty:
        raise InputError(f"{folder}: holds no pair", remedy="Build it: imagemask build NAME")
    make_folder(out)
    name = str(manifest.read_dataset(folder).get("name") or folder.resolve().name)
    title = title_of(name)
    made = {f"{title}_Statistics.png": bar_chart(bars(used(folder, frame)), title=name)}
    for split in (*SPLITS, ""):
        rows = frame[(frame["split"] == split) & (frame["variant"] == "")]
        if len(rows):
            made[f"{title}_Samples_{split or 'unassigned'}.png"] = samples(folder, rows)
    for file, picture in made.items():
        write_atomic(out / file, _marked(images.encode_png(picture, level=images.IMAGE_LEVEL)))
    return [out / file for file in made]


def title_of(name: str) -> str:
    """A dataset's name as the seeds write titles: ``lung-tumor`` becomes ``Lung-Tumor``; safe as a file's name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = [word for word in re.split(r"[^0-9A-Za-z]+", plain) if word]
    return "-".join(word[:1].upper() + word[1:] for word in words) or "Dataset"


def bars(frame: pd.DataFrame) -> list[Bar]:
    """What each split holds, of the rows that are ``used``; pairs of no split last, where there are any."""
    found = []
    for split in (*SPLITS, ""):
        rows = frame[frame["split"] == split]
        if split or len(rows):
            patients = rows.loc[rows["patient"] != "", "patient"].nunique()
            variants, foreground = int((rows["variant"] != "").sum()), int((rows["foreground"] > 0).sum())
            found.append(Bar(split or UNASSIGNED, len(rows), variants, foreground, int(patients)))
    return found


def bar_chart(found: Sequence[Bar], *, title: str) -> Picture:
    """Images of each split as bars, with their numbers above and what they consist of below; RGB."""
    canvas = _Canvas(_WIDTH, _HEIGHT)
    canvas.write((_MARGIN, 46), f"{title}: images by split", size=1.0, colour=_INK)
    bottom, most = _HEIGHT - 120, max(1, *(bar.images for bar in found))
    up = Scale(0, most * 1.08, bottom, 92)
    for tick in up.ticks(6):
        if tick == round(tick):
            canvas.line((_MARGIN, up(tick)), (_WIDTH - 40, up(tick)), _MUTED if tick == 0 else _GRID)
            canvas.write((_MARGIN - 12, up(tick) + 5), f"{tick:,.0f}", anchor="end", size=0.5)
    step = (_WIDTH - 40 - _MARGIN) / len(found)
    for at, bar in enumerate(found):
        middle, half = _MARGIN + (at + 0.5) * step, min(90.0, step * 0.32)
        colour, pale = _COLOURS[at % len(_COLOURS)], _pale(_COLOURS[at % len(_COLOURS)])
        plain = up(bar.images - bar.variants)
        canvas.box((middle - half, up(bar.images)), (middle + half, plain), pale)
        canvas.box((middle - half, plain), (middle + half, bottom), colour)
        canvas.write((middle, up(bar.images) - 10), f"{bar.images:,}", anchor="middle", size=0.75, colour=_INK)
        canvas.write((middle, bottom + 28), bar.name, anchor="middle", size=0.65, colour=_INK)
        for line, text in enumerate(_words(bar)):
            canvas.write((middle, bottom + 52 + 20 * line), text, anchor="middle", size=0.48)
    return canvas.picture()


def samples(folder: Path, rows: pd.DataFrame) -> Picture:
    """A sheet of at most SAMPLES pairs, evenly chosen, masks outlined; RGB. Raises InputError as ``write`` does."""
    tiles = [_tile(folder, str(key)) for key in preview.choose(rows, SAMPLES)["key"]]
    return images.contact_sheet(tiles, columns=min(COLUMNS, len(tiles)), side=SIDE)


class _Canvas:
    """A picture that is drawn _FINE times as large as it ends. Places are in pixels of the end, from the top left."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self.pixels: Any = np.full((height * _FINE, width * _FINE, 3), _PAPER, np.uint8)

    def picture(self) -> Picture:
        """As it ends, RGB."""
        small: Picture = cv2.resize(self.pixels, self.size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        return small

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        """A line a pixel wide."""
        cv2.line(self.pixels, _fine(start), _fine(end), colour, _FINE, cv2.LINE_8)

    def box(self, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        """A filled rectangle; nothing where it has no height."""
        if end[1] > start[1]:
            cv2.rectangle(self.pixels, _fine(start), _fine(end), colour, cv2.FILLED)

    def write(
        self, place: tuple[float, float], text: str, *, anchor: str = "start", size: float, colour: Colour = _MUTED
    ) -> None:
        """Text whose baseline begins, has its middle, or ends at a place."""
        scale, thick = size * _FINE * 0.82, max(1, round(size * _FINE * _WEIGHT))
        (width, _), _ = cv2.getTextSize(text, _FONT, scale, thick)
        x, y = _fine(place)
        x -= {"start": 0, "middle": width // 2, "end": width}[anchor]
        cv2.putText(self.pixels, text, (x, y), _FONT, scale, colour, thick, cv2.LINE_AA)


def _words(bar: Bar) -> list[str]:
    patients = [f"{bar.patients:,} patient{'' if bar.patients == 1 else 's'}"] if bar.patients else []
    copies = [f"{bar.variants:,} augmented copies"] if bar.variants else []
    return [*patients, f"{bar.foreground:,} with foreground", *copies]


def _tile(folder: Path, key: str) -> images.Tile:
    try:
        image, mask = (images.read_png(folder / kind / f"{key}.png") for kind in ("images", "masks"))
    except (CaseError, OSError) as error:
        raise InputError(f"{key}: cannot be shown: {error}", remedy="imagemask verify lists what is wrong") from error
    return images.Tile(image, mask, key)


def _marked(png: bytes) -> bytes:
    """A PNG that says, right behind its header, who made it (PNG 1.2, 4.2.3): ``build --replace`` knows it by that."""
    text = b"tEXtSoftware\0imagemask"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return png[:_HEADER] + chunk + png[_HEADER:]


def _fine(place: tuple[float, float]) -> tuple[int, int]:
    return round(place[0] * _FINE), round(place[1] * _FINE)


def _pale(colour: Colour) -> Colour:
    red, green, blue = (round(one + 0.6 * (paper - one)) for one, paper in zip(colour, _PAPER, strict=True))
    return red, green, blue
