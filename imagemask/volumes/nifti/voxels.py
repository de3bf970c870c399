"""The voxels of a NIfTI file: planes of an image in order, labels as small integers.

At most the stored volume is held, once; where the slices are stored one after the other, one slice is. Nothing becomes
float64, but for the pieces of a histogram in an error.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.volumes.geometry import Frame
from imagemask.volumes.nifti.header import NiftiFile
from imagemask.volumes.nifti.stream import Stream

WHOLE = 1e-3
"""How far a float label may lie from a whole number."""
_REPAIR = "Repair the image; for a copy that is like that, lung-tumor has --nan-fill"
_CHUNK = 1 << 18
_MOST_BINS = 20
_LARGEST_LABEL = float(1 << 31)
_POPULATE_READ = 22  # madvise(2)
_INTEGERS = (np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64)


def planes(file: NiftiFile, frame: Frame, *, finite: bool = True) -> Iterator[NDArray[Any]]:
    """The upright slices of an image in stored order, in source units; to the end of the file, checksum included.

    Integers that are not scaled keep their type, in native byte order; anything else is float32. Raises CaseError
    ``nan_voxels`` (unless they need not be ``finite``), ``short_data``, ``truncated_gzip``, ``bad_crc``,
    ``damaged_gzip`` or ``unreadable_file``.
    """
    slice_axis = frame.axes[0]
    with _at_voxels(file) as stream:
        stored = _slices(file, stream) if slice_axis == 2 else _resliced(file, stream, slice_axis)
        for index, plane in enumerate(stored):
            values = _values(file, plane)
            if finite and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise _not_finite(file, values, index)
            yield frame.upright_plane(values)
        stream.drain()


def with_finite(plane: NDArray[Any], fill: float | None) -> NDArray[Any]:
    """``plane`` with ``fill`` for what is NaN or infinite; itself where nothing is, or ``fill`` is None."""
    if fill is None or plane.dtype.kind != "f" or (finite := np.isfinite(plane)).all():
        return plane
    return np.where(finite, plane, plane.dtype.type(fill))


def read_labels(file: NiftiFile, declared: Collection[int] = ()) -> NDArray[np.integer[Any]]:
    """The whole label (i, j, k) in the smallest integer type that holds it; the file is read to its end.

    Where foreground values are ``declared``, there may be no others. Raises CaseError ``nan_label``, ``label_values``
    (a value is not whole, or not declared; with a histogram), and as ``planes`` does.
    """
    count = math.prod(file.grid.shape)
    labels: NDArray[np.integer[Any]] = _background(count)
    undeclared = False
    with _at_voxels(file) as stream:
        for start, values in _chunks(file, stream):
            # Only from the first to the last that is not background: what nobody writes takes no time, and no memory.
            labelled = (values != 0).tobytes()
            if (first := labelled.find(1)) < 0:
                continue
            whole = _whole(file, values[first : labelled.rfind(1) + 1])
            undeclared |= bool(declared) and not _are_among(whole, {0, *declared})
            labels = _widened(labels, whole)
            labels[start + first : start + first + whole.size] = whole
        stream.drain()
    if undeclared:  # of a damaged file its checksum says so first
        raise _undeclared(file, declared)
    _map(labels)
    return labels.reshape(file.grid.shape, order="F")


def same_content(a: NiftiFile, b: NiftiFile) -> bool:
    """Whether two files (``.nii`` and ``.nii.gz`` twins) hold the same values at the same place. Reads both."""
    if a.grid.shape != b.grid.shape or not np.array_equal(a.grid.affine, b.grid.affine):
        return False
    with _at_voxels(a) as one, _at_voxels(b) as other:
        pairs = zip(_chunks(a, one), _chunks(b, other), strict=True)
        same = all(_equal(mine, theirs) for (_, mine), (_, theirs) in pairs)
        one.drain()
        other.drain()
    return same


@contextmanager
def _at_voxels(file: NiftiFile) -> Iterator[Stream]:
    with Stream(file.path) as stream:
        stream.skip(file.offset)
        yield stream


def _slices(file: NiftiFile, stream: Stream) -> Iterator[NDArray[Any]]:
    """Planes (i, j) one by one, as they lie on disk: k is the slowest axis."""
    columns, rows, count = file.grid.shape
    for _ in range(count):
        plane = np.empty((rows, columns), dtype=file.dtype)
        stream.fill(plane)
        yield plane.T


def _resliced(file: NiftiFile, stream: Stream, axis: int) -> Iterator[NDArray[Any]]:
    """Planes across another axis, which needs the whole volume; its checksum is compared before the first."""
    volume = np.empty(file.grid.shape[::-1], dtype=file.dtype)
    stream.fill(volume)
    stream.drain()
    yield from np.moveaxis(volume.T, axis, 0)


def _chunks(file: NiftiFile, stream: Stream) -> Iterator[tuple[int, NDArray[Any]]]:
    """The values in stored order, in pieces: (index of the first, values). The buffer is used again."""
    count = math.prod(file.grid.shape)
    buffer = np.empty(min(count, _CHUNK), dtype=file.dtype)
    for start in range(0, count, _CHUNK):
        piece = buffer[: count - start]
        stream.fill(piece)
        yield start, _values(file, piece)


def _values(file: NiftiFile, stored: NDArray[Any]) -> NDArray[Any]:
    """Stored numbers as values: native integers, or float32 (where too large a float64 becomes infinite)."""
    if not file.scaled and stored.dtype.kind != "f":
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(np.float32, copy=file.scaled)
        if file.scaled:
            values *= np.float32(file.slope)
            values += np.float32(file.inter)
    return values


def _not_finite(file: NiftiFile, values: NDArray[Any], index: int) -> CaseError:
    bad = int(values.size - np.isfinite(values).sum())
    reason = f"slice {index}: {bad} of {values.size} voxels are NaN or infinite"
    return CaseError("nan_voxels", reason, file=file.path, remedy=_REPAIR)


def _whole(file: NiftiFile, values: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Label values as integers. Raises CaseError where they are not whole numbers."""
    if values.dtype.kind != "f":
        return values
    if not values.any():  # most of a label is background, and this is ten times as fast
        return np.zeros(values.shape, dtype=np.uint8)
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        reason = f"{bad} or more voxels of the label are NaN or infinite"
        raise CaseError("nan_label", reason, file=file.path, remedy="Repair the label: a class is a whole number")
    rounded: NDArray[Any] = np.rint(values)
    if (np.abs(values - rounded) > WHOLE).any() or np.abs(rounded).max() >= _LARGEST_LABEL:
        raise CaseError(
            "label_values",
            f"the label holds values that are not whole numbers: {_histogram(file)}",
            file=file.path,
            remedy="A label must hold class numbers; this may be a probability map or a resampled label",
        )
    return rounded.astype(np.int32)


