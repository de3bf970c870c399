"""What is wrong with a picture, or with its mask: judged from a row of numbers, with the rest of the data set in view.

Codes AU2xx are about images, AU3xx about masks (``picture_codes``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask import images, manifest
from imagemask.audit import alignment
from imagemask.audit.findings import Finding, found
from imagemask.audit.measures import BLOCKS, IN_PLACE, MEASURES, SIDES, SIGN, is_grey, measure
from imagemask.audit.picture_codes import CODES
from imagemask.audit.tree import Tree
from imagemask.errors import CaseError
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CODES", "MEASURES", "findings", "measure"]

_MOSTLY = 0.8  # what so great a part of the pictures share is usual, and the others are not
_ENOUGH = 10  # pictures, fewer of which have no "rest"


def findings(tree: Tree, measures: pd.DataFrame) -> Iterator[Finding]:
    """What is wrong with the pictures of ``tree``: ``measures`` has the columns MEASURES, aligned with its rows.

    A row of NaN, a picture that could not be read, is passed over.
    """
    judged = _Judged(tree, measures)
    yield from _images(judged)
    yield from _unlike_the_rest(judged)
    yield from _masks(judged)
    yield from _values(judged)
    yield from _alignment(judged)


class _Judged:
    """The measures as arrays, and findings about rows of them."""

    def __init__(self, tree: Tree, measures: pd.DataFrame) -> None:
        self.tree = tree
        self._measures = measures
        self.seen = measures["height"].notna().to_numpy()
        self._files: dict[str, list[str]] = {kind: tree.frame[kind].tolist() for kind in ("image", "mask")}
        self._lines: list[int] = tree.frame["line"].tolist()

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._measures[name].to_numpy(np.float64)

    def table(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Rows x ``names``."""
        return self._measures[list(names)].to_numpy(np.float64)

    def each(
        self, code: str, rows: NDArray[np.bool_], say: Callable[[int], str], of: str = "mask"
    ) -> Iterator[Finding]:
        """A finding a row of ``rows``, about its ``of``: image or mask."""
        for row in np.flatnonzero(rows).tolist():
            yield self.one(code, say(row), rows=[row], of=(of,))

    def one(self, code: str, message: str, *, rows: Sequence[int], of: Sequence[str]) -> Finding:
        """One finding about the files ``of`` (image, mask) of all ``rows``."""
        columns = [self._files[kind] for kind in of]
        files = [column[row] for row in rows for column in columns]
        lines = [self._lines[row] for row in rows for _ in of] if self.tree.manifest else []
        return found(CODES, code, message, files=files, lines=lines)


def _images(judged: _Judged) -> Iterator[Finding]:
    """What an image says by itself."""
    black, white, middle = judged["black"], judged["white"], judged["middle"]
    constant = judged["range"] == 0
    yield from judged.each("AU201", constant, lambda _: "all its pixels are equal", "image")
    yield from judged.each(
        "AU202",
        _clipped(black, white, middle),
        lambda row: (
            f"{black[row]:.0%} of its pixels are black, {white[row]:.1%} white, and half of the others below "
            f"{middle[row]:.0f} of 255"
        ),
        "image",
    )
    glaring = (white >= 0.25) & ~constant
    yield from judged.each("AU203", glaring, lambda row: f"{white[row]:.0%} of its pixels are white", "image")
    turn = judged["turn"]
    own = judged.tree.frame["variant"].str.contains("rot").to_numpy(bool) & judged.tree.manifest
    turned = (np.nan_to_num(turn) != 0) & ~own & ~constant
    yield from judged.each(
        "AU206",
        turned,
        lambda row: (
            f"its corners are blank, as after a turn by {abs(turn[row]):.0f} degrees "
            f"{'counter-' if turn[row] > 0 else ''}clockwise"
        ),
        "image",
    )


def _clipped(black: NDArray[np.float64], white: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.bool_]:
    """CT without a window: much is black, some white, and what lies between dark.

    Soft tissue is at 20 to 80 HU, with contrast medium to 120: such it is in a byte of its own. A window that shows it
    brings it to 100 and above; a window for bone or lung does not make three fifths of a picture black and some of it
    white. Where half of the pictures are like that, so are those in which organs took up more contrast medium.
    """
    ends = (black >= 0.6) & (white >= 0.001) & (middle > 0)
    dark = ends & (middle <= 94)
    return ends if 2 * np.count_nonzero(dark) >= np.count_nonzero(np.isfinite(black)) else dark


