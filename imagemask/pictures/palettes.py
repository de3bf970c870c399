"""Masks that say the class by a colour, and masks of which nobody says how foreground is written: both as labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imagemask import images, masks
from imagemask.errors import CaseError
from imagemask.masks import Read

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255. Of a decoder that gives blue first, red classes and blue ones change places."""

TOLERANCE = 8
"""How far from a mixture of two colours of its mask a stray pixel may lie, in each channel."""
_FEW, _SHARE = 16, 8  # stray pixels that are mended: so many, or one in so many of those that are not black
_SHOWN = 3
_OPAQUE = 0xFF000000  # the alpha that comes to pixels without one, as they lie in memory
_DEEP = 257  # 8 bits in 16: 255 becomes 65535


def labels(
    path: Path, colours: Mapping[Colour, int] | None, *, value: int, threshold: int | None = None, strict: bool = False
) -> Read:
    """The mask at ``path``, HxW: with the label of each colour, or, without ``colours``, ``value`` for foreground.

    Unless told to be ``strict``, colours that are no class are taken for foreground where they are one grey beside
    another, or where ``threshold`` tells; so are indices of a palette that is partly transparent, or that tells other
    classes than its indices, and the same foreground. Flags and errors are those of ``classes`` and ``foreground``.
    """
    if colours is None:
        return foreground(path, value, threshold=threshold)
    try:
        read, mode = _by_colour(path, colours)
    except CaseError as error:
        if strict or error.code not in ("unknown_colour", "jpeg_mask", "transparent_image"):
            raise
        unknown = error
    else:
        return _held_against_indices(path, read, mode, colours, some=0 if strict else value)
    try:
        return foreground(path, value, threshold=threshold)
    except CaseError:
        raise unknown from None


def classes(path: Path, colours: Mapping[Colour, int]) -> Read:
    """The mask at ``path``, HxW, with the label of each pixel's colour; black is 0, grey is three equal channels.

    Where the edge of a region was smoothed, single pixels are mixtures of two colours: they get the nearer one (a tie
    goes to the foreground), with the flag ``colours_mended``. ``several_classes`` notes more than one label, and
    ``palette_mask`` that the file has a palette, of which the colours count.

    Raises CaseError ``jpeg_mask``, and ``unknown_colour`` (with colours and pixels) where such pixels are many, form an
    area, or are no mixture of what the mask has, or where the indices of a palette could be labels, and are not those
    of its colours; and as ``images.read_image`` does.
    """
    return _held_against_indices(path, *_by_colour(path, colours), colours)


def _by_colour(path: Path, colours: Mapping[Colour, int]) -> tuple[Read, str]:
    """``classes``, without a look at how the colours are stored; and the mode in which they are."""
    picture = images.read(path)
    if picture.kind == "JPEG":
        raise masks.jpeg_mask(path, images.read_mask(path))
    stored = picture.pixels  # a mask is never turned, and its stored size is the one that its image is held against
    if (exact := _exactly(stored, colours)) is not None:
        return exact, picture.mode
    pixels = _deep(stored)
    codes = (pixels[..., 0] << 32) | (pixels[..., 1] << 16) | pixels[..., 2]
    found, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    known = {_code(colour): label for colour, label in ({(0, 0, 0): 0} | dict(colours)).items()}
    labels = np.array([known.get(code, -1) for code in found.tolist()], np.int64)
    stray = labels < 0
    if stray.any():
        _require_edges_only(path, found[stray], counts[stray], (labels[place] < 0).reshape(codes.shape), codes)
        seen = [code for code in [*known][1:] if code in found] + [_code((0, 0, 0))]
        labels[stray] = _nearest(path, found[stray], counts[stray], {code: known[code] for code in seen})
    flags = {"colours_mended": bool(stray.any()), "several_classes": len({*labels.tolist()} - {0}) > 1}
    noted = tuple(flag for flag, holds in flags.items() if holds)
    return (labels[place].reshape(codes.shape).astype(np.uint16), noted), picture.mode


def _held_against_indices(path: Path, read: Read, mode: str, colours: Mapping[Colour, int], *, some: int = 0) -> Read:
    """``read``, with the flag ``palette_mask`` where ``mode`` says that the file has a palette.

    Where indices could be labels, and tell other classes than the colours, foreground is ``some``; CaseError
    ``unknown_colour`` where that is not given. They cannot be where one is larger than every label, or where black is
    another index than 0, as in a palette that a program made up: labels count from a black background.
    """
    if mode != "P":
        return read
    labels, flags = read
    indices = images.read_mask(path)
    plausible = int(indices.max()) <= max(colours.values()) and np.array_equal(indices > 0, labels > 0)
    if plausible and not np.array_equal(indices, labels):
        if not some:
            reason = f"{path.name} is ambiguous: the colours of its palette tell other classes than its indices"
            remedy = "Find out which are right, and save the mask in colours without a palette (RGB)"
            raise CaseError("unknown_colour", reason, file=path, remedy=remedy)
        labels = (labels > 0) * np.uint16(some)
    return labels, (*flags, "palette_mask")


