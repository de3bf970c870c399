"""A writer for phantoms: the same bytes everywhere, and every oddity of the files that are out there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, TypedDict, Unpack, cast

import nibabel
import numpy as np
from numpy.typing import NDArray

from imagemask.volumes import geometry

_FASTEST = 1


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
    stored = array.dtype.newbyteorder(">" if quirks.get("big_endian") else "<")
    with ExitStack() as stack:
        out: IO[bytes] = stack.enter_context(path.open("wb"))
        if gzip:
            packed = GzipFile(filename="", mode="wb", compresslevel=_FASTEST, fileobj=out, mtime=0)
            out = cast(IO[bytes], stack.enter_context(packed))
        out.write(_header(array, affine, quirks).binaryblock + bytes(4))
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
