"""Writers: for phantoms, with every oddity of the files that are out there; and for what lies on the grid of an image.

The same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, TypedDict, Unpack, cast

import nibabel
import numpy as np
from numpy.typing import NDArray

from imagemask.files import temporary_name
from imagemask.volumes import geometry
from imagemask.volumes.geometry import Grid
from imagemask.volumes.nifti.header import NiftiFile, raw_header

_FASTEST, _SMALL = 1, 6
_OWN_FIELDS = (
    *("scl_slope", "scl_inter", "cal_max", "cal_min", "descrip", "aux_file"),
    *("intent_name", "intent_code", "intent_p1", "intent_p2", "intent_p3"),
)
"""What a header says of its own values, and not of where they lie."""
_INTENT_LABEL = 1002


class Quirks(TypedDict, total=False):
    """What may be odd about a header. ``fields`` overwrites header fields by name, last of all."""

    slope: float
    inter: float
    version: int
    big_endian: bool
    qform_code: int
    sform_code: int
    qform: NDArray[np.float64]
    fields: Mapping[str, Any]


def write_nifti(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64], *, gzip: bool = True, **quirks: Unpack[Quirks]
) -> None:
    """Write ``array`` as stored values (no scaling is undone) with ``affine`` (index to RAS mm) as sform and qform.

    zlib and no time stamp, so that the bytes do not depend on the machine; plane by plane.
    """
    _write(path, array, _header(array, affine, quirks), level=_FASTEST if gzip else None)


def write_labels(path: Path, labels: NDArray[np.uint8], *, like: NiftiFile | Grid) -> None:
    """Write class ids (i, j, k) as a label volume on the grid of an image: its shape and place, to the header's codes.

    ``like`` is the image's file, whose header is copied but for what it says of its values; or the grid of an image of
    another format (RAS mm, as scanner coordinates). Gzipped where the name ends in ``.gz``; whole or not at all. Raises
    OSError, and CaseError where the image's header can no longer be read.
    """
    write_values(path, labels, like=like, intent=_INTENT_LABEL)


def write_values(path: Path, values: NDArray[Any], *, like: NiftiFile | Grid, intent: int = 0) -> None:
    """Write values of any type as ``write_labels`` does: (i, j, k), or (i, j, k, n) for several a voxel.

    ``intent`` is what nifti1.h calls the values, 0 for nothing in particular.
    """
    header = (_scanner_header(values, like) if isinstance(like, Grid) else raw_header(like.path)).as_byteswapped("<")
    extra = [1] * (int(header["dim"][0]) - values.ndim)  # of an image that is stored as (i, j, k, 1)
    for name in _OWN_FIELDS:
        header[name] = 0 if header[name].dtype.kind in "iuf" else b""
    header.set_data_dtype(values.dtype)
    header.set_data_shape([*values.shape, *extra])
    header["scl_slope"], header["intent_code"], header["vox_offset"] = 1, intent, header.single_vox_offset
    temporary = temporary_name(path)
    try:
        _write(temporary, values, header, level=_SMALL if path.name.endswith(".gz") else None)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _scanner_header(values: NDArray[Any], grid: Grid) -> Any:
    """A new header; without a qform where that cannot say what the affine does (a tilted gantry shears)."""
    header = _header(values, grid.affine, {})
    told = np.abs(header.get_qform() - grid.affine).max() <= geometry.ROUNDED_MATRIX
    header["qform_code"] = int(told)
    return header


def _write(path: Path, array: NDArray[Any], header: Any, *, level: int | None) -> None:
    """Header and values, plane by plane; gzipped at ``level``, or not where that is None."""
    stored = array.dtype.newbyteorder(header.endianness)
    with ExitStack() as stack:
        out: IO[bytes] = stack.enter_context(path.open("wb"))
        if level is not None:
            packed = GzipFile(filename="", mode="wb", compresslevel=level, fileobj=out, mtime=0)
            out = cast(IO[bytes], stack.enter_context(packed))
        out.write(header.binaryblock + bytes(4))
        for index in range(array.shape[-1]):
            out.write(array[..., index].astype(stored, copy=False).tobytes(order="F"))


def _header(array: NDArray[Any], affine: NDArray[np.float64], quirks: Quirks) -> Any:
    kind = nibabel.Nifti2Header if quirks.get("version", 1) == 2 else nibabel.Nifti1Header
    header = kind(endianness=">" if quirks.get("big_endian") else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    qform = quirks.get("qform", affine)
    if not geometry.flaw(qform):  # there is no quaternion for any other
        header.set_qform(qform)
    header.set_sform(affine)
    header["qform_code"], header["sform_code"] = quirks.get("qform_code", 1), quirks.get("sform_code", 1)
    header["scl_slope"], header["scl_inter"] = quirks.get("slope", 1.0), quirks.get("inter", 0.0)
    header["magic"], header["vox_offset"] = b"n+2" if kind is nibabel.Nifti2Header else b"n+1", kind.single_vox_offset
    header["xyzt_units"] = 2  # millimetres
    for name, value in quirks.get("fields", {}).items():
        header[name] = value
    return header
