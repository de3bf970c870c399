"""The slices of one series in order, checked against one another.

They are ordered by position along the normal of the slices, never by file name or InstanceNumber. What is wrong with a
series, and what is done about it, is raw-formats.md 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.volumes.damage import COPY_AGAIN
from imagemask.volumes.dicom.header import Header, Tag, read_header
from imagemask.volumes.dicom.images import DicomImage, image_of
from imagemask.volumes.geometry import Grid

SAME_PLACE_MM = 1e-3
UNEVEN = 0.01
"""Steps may differ by this part of a step, or this many millimetres; raw-formats.md, P15."""
NEARLY_WHOLE = 0.2
"""A gap this close to a multiple of the step is a missing slice."""
_TILT_DEGREES = 0.5
_SHIFT_PIXELS = 0.5
_SAME_DIRECTION = 1e-3
_SAME_SPACING = 1e-4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_REMEDY = "The copy may be incomplete or mixed up: download this series again"


@dataclass(frozen=True, eq=False)
class Stack:
    """A series as a volume. ``grid`` is (columns, rows, slices), RAS; ``images`` run along the slice normal.

    ``flags``: ``duplicate_dropped``, ``uneven_spacing``, ``shifted_slices``, ``gantry_tilt``, ``rescale_varies``,
    ``suspicious_intensity``, ``instance_number_repeated``, ``numbered_backwards``, ``order_from_instance_number``,
    ``no_preamble``.
    """

    grid: Grid
    images: tuple[DicomImage, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """One slice: its header, its picture, and where its first pixel lies (LPS millimetres)."""

    header: Header
    image: DicomImage
    position: NDArray[np.float64]
    along: float
    """Millimetres along the slice normal."""


def open_stack(files: Sequence[Path]) -> Stack:
    """Read the headers of a series, check them, and put the slices in order. No pixels are decoded but of duplicates.

    Raises CaseError ``no_slices``, ``mixed_series``, ``mixed_sizes``, ``mixed_orientation``, ``mixed_spacing``,
    ``missing_position``, ``missing_orientation``, ``missing_spacing``, ``bad_orientation``, ``duplicate_uid``,
    ``duplicate_position``, ``missing_slice``, and what ``read_header`` and ``image_of`` raise.
    """
    if not files:
        raise CaseError("no_slices", "the series has no files", remedy=_REMEDY)
    headers = [read_header(path) for path in sorted(files)]
    images = [image_of(header) for header in headers]
    _require_one_series(headers)
    axes = _in_plane_axes(headers)
    placed, order_flags = _placed(headers, images, np.cross(axes[0], axes[1]))
    placed, duplicate_flags = _without_duplicates(placed)
    spacing_flags = _check_steps(placed)
    grid, tilt_flags = _grid(placed, axes)
    flags = (*order_flags, *duplicate_flags, *spacing_flags, *tilt_flags, *_notes([each.header for each in placed]))
    kept = tuple(each.image for each in placed)
    return Stack(grid, kept, (*flags, *_intensity_notes(kept)))


def _require_one_series(headers: Sequence[Header]) -> None:
    first = headers[0]
    for header in headers:
        if header.text(Tag.SeriesInstanceUID) != first.text(Tag.SeriesInstanceUID):
            raise CaseError("mixed_series", "the slices belong to several series", file=header.path, remedy=_REMEDY)
        sizes = [(each.short(Tag.Rows), each.short(Tag.Columns)) for each in (first, header)]
        if sizes[0] != sizes[1]:
            words = " and ".join(f"{rows}x{columns}" for rows, columns in sizes)
            raise CaseError("mixed_sizes", f"slices are {words} pixels", file=header.path, remedy=_REMEDY)


def _in_plane_axes(headers: Sequence[Header]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The steps (LPS mm) from a pixel to the next column and to the next row: one pair for the whole series."""
    first = headers[0]
    orientation, spacing = _orientation(first), _spacing(first)
    told = [first.text(Tag.ImageOrientationPatient), first.text(Tag.PixelSpacing)]
    for header in headers:
        if [header.text(Tag.ImageOrientationPatient), header.text(Tag.PixelSpacing)] == told:
            continue  # to the letter, as nearly always
        if np.abs(_orientation(header) - orientation).max() > _SAME_DIRECTION:
            raise CaseError(
                "mixed_orientation", "slices point in different directions", file=header.path, remedy=_REMEDY
            )
        if np.abs(_spacing(header) / spacing - 1).max() > _SAME_SPACING:
            raise CaseError("mixed_spacing", "slices have different pixel sizes", file=header.path, remedy=_REMEDY)
    return orientation[:3] * spacing[1], orientation[3:] * spacing[0]