def _unlike_the_rest(judged: _Judged) -> Iterator[Finding]:
    """What an image says beside the others."""
    sizes = judged.table(["height", "width"])
    usual = _usual(sizes[judged.seen])
    if usual is not None:
        other = judged.seen & (sizes != usual).any(axis=1)
        rest = _size(usual)
        yield from judged.each("AU207", other, lambda row: f"it is {_size(sizes[row])}, the rest {rest}", "image")
    channels = judged.table(["channels"])
    usual = _usual(channels[judged.seen])
    if usual is not None:
        other = judged.seen & (channels[:, 0] != usual[0])
        yield from judged.each(
            "AU208", other, lambda row: f"it has {channels[row, 0]:.0f} channels, the rest {usual[0]:.0f}", "image"
        )
    inverted = _inverted(judged.table(BLOCKS), _dark_for_bright(judged[SIGN], judged[IN_PLACE]))
    yield from judged.each("AU204", inverted, lambda _: "inverted, it looks like the rest", "image")
    yield from _edges(judged)


def _usual(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The row that nearly all rows are equal to, if there is one."""
    if len(values) < _ENOUGH:
        return None
    rows, counts = np.unique(values, axis=0, return_counts=True)
    usual: NDArray[np.float64] = rows[counts.argmax()]
    return usual if counts.max() >= _MOSTLY * len(values) else None


def _size(size: NDArray[np.float64]) -> str:
    return f"{size[0]:.0f}x{size[1]:.0f}"


def _inverted(blocks: NDArray[np.float64], hinted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pictures, as 16 mean greys each, that inverted lie where most of the others do, and as they are far from them.

    Of those that something else has ``hinted`` at it suffices that inverted they lie nearer.
    Distance is the mean over blocks of that from the median, in units of the median absolute deviation, which is taken
    to be at least 8 grey levels: what is the same in all pictures may differ a little in one.
    """
    none = np.zeros(len(blocks), np.bool_)
    seen = np.isfinite(blocks[:, 0])
    if np.count_nonzero(seen) < _ENOUGH:
        return none
    middle = np.median(blocks[seen], axis=0)
    spread = np.maximum(np.median(np.abs(blocks[seen] - middle), axis=0), 8)
    as_it_is = (np.abs(blocks - middle) / spread).mean(axis=1)
    inverted = (np.abs(255 - blocks - middle) / spread).mean(axis=1)
    usual = np.quantile(as_it_is[seen], _MOSTLY)
    clear = (inverted <= 2 * usual) & (as_it_is >= 4 * usual)
    return np.asarray(clear | (hinted & (inverted < as_it_is)), np.bool_)


def _dark_for_bright(sign: NDArray[np.float64], fit: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pictures in which what is outlined is darker than around it, where in most others it is brighter; or vice versa.

    ``sign`` is that of the outline, ``fit`` above 1 where it lies on edges at all.
    """
    none = np.zeros(len(sign), np.bool_)
    known = sign[np.isfinite(sign)]
    if len(known) < _ENOUGH:
        return none
    usual = np.sign(np.median(known))
    if np.count_nonzero(usual * known >= 0.5) < _MOSTLY * len(known):
        return none
    return np.asarray((usual * sign <= -0.6) & (fit >= 1), np.bool_)


def _edges(judged: _Judged) -> Iterator[Finding]:
    """Blank bands at an edge at which most other pictures have none."""
    constant = judged["range"] == 0
    passed = constant | ~judged.seen | _framed(judged.tree)
    bands: dict[int, list[str]] = {}
    for side, along in zip(SIDES, ("height", "height", "width", "width"), strict=True):
        lines = judged[side]
        if np.count_nonzero(lines[~passed] >= 2) > (1 - _MOSTLY) * np.count_nonzero(~passed):
            continue
        for row in np.flatnonzero(~passed & (lines >= np.maximum(2, 0.01 * judged[along]))).tolist():
            what = "rows" if along == "height" else "columns"
            bands.setdefault(row, []).append(f"{lines[row]:.0f} {what} at the {side}")
    for row, said in sorted(bands.items()):
        yield judged.one("AU205", f"blank: {', '.join(said)}", rows=[row], of=("image",))


def _framed(tree: Tree) -> NDArray[np.bool_]:
    """Pairs of ours that were padded or turned when they were built, and say so."""
    if not tree.manifest:
        return np.zeros(len(tree.frame), np.bool_)
    rows = manifest.read(tree.folder)
    padded = {*rows["key"][rows["pad"].str.contains("[1-9]", regex=True)]}
    turned = tree.frame["variant"].str.contains("rot")
    return (tree.frame["key"].isin(padded) | turned).to_numpy(np.bool_)


def _masks(judged: _Judged) -> Iterator[Finding]:
    """Sizes and shapes."""
    sizes = judged.table(["height", "width", "mask_height", "mask_width"])
    other = np.isfinite(sizes[:, 2]) & (sizes[:, :2] != sizes[:, 2:]).any(axis=1)
    for row in np.flatnonzero(other).tolist():
        message = f"the mask is {_size(sizes[row, 2:])}, its image {_size(sizes[row])}"
        yield judged.one("AU301", message, rows=[row], of=("mask", "image"))
    share, specks, rim = judged["foreground"], judged["specks"], judged["rim"]
    around = 2 * (judged["mask_height"] + judged["mask_width"]) - 4
    full = (share > 0.9) | (rim > 0.9 * around)
    yield from judged.each(
        "AU308",
        full,
        lambda row: f"{share[row]:.0%} of the mask is foreground, {rim[row] / around[row]:.0%} of its border",
    )
    yield from judged.each("AU307", specks > 0, lambda row: f"{specks[row]:.0f} components of a few pixels")
    yield from judged.each(
        "AU309", (rim > 0) & ~full, lambda row: f"{rim[row]:.0f} pixels of the mask lie on the border"
    )
    yield from judged.each("AU310", share == 0, lambda _: "the mask is empty")


def _values(judged: _Judged) -> Iterator[Finding]:
    jpeg = _jpegs(judged)
    values, undeclared, worst = judged["values"], judged["undeclared"], judged["undeclared_value"]
    yield from judged.each("AU302", jpeg, lambda row: f"the mask is a JPEG, of {values[row]:.0f} values")
    yield from judged.each(
        "AU303",
        undeclared > 0,
        lambda row: f"{undeclared[row]:.0f} pixels have values that are not declared, most of them {worst[row]:.0f}",
    )
    soft = judged["soft_values"]
    grey = np.array([is_grey(one) for one in soft.tolist()], np.bool_) & ~jpeg
    yield from judged.each(
        "AU304", grey, lambda row: f"{values[row]:.0f} values, {soft[row]:.0f} of which fill no area"
    )


def _jpegs(judged: _Judged) -> NDArray[np.bool_]:
    """Which masks are JPEG by their first bytes. A dataset of ours is PNG: reading it has shown that."""
    jpeg = np.zeros(len(judged.tree.frame), np.bool_)
    if judged.tree.manifest:
        return jpeg
    names = judged.tree.frame["mask"].tolist()
    for row in np.flatnonzero(np.isfinite(judged["mask_height"])).tolist():
        with suppress(CaseError):  # it was there when it was measured; what is not is none of these codes
            jpeg[row] = images.is_jpeg(judged.tree.folder / names[row])
    return jpeg


def _alignment(judged: _Judged) -> Iterator[Finding]:
    """Masks that belong elsewhere: all of them, else those of a split, else some."""
    scores = judged.table([IN_PLACE, *alignment.PLACES])
    everywhere = np.isfinite(scores[:, 0])
    misplaced = _misplaced(judged, scores, everywhere, "the masks")
    if misplaced is None:
        splits = judged.tree.frame["split"].to_numpy(str)
        of_splits = [
            _misplaced(judged, scores, everywhere & (splits == split), f"the masks of {split}") for split in SPLITS
        ]
        yield from (finding for finding in of_splits if finding)
        yield from _astray(judged, scores)
    else:
        yield misplaced


def _misplaced(judged: _Judged, scores: NDArray[np.float64], which: NDArray[np.bool_], whose: str) -> Finding | None:
    rows = np.flatnonzero(which)
    if len(rows) < alignment.FEWEST_UNITS:
        return None
    units = alignment.units_of(judged.tree.frame["patient"].tolist(), rows)
    better = alignment.better(scores[rows], units)
    if better is None:
        return None
    side = int(np.median(np.maximum(judged["height"], judged["width"])[rows]))
    message = (
        f"{whose} fit the images better {alignment.in_words(better.place, side)}: by a factor of {better.factor:.1f}, "
        f"which is sure by {better.t:.0f} standard errors over {better.units} patients or runs of pairs"
    )
    return judged.one("AU305", message, rows=rows.tolist(), of=("image", "mask"))


def _astray(judged: _Judged, scores: NDArray[np.float64]) -> Iterator[Finding]:
    """Single masks that fit much better elsewhere, where the rest fit best where they are."""
    usable = np.isfinite(scores[:, 0])
    if np.count_nonzero(usable) < _ENOUGH:
        return
    elsewhere = np.nanmax(scores[usable, 1:], axis=1)
    fit = np.full(len(scores), np.nan)
    fit[usable] = np.log(np.maximum(scores[usable, 0], 1e-3) / np.maximum(elsewhere, 1e-3))
    middle = float(np.nanmedian(fit))
    spread = 1.4826 * float(np.nanmedian(np.abs(fit - middle)))
    for row in np.flatnonzero(fit < min(middle - 3 * spread, -0.3)).tolist():
        place = alignment.PLACES[int(np.nanargmax(scores[row, 1:]))]
        side = int(max(judged["height"][row], judged["width"][row]))
        message = f"it fits {np.exp(-fit[row]):.1f} times as well {alignment.in_words(place, side)}"
        yield judged.one("AU306", message, rows=[row], of=("image", "mask"))