def _are_among(values: NDArray[np.integer[Any]], allowed: Collection[int]) -> bool:
    """Whether there are no other values. Nearly always they are 0 to K, and two looks do what takes np.isin ten."""
    lowest, highest = int(values.min()), int(values.max())
    if min(allowed) == 0 and len(allowed) == max(allowed) + 1:
        return lowest >= 0 and highest in allowed
    return {lowest, highest} <= set(allowed) and bool(np.isin(values, list(allowed)).all())


def _undeclared(file: NiftiFile, declared: Collection[int]) -> CaseError:
    known, counts = ", ".join(map(str, (0, *sorted(declared)))), _counts(file)
    reason = f"the label holds values other than {known}: {_in_words(counts)}"
    remedy = "Correct the label, or fetch the published one: nobody declared what its other values mean"
    found = [value for value in counts if value]
    if len(declared) == len(found) == 1 and found[0] > 0:
        remedy += f"; if {found[0]:g} does so in every label of this copy, give --label-value {found[0]:g}"
    return CaseError("label_values", reason, file=file.path, remedy=remedy)


def _background(count: int) -> NDArray[np.uint8]:
    """So many zeros, of which those that are never written take no memory: numpy's own come in pages of 2 MiB."""
    return np.frombuffer(mmap.mmap(-1, max(1, count), flags=mmap.MAP_PRIVATE), np.uint8, count)


def _map(labels: NDArray[Any]) -> None:
    """Map all pages of a ``_background`` that nobody has written to one of zeros, now: page by page, as they are read,
    takes twice as long, a fiftieth of a build. They still take no memory.
    """
    pages: Any = getattr(labels.base, "obj", None)  # none where the label was widened
    if isinstance(pages, mmap.mmap) and sys.platform == "linux":
        with suppress(OSError):  # before Linux 5.14
            pages.madvise(_POPULATE_READ)


def _widened(labels: NDArray[np.integer[Any]], values: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """``labels`` in the smallest type that also holds ``values``."""
    bounds = np.iinfo(labels.dtype)
    low, high = min(int(values.min()), bounds.min), max(int(values.max()), bounds.max)
    fitting = next(kind for kind in _INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return labels.astype(fitting, copy=False)


def _histogram(file: NiftiFile) -> str:
    """The most frequent values of a label with their counts, in words."""
    return _in_words(_counts(file))


def _counts(file: NiftiFile) -> Counter[float]:
    """How often each value stands in a label; fractions to three digits."""
    counts: Counter[float] = Counter()
    with _at_voxels(file) as stream:
        for _, values in _chunks(file, stream):
            # Rounding multiplies by a thousand, and float32 overflows.
            rounded = np.round(values.astype(np.float64), 3) if values.dtype.kind == "f" else values
            found, numbers = np.unique(rounded, return_counts=True)
            for value, number in zip(found.tolist(), numbers.tolist(), strict=True):
                counts[value] += number
    return counts


def _in_words(counts: Counter[float]) -> str:
    shown = sorted(counts.most_common(_MOST_BINS))
    text = ", ".join(f"{value:g} ({number})" for value, number in shown)
    return f"{text} and {len(counts) - len(shown)} more" if len(counts) > len(shown) else text


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
