"""Mask files into labels: what their values mean, where nobody declared it or only a threshold tells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask import images
from imagemask.errors import CaseError, UsageError
from imagemask.images import Picture

Read = tuple[NDArray[np.integer[Any]], tuple[str, ...]]
"""A mask, HxW, 0 and the foreground's value; and the flags of what was noted."""

_ONE = (1, 255, 65535)
_USUAL = (0, *_ONE)
_SHOWN, _SAMPLE = 8, 8
_THRESHOLD = "Give --mask-threshold 128 to take the brighter half as foreground, or masks without loss (PNG)"


def exact(path: Path, declared: Collection[int]) -> Read:
    """A mask whose values are labels themselves: 0 and those that are ``declared``.

    Raises CaseError ``label_values`` for others, with the histogram, ``jpeg_mask``, and as ``images.read_mask`` does.
    """
    mask = _lossless(path)
    if not np.isin(mask, (0, *declared)).all():
        known = ", ".join(map(str, (0, *sorted(declared))))
        raise CaseError(
            "label_values",
            f"{path.name} holds values other than {known}: {histogram(mask)}",
            file=path,
            remedy="Declare every value that means something (--labels 1=NAME,2=NAME), or correct the mask",
        )
    return mask, ()


def binary(path: Path, value: int) -> Read:
    """A mask of two values at most, the larger of them foreground, which becomes ``value``; all zero is empty.

    0/1, 0/255 and any other two values will do; flags note what is unusual: ``foreground_value`` (neither 1 nor 255),
    ``background_value`` (not 0), ``mask_full`` (nothing but foreground). Raises CaseError ``jpeg_mask`` for a JPEG,
    whose edges blur into every value, and ``label_values`` for a third value, both with the histogram.
    """
    foreground, low, high = _halves(path)
    odd = {
        "foreground_value": high not in _USUAL,
        "background_value": low not in (0, high),
        "mask_full": low == high > 0,
    }
    return _filled(foreground, value), tuple(flag for flag in odd if odd[flag])


def refuse_mixed(raw: Path, paths: Iterable[Path]) -> None:
    """Raise UsageError, with masks counted by value, where those of two values (``binary``) disagree on what these are.

    A mask of 0 and 1 and a mask of 0 and 2 are sound, each by itself; together they are two classes, which would become
    one. So over all masks below ``raw`` the foreground has one value, which may be spelt 1, 255 and 65535, and the
    background one. What is no such mask is passed over: a build quarantines it. Masks are decoded one at a time.
    """
    seen: dict[str, dict[int, list[Path]]] = {"foreground": {}, "background": {}}
    for path in paths:
        try:
            low, high = (0, 0) if images.is_jpeg(path) else _halves(path)[1:]
        except (CaseError, OSError):
            continue
        if high:
            seen["foreground"].setdefault(high, []).append(path)
        if low < high:
            seen["background"].setdefault(low, []).append(path)
    mixed = [what for what, by in seen.items() if len({1 if value in _ONE else value for value in by}) > 1]
    if mixed:
        said = "; ".join(f"{what} is {_by_value(raw, seen[what])}" for what in mixed)
        classes = [f"{value}=NAME" for value in sorted(set().union(*seen.values()) - {0})]
        raise UsageError(
            f"{raw}: masks hold two values each, and not the same two: {said}",
            remedy=f"Declare classes with --labels {','.join(classes[:_SHOWN])}; "
            "if they are one class, give --mask-threshold N: from N up is foreground",
        )


def zero_or_one(path: Path) -> Read:
    """A mask of 0 and 1; one of 0 and 255 (of 16 bits: 65535) becomes so, with the flag ``bright_mask``.

    ``mask_full`` says that there is nothing but foreground. Raises CaseError ``label_values`` for any other value, and
    ``jpeg_mask``, both with the histogram, and as ``images.read_mask`` does.
    """
    mask = _lossless(path, remedy="Fetch the mask as it was published, without loss (PNG)")
    high, background = int(mask.max()), mask == 0
    if high not in (0, *_USUAL) or not (background | (mask == high)).all():
        raise CaseError(
            "label_values",
            f"{path.name} holds other values than 0 and 1, or 0 and 255: {histogram(mask)}",
            file=path,
            remedy="Fetch the mask as it was published: other values may mean something else than foreground",
        )
    odd = {"bright_mask": high > 1, "mask_full": not background.any()}
    return _filled(~background, 1), tuple(flag for flag in odd if odd[flag])