def _orientation(header: Header) -> NDArray[np.float64]:
    """The directions of a row and of a column (PS3.3 C.7.6.2.1.1)."""
    values = np.array(header.numbers(Tag.ImageOrientationPatient, 6))
    if not values.size:
        raise CaseError(
            "missing_orientation", "ImageOrientationPatient is missing", file=header.path, remedy=COPY_AGAIN
        )
    row, column = values[:3], values[3:]
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 2 * _SAME_DIRECTION:
        reason = f"ImageOrientationPatient {values.tolist()} is not two perpendicular directions"
        raise CaseError("bad_orientation", reason, file=header.path, remedy=COPY_AGAIN)
    return values


def _spacing(header: Header) -> NDArray[np.float64]:
    """Millimetres between rows and between columns, in this order (PS3.3 10.7.1.3)."""
    values = np.array(header.numbers(Tag.PixelSpacing, 2))
    if not values.size or values.min() <= 0:
        raise CaseError(
            "missing_spacing", "PixelSpacing is missing or not positive", file=header.path, remedy=COPY_AGAIN
        )
    return values


def _placed(
    headers: Sequence[Header], images: Sequence[DicomImage], normal: NDArray[np.float64]
) -> tuple[list[_Placed], list[str]]:
    """The slices in order along ``normal`` (of any length)."""
    unit = normal / np.linalg.norm(normal)
    positions = [np.array(header.numbers(Tag.ImagePositionPatient, 3)) for header in headers]
    flags = []
    if not any(position.size for position in positions):
        positions, flags = [unit * along for along in _by_number(headers)], ["order_from_instance_number"]
    for header, position in zip(headers, positions, strict=True):
        if not position.size:
            raise _no_position(header, "ImagePositionPatient is missing")
    placed = [
        _Placed(header, image, position, float(position @ unit))
        for header, image, position in zip(headers, images, positions, strict=True)
    ]
    return sorted(placed, key=lambda each: each.along), flags


