"""How lesions, slices and intensities are distributed over a dataset and its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from markupsafe import Markup

from imagemask import images
from imagemask.errors import CaseError
from imagemask.preview import evenly
from imagemask.report import plots
from imagemask.report.gather import UNASSIGNED
from imagemask.report.scales import Values
from imagemask.report.sections import Section
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

CELLS = 32
"""Rows and columns of the heat map."""
READ = 400
"""Pictures that are read, at most, evenly chosen."""
_BINS = 32


@dataclass
class Seen:
    """What was seen in the pictures that were read: grey values by split, where foreground lies, and what failed."""

    grey: dict[str, Values] = field(default_factory=dict)
    """Split: pixels in each of ``_BINS`` bins of 0 to 255."""
    where: Values = field(default_factory=lambda: np.zeros((CELLS, CELLS)))
    """The share of each cell that is foreground, added up over pictures."""
    masks: int = 0
    unread: list[str] = field(default_factory=list)


def sections(folder: Path, frame: pd.DataFrame) -> list[Section]:
    """One section of plots over the manifest ``frame`` of the dataset in ``folder``; none where it holds no pair.

    Augmented copies are left out. Pictures are read sparsely, and one that cannot be read is named.
    """
    plain = frame[frame["variant"] == ""]
    if plain.empty:
        return []
    seen = look(folder, plain)
    figures = [
        area(plain),
        *square_millimetres(plain),
        foreground(plain),
        slices(plain),
        intensities(seen),
        position(plain, seen),
    ]
    note = f"Augmented copies ({len(frame) - len(plain):,}) are left out. " if len(frame) > len(plain) else ""
    read = min(READ, len(plain))
    how = "every picture was" if read == len(plain) else f"{read:,} of {len(plain):,} pictures, evenly chosen, were"
    note += f"Areas and counts are of all pairs. For intensities and positions {how} read"
    note += f"; {len(seen.unread)} could not be: {', '.join(seen.unread[:3])}." if seen.unread else "."
    html = Markup('<p class="note">{}</p><div class="plots">{}</div>').format(note, Markup("").join(figures))
    return [Section("distributions", "Distributions", html)]


def by_split(frame: pd.DataFrame, values: pd.Series[float]) -> dict[str, Values]:
    """Values parallel to ``frame`` by split, in the usual order; pairs of no split last. None is empty."""
    names = {**{name: name for name in SPLITS}, "": UNASSIGNED}
    found: dict[str, Values] = {
        shown: values[frame["split"] == name].to_numpy(np.float64).astype(np.float64) for name, shown in names.items()
    }
    return {name: one for name, one in found.items() if len(one)}


def area(frame: pd.DataFrame) -> Markup:
    """Lesion area as a share of the picture."""
    some = frame[frame["foreground"] > 0]
    share = 100 * some["foreground"] / (some["height"] * some["width"])
    plot = plots.histograms(by_split(some, share), title="Lesion area", unit="% of the picture")
    return plot.figure("Lesion area, of the picture", "Pairs with foreground." + _line(by_split(some, share)))


def square_millimetres(frame: pd.DataFrame) -> list[Markup]:
    """Lesion area in mm2, where the source says how large a pixel is."""
    some = frame[frame["foreground"] > 0]
    known = some[some[["spacing_y", "spacing_x"]].notna().all(axis=1)]
    if known.empty:
        return []
    values = by_split(known, known["foreground"] * known["spacing_y"] * known["spacing_x"])
    without = len(some) - len(known)
    caption = f"{without:,} pairs have no known spacing and are left out." if without else "Spacing is known for all."
    return [
        plots.histograms(values, title="Lesion area", unit="mm²").figure("Lesion area, in mm²", caption + _line(values))
    ]


def foreground(frame: pd.DataFrame) -> Markup:
    """Foreground of each pair, empty ones included, as a strip a split."""
    share = by_split(frame, 100 * frame["foreground"] / (frame["height"] * frame["width"]))
    empty = {name: int((one == 0).sum()) for name, one in share.items()}
    told = ", ".join(f"{name} {count:,} of {len(share[name]):,}" for name, count in empty.items())
    caption = f"All pairs; without any foreground: {told}. A dot is a pair, a box holds the middle half. "
    caption += "Whiskers reach from 5% to 95%."
    return plots.strips(share, title="Foreground", unit="% of the picture").figure("Foreground by split", caption)


def slices(frame: pd.DataFrame) -> Markup:
    """Pairs of each patient (of each case, where nobody knows the patients)."""
    known = bool((frame["patient"] != "").any())
    of = frame[frame["patient"] != ""] if known else frame
    who = "patient" if known else "case"
    counts = of.groupby([who, "split"], sort=True).size().reset_index(name="pairs")
    left = len(frame) - len(of)
    caption = f"A dot is a {who}." + (f" {left:,} pairs have no known patient and are left out." if left else "")
    plot = plots.strips(by_split(counts, counts["pairs"]), title=f"Pairs a {who}", unit=f"pairs a {who}", whole=True)
    return plot.figure(f"Slices (pairs) a {who}", caption)


def intensities(seen: Seen) -> Markup:
    """Grey values of the written pictures, by split."""
    edges = np.linspace(0, 256, _BINS + 1)
    words = [f"{name}: {_grey_words(one, edges)}" for name, one in seen.grey.items()]
    plot = plots.binned(seen.grey, edges, title="Intensities", unit="grey value, 0 to 255", words=words)
    caption = "Pixels of the written pictures, colours as grey. Splits of one source should look alike."
    return plot.figure("Intensities", caption + _line(seen.grey))


def position(frame: pd.DataFrame, seen: Seen) -> Markup:
    """Where foreground lies in the picture."""
    aspect = float((frame["width"] / frame["height"]).median())
    grid = seen.where / max(1, seen.masks)
    plot = plots.heat_map(grid, title="Where foreground lies", aspect=min(4.0, max(0.25, aspect)))
    caption = (
        f"The mean of {seen.masks:,} masks with foreground, each stretched over one grid of {CELLS} x {CELLS} cells: "
    )
    caption += "in how many of them a cell is foreground."
    return plot.figure("Where foreground lies", caption)


def look(folder: Path, frame: pd.DataFrame) -> Seen:
    """Read at most READ pairs of ``frame``, evenly chosen by key, so that each split has its share."""
    seen, ordered = Seen(), frame.sort_values(["split", "key"], kind="stable")
    names = {"": UNASSIGNED}
    for at in evenly(len(ordered), min(READ, len(ordered))):
        row = ordered.iloc[at]
        try:
            image, mask = (images.read_png(folder / kind / f"{row['key']}.png") for kind in ("images", "masks"))
        except (CaseError, OSError):
            seen.unread.append(str(row["key"]))
            continue
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        name = names.get(row["split"], str(row["split"]))
        counts = np.bincount(grey.ravel(), minlength=256).reshape(_BINS, -1).sum(axis=1).astype(np.float64)
        seen.grey[name] = seen.grey.get(name, np.zeros(_BINS)) + counts
        if mask.any():
            inside = (mask if mask.ndim == 2 else mask.max(axis=2)) > 0
            seen.where += cv2.resize(inside.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
            seen.masks += 1
    seen.grey = {name: seen.grey[name] for name in (*SPLITS, UNASSIGNED) if name in seen.grey}
    return seen


def _grey_words(counts: Values, edges: Values) -> str:
    total = max(1.0, float(counts.sum()))
    middle = (edges[:-1] + edges[1:]) / 2
    return (
        f"mean about {float(counts @ middle) / total:.0f}, {counts[0] / total:.0%} of the pixels darkest, "
        f"{counts[-1] / total:.0%} brightest"
    )


def _line(groups: Mapping[str, Values]) -> str:
    return " The line is all splits together." if len(groups) > 1 else ""