def cut(path: Path, threshold: int, value: int) -> Read:
    """A mask of any file: pixels whose brightest channel reaches ``threshold`` become ``value``.

    The flag ``mask_thresholded`` says that pixels other than black and the full value were there. Raises CaseError
    ``label_values`` for a threshold that no pixel of the file's depth can reach, and for a lossless mask of 0 and 1, of
    which a higher threshold would leave nothing.
    """
    grey = _grey(path)
    top, full = int(grey.max(initial=0)), int(np.iinfo(grey.dtype).max)
    if threshold > full:
        raise CaseError(
            "label_values",
            f"{path.name} holds values up to {full}, all below the threshold of {threshold}: {histogram(grey)}",
            file=path,
            remedy=f"Give a --mask-threshold from 1 to {full}",
        )
    if top == 1 < threshold and not images.is_jpeg(path):
        raise CaseError(
            "label_values",
            f"{path.name} holds 0 and 1, all below the threshold of {threshold}: {histogram(grey)}",
            file=path,
            remedy="Build masks of 0 and 1 without --mask-threshold",
        )
    soft = bool(np.any((grey != 0) & (grey != full)))
    return _filled(grey >= threshold, value), ("mask_thresholded",) if soft else ()


def of_copies(image_paths: Sequence[Path], mask_paths: Sequence[Path]) -> tuple[NDArray[Any], *Read]:
    """Image, mask (as ``zero_or_one``) and flags of a picture that may lie there several times: ``twin_dropped``.

    Without masks the mask is empty. Raises CaseError ``duplicate_stem`` where the images differ, ``twins_differ`` where
    the masks do, and as ``zero_or_one`` and ``image_of`` do.
    """
    first, flags = image_paths[0], tuple[str, ...]()
    if mask_paths:
        mask, noted = zero_or_one(mask_paths[0])
        image, turned = image_of(first, mask_paths[0], mask)
        flags = (*noted, *turned)
    else:
        image = images.read_image(first)
        mask = np.zeros(image.shape[:2], np.uint8)
    for path in image_paths[1:]:
        if not np.array_equal(image, images.read_image(path, like=(mask.shape[0], mask.shape[1]))):
            reason, remedy = f"{first.name} and {path.name} have one name, and are two pictures", "Rename one of them"
            raise CaseError("duplicate_stem", reason, file=path, remedy=remedy)
    for path in mask_paths[1:]:
        if not np.array_equal(mask, zero_or_one(path)[0]):
            reason = f"{mask_paths[0].name} and {path.name} are masks of one picture, and differ"
            raise CaseError("twins_differ", reason, file=path, remedy="Find out which is right, and remove the other")
    return image, mask, (*flags, "twin_dropped") if len(image_paths) > 1 else flags