def _by_number(headers: Sequence[Header]) -> list[float]:
    """Where the slices lie (mm) if InstanceNumber counts them along the normal: for series without positions (P13)."""
    step = headers[0].number(Tag.SpacingBetweenSlices) or headers[0].number(Tag.SliceThickness)
    if not step or step < 0:
        raise _no_position(headers[0], "neither ImagePositionPatient nor a slice thickness is there")
    numbers = [header.number(Tag.InstanceNumber) for header in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise _no_position(headers[0], "neither ImagePositionPatient nor distinct instance numbers are there")
    return [step * number for number in numbers if number is not None]


def _no_position(header: Header, reason: str) -> CaseError:
    return CaseError("missing_position", f"the slices cannot be ordered: {reason}", file=header.path, remedy=_REMEDY)


def _without_duplicates(placed: list[_Placed]) -> tuple[list[_Placed], list[str]]:
    """Drop slices that are there twice, pixel for pixel. Raises CaseError where two differ that should not."""
    kept: list[_Placed] = []
    for each in placed:
        if kept and each.along - kept[-1].along < SAME_PLACE_MM:
            _require_same_pixels(kept[-1], each)
        else:
            kept.append(each)
    uids: dict[str, Path] = {}
    for each in kept:
        uid = each.header.text(Tag.SOPInstanceUID)
        if uid and uid in uids:
            reason = f"{uids[uid].name} has the same SOPInstanceUID, at another position"
            raise CaseError("duplicate_uid", reason, file=each.image.path, remedy=_REMEDY)
        uids[uid] = each.image.path
    return kept, ["duplicate_dropped"] if len(kept) < len(placed) else []


def _require_same_pixels(one: _Placed, other: _Placed) -> None:
    if np.array_equal(np.asarray(one.image), np.asarray(other.image)):
        return
    uid = one.header.text(Tag.SOPInstanceUID)
    same_uid = uid and uid == other.header.text(Tag.SOPInstanceUID)
    code, words = ("duplicate_uid", "SOPInstanceUID") if same_uid else ("duplicate_position", "position")
    reason = f"{one.image.path.name} has the same {words} ({_place(one)}), but other pixels"
    raise CaseError(code, reason, file=other.image.path, remedy=_REMEDY)


def _check_steps(placed: Sequence[_Placed]) -> list[str]:
    """Flag uneven steps. Raises CaseError ``missing_slice`` where a gap is about a multiple of the usual step."""
    steps = np.diff([each.along for each in placed])
    if not steps.size:
        return []
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    ratios = steps / usual
    for (before, after), step, ratio in zip(pairwise(placed), steps, ratios, strict=True):
        if round(ratio) >= 2 and abs(ratio - round(ratio)) <= NEARLY_WHOLE:
            reason = (
                f"missing slices ({round(ratio) - 1}) between {_place(before)} and {_place(after)}: "
                f"a gap of {step:.2f} mm where slices are {usual:.2f} mm apart"
            )
            raise CaseError("missing_slice", reason, file=after.image.path, remedy=_REMEDY)
    uneven = np.abs(steps - usual).max() > max(UNEVEN * usual, UNEVEN)
    return ["uneven_spacing"] if uneven else []


def _grid(placed: Sequence[_Placed], axes: tuple[NDArray[np.float64], NDArray[np.float64]]) -> tuple[Grid, list[str]]:
    """The grid (column, row, slice) in RAS; its third axis runs from the first slice's corner to the last one's."""
    column, row = axes
    normal = np.cross(column, row) / np.linalg.norm(np.cross(column, row))
    first, count = placed[0], len(placed)
    step = normal * (first.header.number(Tag.SliceThickness) or 1.0)
    flags = []
    if count > 1:
        step = (placed[-1].position - first.position) / (count - 1)
        tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
        flags = ["gantry_tilt"] if tilt > _TILT_DEGREES else []
        offsets = np.array([each.position - first.position - step * index for index, each in enumerate(placed)])
        aside = np.abs([offsets @ column / (column @ column), offsets @ row / (row @ row)])  # in pixels
        flags += ["shifted_slices"] if aside.max() > _SHIFT_PIXELS else []
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack([column, row, step])
    affine[:3, 3] = _LPS_TO_RAS @ first.position
    return Grid((first.image.columns, first.image.rows, count), affine), flags


def _notes(headers: Sequence[Header]) -> list[str]:
    """What is worth recording of the headers in their final order, and changes nothing."""
    numbers = [number for number in (header.number(Tag.InstanceNumber) for header in headers) if number is not None]
    notes = []
    if len(set(numbers)) < len(numbers):
        notes.append("instance_number_repeated")
    elif len(numbers) > 1 and numbers == sorted(numbers, reverse=True):
        notes.append("numbered_backwards")
    if not all(header.preamble for header in headers):
        notes.append("no_preamble")
    return notes


def _intensity_notes(images: Sequence[DicomImage]) -> list[str]:
    """Rescales that differ (P20), and one under which no value can be below 0 HU, as air is (P22)."""
    rescales = {(image.slope, image.intercept) for image in images}
    notes = ["rescale_varies"] if len(rescales) > 1 else []
    never_air = any(not image.signed and image.slope > 0 and image.intercept >= 0 for image in images)
    return [*notes, "suspicious_intensity"] if never_air else notes


def _place(each: _Placed) -> str:
    x, y, z = each.position + 0.0  # no minus zero
    return f"position ({x:g}, {y:g}, {z:g})"