def foreground(path: Path, value: int, *, threshold: int | None = None) -> Read:
    """A mask of two values, whatever they are (0/1, 0/255, 0/128, palette indices, 16 bits): ``value`` and 0.

    One of more values, or a JPEG, is cut at ``threshold`` where that is given. Flags and errors are those of
    ``masks.binary`` and ``masks.cut``.
    """
    try:
        return masks.binary(path, value)
    except CaseError as error:
        if threshold is None or error.code not in ("label_values", "jpeg_mask", "colour_mask"):
            raise
    return masks.cut(path, threshold, value)


def _exactly(pixels: NDArray[Any], colours: Mapping[Colour, int]) -> Read | None:
    """``classes`` of 8-bit pixels of which every colour is known, as nearly always, in a tenth of the time; or None."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        return None
    known = {_OPAQUE | red | green << 8 | blue << 16: label for (red, green, blue), label in colours.items()}
    labels = np.zeros(pixels.shape[:2], np.min_scalar_type(max(known.values(), default=0)))
    if not (box := _coloured(pixels)):
        return labels, ()
    codes = cv2.cvtColor(pixels[box], cv2.COLOR_RGB2RGBA).view("<u4")[..., 0]
    left, seen = codes != _OPAQUE, 0
    while left.any():  # a picture has one class or two of eight: only those are looked for that it has
        code = int(codes.flat[int(left.argmax())])
        if code not in known:
            return None
        here = codes == code
        labels[box] += here.view(np.uint8) * labels.dtype.type(known[code])  # to copy where it holds takes longer
        left ^= here
        seen += 1
    return labels, ("several_classes",) if seen > 1 else ()


def _coloured(pixels: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """The rows and columns beyond which HxWx3 pixels are black; None where all are. Most of a mask is black."""
    rows = np.flatnonzero(pixels.reshape(len(pixels), -1).max(axis=1))
    if not rows.size:
        return None
    inside = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(pixels[inside].max(axis=0).max(axis=1))
    return inside, slice(int(columns[0]), int(columns[-1]) + 1)


def _deep(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """HxWx3 in 16 bits a channel, whatever the file has."""
    wide = pixels.astype(np.int64) * (_DEEP if pixels.dtype == np.uint8 else 1)
    return wide if wide.ndim == 3 else np.repeat(wide[..., None], 3, axis=2)


def _code(colour: Colour) -> int:
    red, green, blue = (channel * _DEEP for channel in colour)
    return red << 32 | green << 16 | blue


def _channels(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([codes >> 32, (codes >> 16) & 0xFFFF, codes & 0xFFFF], axis=1)


def _require_edges_only(
    path: Path, found: NDArray[np.int64], counts: NDArray[np.int64], stray: NDArray[np.bool_], codes: NDArray[np.int64]
) -> None:
    """Raise CaseError where stray pixels are no mere edge: too many, or 3 x 3 of them side by side."""
    many = int(counts.sum()) > max(_FEW, int(np.count_nonzero(codes)) // _SHARE)
    area = stray[:-2] & stray[1:-1] & stray[2:]
    if many or (area[:, :-2] & area[:, 1:-1] & area[:, 2:]).any():
        raise _unknown(path, found, counts)


def _nearest(
    path: Path, found: NDArray[np.int64], counts: NDArray[np.int64], seen: Mapping[int, int]
) -> NDArray[np.int64]:
    """The label of the nearer of those two colours in ``seen``, by code, that mix to each colour in ``found``.

    The first of both where they are as near.
    """
    stray, ends = (_channels(np.array(codes, np.int64)) for codes in (found, [*seen]))
    first, second = np.triu_indices(len(ends))
    along = (ends[second] - ends[first])[None]
    off = stray[:, None] - ends[first][None]
    share = (off * along).sum(axis=2) / np.maximum((along * along).sum(axis=2), 1)
    apart = np.abs(off - np.clip(share, 0, 1)[..., None] * along).max(axis=2)
    pair = apart.argmin(axis=1)
    far = apart.min(axis=1) > TOLERANCE * _DEEP
    if far.any():
        raise _unknown(path, found[far], counts[far])
    nearer = np.where(share[np.arange(len(found)), pair] > 0.5, second[pair], first[pair])
    nearest: NDArray[np.int64] = np.array([*seen.values()], np.int64)[nearer]
    return nearest


def _unknown(path: Path, found: NDArray[np.int64], counts: NDArray[np.int64]) -> CaseError:
    order = np.argsort(-counts, kind="stable")
    shown = [f"{_in_words(found[place])}: {counts[place]} pixels" for place in order[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return CaseError(
        "unknown_colour",
        f"{path.name} holds colours of no class: {', '.join(shown)}{more}",
        file=path,
        remedy="Correct the mask; imagemask info says which classes there are",
    )


def _in_words(code: int) -> str:
    channels = (int(channel) for channel in _channels(np.array([code], np.int64))[0])
    return "(" + ", ".join(f"{channel / _DEEP:.4g}" for channel in channels) + ")"
