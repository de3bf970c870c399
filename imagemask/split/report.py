"""What a split came to: units, images and foreground images in each set, and how far that is from what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask.split.units import codes_of, distinct

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Part:
    """One set, or one fold.

    ``images`` and ``foreground`` (images that have some) are plain ones, ``variants`` the augmented ones. Shares and
    ``ratio`` are of 1; ``deviation`` is in points: how far images or foreground images, whichever are farther off, miss
    the ratio.
    """

    name: str
    units: int
    patients: int
    images: int
    foreground: int
    variants: int
    ratio: float
    image_share: float
    foreground_share: float
    deviation: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split came to.

    ``by`` is what was kept whole: patient, group or image. Without folds, ``folds`` is empty and ``fold`` None.
    ``kept`` units were in a set before, ``drawn`` units were not. ``laid_out`` pairs lie in the three folders.
    """

    by: str
    parts: tuple[Part, ...]
    folds: tuple[Part, ...]
    fold: int | None
    kept: int
    drawn: int
    layout: str
    variants: str
    laid_out: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def parts(frame: pd.DataFrame, of: str, unit: str, ratios: Iterable[tuple[str, float]]) -> tuple[Part, ...]:
    """What lies in each value of the column ``of``; ``unit`` is the column that was kept whole."""
    codes, names = codes_of(frame[of])
    plain = (frame["variant"] == "").to_numpy()
    rows = np.bincount(codes, minlength=len(names))
    images = np.bincount(codes[plain], minlength=len(names))
    foreground = np.bincount(codes[plain & (frame["foreground"] > 0).to_numpy()], minlength=len(names))
    units, patients = (_different(frame[column], codes, len(names)) for column in (unit, "patient"))
    found = []
    for name, ratio in ratios:
        here = [names.index(name)] if name in names else []
        shares = [_share(counts, here) for counts in (images, foreground)]
        found.append(
            Part(
                name=name,
                units=int(units[here].sum()),
                patients=int(patients[here].sum()),
                images=int(images[here].sum()),
                foreground=int(foreground[here].sum()),
                variants=int((rows - images)[here].sum()),
                ratio=ratio,
                image_share=shares[0] or 0.0,
                foreground_share=shares[1] or 0.0,
                deviation=100 * max((abs(share - ratio) for share in shares if share is not None), default=0.0),
            )
        )
    return tuple(found)


def _different(column: pd.Series[str], codes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many values other than "" a column has in each of ``count`` parts; ``codes`` is the part of each row."""
    values, _ = codes_of(column)
    part, _ = distinct(codes, values, (column != "").to_numpy())
    return np.bincount(part, minlength=count)


def _share(counts: NDArray[np.int64], here: list[int]) -> float | None:
    """The share of a part, of 1; None where there is nothing to share."""
    total = int(counts.sum())
    return int(counts[here].sum()) / total if total else None


def warnings(frame: pd.DataFrame, by: str, sets: Sequence[Part]) -> tuple[str, ...]:
    """What makes scores over this split doubtful."""
    said = [f"{part.name} is empty: no {by} is in it" for part in sets if part.ratio > 0 and not part.units]
    if by == "image":
        torn = _parted(frame, "patient")
        said.append(
            f"split by image: {torn} patients are in more than one set, so scores will be better than on new patients"
            if torn
            else "split by image: nothing keeps the images of one patient together, so scores may be too good"
        )
    alone = frame.loc[frame["patient"] == "", "case"].nunique()
    if by == "group" and alone and (frame["patient"] != "").any():
        said.append(f"{alone} cases have no patient, and may be of one who is in another set")
    return tuple(said)


def _parted(frame: pd.DataFrame, column: str) -> int:
    """How many values of a column are in more than one set."""
    known = frame.loc[frame[column] != "", [column, "split"]].drop_duplicates()
    return int((known[column].value_counts() > 1).sum())
