"""A contact sheet of a dataset: pairs with their masks outlined, spread evenly over splits and patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagemask import images, manifest
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.files import write_atomic
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS, SIDE = 6, 256
_SPLITS = (*SPLITS, "")


def preview(dataset: Path, out: Path, n: int = 24) -> Path:
    """Write a contact sheet of ``n`` pairs of ``dataset``, or of all where there are fewer, to ``out``, a PNG.

    The choice is the same every time. Raises UsageError where ``out`` is no PNG by its name, InputError where it cannot
    be written, the dataset holds no pair, or a picture of it cannot be read.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: a preview is a PNG", remedy="Give --out a name that ends in .png")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: there is no such folder", remedy="Make it, or give another --out")
    rows = choose(manifest.read(dataset), n)
    if rows.empty:
        raise InputError(f"{dataset}: holds no pair", remedy="Build it: imagemask build NAME")
    tiles = [_tile(dataset, key, split) for key, split in zip(rows["key"], rows["split"], strict=True)]
    sheet = images.contact_sheet(tiles, columns=min(COLUMNS, len(tiles)), side=SIDE)
    write_atomic(out, images.encode_png(sheet, level=images.IMAGE_LEVEL))
    return out


def choose(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """``n`` rows of a manifest, the same every time: plain pairs with foreground first, then empty ones, then variants.

    Splits get equal shares, so do the patients of a split, and the pairs of a patient are evenly spaced.
    """
    plain, some = rows["variant"] == "", rows["foreground"] > 0
    chosen: list[int] = []
    for tier in (rows[plain & some], rows[plain & ~some], rows[~plain]):
        chosen += _spread(tier, n - len(chosen))
    order = rows.loc[chosen].assign(at=[_SPLITS.index(split) for split in rows["split"].loc[chosen]])
    return order.sort_values(["at", "key"]).drop(columns="at")


def shares(capacities: Sequence[int], n: int) -> list[int]:
    """``n`` handed out as evenly as the capacities allow; where some get one more, they are evenly spaced."""
    given = [0] * len(capacities)
    left = min(n, sum(capacities))
    while left:
        open_ = [position for position, capacity in enumerate(capacities) if given[position] < capacity]
        lucky = open_ if left >= len(open_) else [open_[at] for at in evenly(len(open_), left)]
        for position in lucky:
            given[position] += 1
        left -= len(lucky)
    return given


def evenly(total: int, n: int) -> list[int]:
    """``n`` different positions of ``total``, evenly spaced, in order; ``n`` is at most ``total``."""
    return [(2 * position + 1) * total // (2 * n) for position in range(n)]


def _spread(rows: pd.DataFrame, n: int) -> Iterator[int]:
    """Labels of ``n`` rows."""
    of_split = [rows[rows["split"] == split] for split in _SPLITS]
    for some, share in zip(of_split, shares([len(some) for some in of_split], n), strict=True):
        unit = some["patient"].where(some["patient"] != "", some["case"])
        of_patient = [pairs.sort_values("key").index for _, pairs in some.groupby(unit, sort=True)]
        for labels, number in zip(of_patient, shares([*map(len, of_patient)], share), strict=True):
            yield from (labels[at] for at in evenly(len(labels), number))


def _tile(dataset: Path, key: str, split: str) -> images.Tile:
    try:
        image, mask = (images.read_png(dataset / folder / f"{key}.png") for folder in ("images", "masks"))
    except (CaseError, OSError) as error:
        raise InputError(f"{key}: cannot be shown: {error}", remedy="imagemask verify lists what is wrong") from error
    return images.Tile(image, mask, f"{key} {split}".rstrip())