def image_of(path: Path, mask_path: Path, mask: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The image at ``path``, of the size of its mask; flag ``exif_orientation`` where a JPEG says that it lies turned.

    The mask's size decides whether it is turned upright or was outlined as stored. Raises CaseError ``size_mismatch``.
    """
    return like_its_mask(images.read(path), path, mask_path, mask)


def like_its_mask(
    picture: Picture, path: Path, mask_path: Path, mask: NDArray[Any]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """``image_of`` of a picture that has been read."""
    image = picture.upright((mask.shape[0], mask.shape[1]))
    if image.shape[:2] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        on_its_side = ": one of them lies on its side, as an EXIF orientation may have said"
        raise CaseError(
            "size_mismatch",
            f"{path.name} is {height}x{width}, its mask {mask_path.name} {mask_height}x{mask_width}",
            file=mask_path,
            remedy="They must have one size, and are never resized to fit"
            + on_its_side * (image.shape[1::-1] == mask.shape),
        )
    turned = picture.kind == "JPEG" and picture.orientation > 1
    return image, ("exif_orientation",) if turned else ()


def refuse_jpeg(path: Path, *, remedy: str = _THRESHOLD) -> None:
    """Raise CaseError ``jpeg_mask``, with the histogram that shows why, where a mask is a JPEG."""
    if images.is_jpeg(path):
        raise jpeg_mask(path, _grey(path), remedy=remedy)


def jpeg_mask(path: Path, pixels: NDArray[Any], *, remedy: str = _THRESHOLD) -> CaseError:
    """The error of a mask that is a JPEG, with the histogram of its ``pixels``, HxW, that shows why."""
    reason = f"{path.name} is a JPEG, which blurs a mask's edges: {histogram(pixels)}"
    return CaseError("jpeg_mask", reason, file=path, remedy=remedy)


def refuse_all_jpeg(paths: Sequence[Path]) -> None:
    """Raise UsageError, with a histogram that shows why, where a sample of the masks is JPEG throughout."""
    sample = paths[:: max(1, len(paths) // _SAMPLE)][:_SAMPLE]
    refusals = []
    for path in sample:
        try:
            refuse_jpeg(path)
        except CaseError as error:
            refusals += [error] if error.code == "jpeg_mask" else []
    if refusals and len(refusals) == len(sample):
        raise UsageError(f"the masks are JPEG: {refusals[0].reason}", remedy=refusals[0].remedy)


def histogram(mask: NDArray[Any]) -> str:
    """Pixels by value, in words: ``4 values, pixels by value 0: 120, 1: 3, 2: 1, 255: 60``; in ranges where many."""
    values, counts = np.unique(mask, return_counts=True)
    names = [str(value) for value in values.tolist()]
    if len(values) > _SHOWN:
        scale = 1 if values[-1] < 256 else 257
        edges = [0, 1, *(edge * scale for edge in (16, 64, 128, 192, 240, 255)), 255 * scale + 1]
        counts = np.histogram(mask, bins=edges)[0]
        names = [str(low) if low == high - 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
    pixels = ", ".join(f"{name}: {count}" for name, count in zip(names, counts.tolist(), strict=True) if count)
    return f"{len(values)} value{'s' * (len(values) > 1)}, pixels by value {pixels}"


def _lossless(path: Path, *, remedy: str = _THRESHOLD) -> NDArray[np.integer[Any]]:
    """``images.read_mask`` of what is no JPEG. Raises CaseError as ``refuse_jpeg`` does."""
    picture = images.read_as_mask(path)
    if picture.kind == "JPEG":
        raise jpeg_mask(path, picture.pixels, remedy=remedy)
    return picture.pixels


def _halves(path: Path) -> tuple[NDArray[np.bool_], int, int]:
    """Where a mask of two values at most holds the larger, none where that is 0; the smaller and the larger value.

    Raises CaseError ``label_values`` for a third value, ``jpeg_mask``, and as ``images.read_mask`` does.
    """
    mask = _lossless(path)
    low, high = int(mask.min()), int(mask.max())
    foreground = mask == high
    # To count is several times as fast as to ask for all(), and between 0 and 1 there is no third.
    if high - low > 1 and np.count_nonzero(mask != low if low else mask) > np.count_nonzero(foreground):
        raise CaseError(
            "label_values",
            f"{path.name} holds more than two values: {histogram(mask)}",
            file=path,
            remedy="Declare several classes with --labels 1=NAME,2=NAME; cut soft edges with --mask-threshold 128",
        )
    return foreground if high else np.zeros_like(foreground), low, high


def _by_value(raw: Path, seen: Mapping[int, Sequence[Path]]) -> str:
    """Masks by value, in words: ``1 in 3 masks (masks/a.png first), 2 in 1 mask (masks/d.png first)``."""
    words = [
        f"{value} in {len(paths)} mask{'s' * (len(paths) > 1)} ({paths[0].relative_to(raw)} first)"
        for value, paths in sorted(seen.items())
    ]
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} values more" if more > 0 else "")


def _grey(path: Path) -> NDArray[np.integer[Any]]:
    """HxW, stored values; of a coloured mask the brightest channel: a grey conversion would lose darker colours."""
    try:
        return images.read_mask(path)
    except CaseError as error:
        if error.code != "colour_mask":
            raise
    colours: NDArray[np.integer[Any]] = images.read_image(path).max(axis=2)
    return colours


def _filled(foreground: NDArray[np.bool_], value: int) -> NDArray[np.integer[Any]]:
    """``value`` where ``foreground`` holds, of which the memory is used."""
    filled = foreground.view(np.uint8)
    return np.multiply(filled, np.uint8(value), out=filled) if value < 256 else filled * np.uint16(value)
