"""What a NIfTI header says, checked before anything is allocated.

The layout is https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h; nibabel's header classes decode it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from imagemask.errors import CaseError
from imagemask.volumes import geometry
from imagemask.volumes.damage import COPY_AGAIN, file_size
from imagemask.volumes.geometry import Grid
from imagemask.volumes.nifti.stream import Stream

HEADER_BYTES = {1: 348, 2: 540}
MAX_BYTES = 16 << 30
"""More than any CT: 512x512x6500 in float64."""
GZIP_RATIO = 1032
"""What deflate reaches at best: zlib.net/zlib_tech.html."""
_HARMLESS_BYTES = 1 << 30
"""A claim below this is put to the test: a short file shows by its data."""
_EXTENSION_BYTES = 4


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """A NIfTI volume whose header was read: the grid, and how its voxels are stored.

    ``dtype`` is that of the disk, byte order included; values are ``stored * slope + inter``. ``flags``:
    ``qform_differs``, ``squeezed``, ``single_slice``, ``orientation_assumed``, ``name_misleads`` (gzip or not, against
    the file's name).
    """

    path: Path
    grid: Grid
    dtype: np.dtype[Any]
    slope: float
    inter: float
    offset: int
    gzipped: bool
    flags: tuple[str, ...] = ()

    @property
    def scaled(self) -> bool:
        """Whether the values differ from what is stored."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def nbytes(self) -> int:
        """The size of the voxels as stored, uncompressed."""
        return math.prod(self.grid.shape) * self.dtype.itemsize


def open_nifti(path: Path, *, assume: str | None = None) -> NiftiFile:
    """Read and check the header of a NIfTI file, and nothing else.

    ``assume`` names the axes (``LAS``) of a file whose own affine is unusable, which is flagged. Raises CaseError
    ``missing_file``, ``unreadable_file``, ``empty_file``, ``not_gzip``, ``not_nifti``, ``truncated_gzip``, ``bad_crc``,
    ``damaged_gzip``, ``bad_header``, ``header_bomb``, ``not_3d``, ``voxel_type``, ``bad_affine`` or ``short_data``;
    UsageError for axes that are none.
    """
    size = file_size(path)
    with Stream(path) as stream:
        header = _parsed(path, stream.read(max(HEADER_BYTES.values())))
        gzipped = stream.gzipped
    shape, shape_flags = _shape(path, header)
    slope, inter = _scaling(path, header)
    affine, affine_flags = _affine(path, header, assume)
    named_gz = path.name.lower().endswith(".gz")
    flags = (*shape_flags, *affine_flags, *(("name_misleads",) if named_gz != gzipped else ()))
    grid, dtype = Grid(shape, affine), _dtype(path, header)
    file = NiftiFile(path, grid, dtype, slope, inter, _offset(path, header), gzipped, flags)
    _require_plausible(file, size)
    return file


def raw_header(path: Path) -> Any:
    """The header as nibabel decodes it, unchecked. Raises CaseError where it cannot be read."""
    with Stream(path) as stream:
        return _parsed(path, stream.read(max(HEADER_BYTES.values())))


def _parsed(path: Path, head: bytes) -> Any:
    """The nibabel header (NIfTI-1 or -2, either byte order) of the first bytes of a file."""
    for order in "<>":
        length = int(np.frombuffer(head[:4].ljust(4, b"\0"), dtype=order + "i4")[0])
        if length == HEADER_BYTES[1] and head[344:348] == b"n+1\0":
            return nibabel.Nifti1Header(head[:length], endianness=order, check=False)
        if length == HEADER_BYTES[2] and head[4:8] == b"n+2\0" and len(head) >= length:
            return nibabel.Nifti2Header(head[:length], endianness=order, check=False)
        if length in HEADER_BYTES.values() and (head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"):
            raise CaseError("not_nifti", "the file is one of a .hdr/.img pair", file=path, remedy="Convert it to .nii")
    if path.name.lower().endswith(".gz") and not _is_gzip(path):
        raise CaseError(
            "not_gzip", "the file is named .gz, but is neither gzip nor NIfTI", file=path, remedy=COPY_AGAIN
        )
    raise CaseError("not_nifti", "the file does not begin with a NIfTI header", file=path, remedy=COPY_AGAIN)


def _shape(path: Path, header: Any) -> tuple[tuple[int, int, int], list[str]]:
    count = int(header["dim"][0])
    dims = tuple(int(n) for n in header["dim"][1 : count + 1])
    if not 1 <= count <= 7 or min(dims) < 1:
        raise _bad_header(path, f"the dimensions are {[int(n) for n in header['dim']]}")
    if count < 3 or any(n != 1 for n in dims[3:]):
        reason = f"the image is {'x'.join(str(n) for n in dims)}, not three-dimensional"
        raise CaseError("not_3d", reason, file=path, remedy="Save the one volume that is meant by itself")
    flags = ["squeezed"] if count > 3 else []
    return (dims[0], dims[1], dims[2]), [*flags, "single_slice"] if dims[2] == 1 else flags


def _dtype(path: Path, header: Any) -> np.dtype[Any]:
    """The stored type: integer, or float of 4 or 8 bytes."""
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except KeyError:
        dtype = np.dtype("V")
    if dtype.kind not in "iuf" or not 0 < dtype.itemsize <= 8:
        words = f"voxels of type {int(header['datatype'])} ({dtype}) are not grey values"
        raise CaseError("voxel_type", words, file=path, remedy="Save the image as int16, uint8 or float32")
    return dtype


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of 0, NaN or infinity means that the values are not scaled (nifti1.h)."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise _bad_header(path, f"scl_inter is {inter}")
    return slope, inter


def _offset(path: Path, header: Any) -> int:
    first = len(header.binaryblock) + _EXTENSION_BYTES
    offset = float(header["vox_offset"])
    if offset == 0:
        return first
    if not math.isfinite(offset) or offset < first:
        raise _bad_header(path, f"vox_offset is {offset:g}, inside the header")
    return int(offset)


def _affine(path: Path, header: Any, assume: str | None) -> tuple[NDArray[np.float64], list[str]]:
    """The affine that nibabel would take (sform before qform), or the assumed one where there is none to be used."""
    has_s, has_q = bool(header["sform_code"]), bool(header["qform_code"])
    sform, qform = header.get_sform() if has_s else None, _qform(header) if has_q else None
    affine = sform if has_s else qform
    if reason := _flaw(affine):
        if assume is None:
            raise CaseError("bad_affine", reason, file=path, remedy=geometry.UNKNOWN_AXES)
        return geometry.axes_grid((1, 1, 1), assume, _zooms(header)).affine, ["orientation_assumed"]
    differs = sform is not None and has_q and not _agree(sform, qform)
    return np.asarray(affine, dtype=np.float64), ["qform_differs"] if differs else []


def _flaw(affine: NDArray[np.float64] | None) -> str:
    if affine is None:
        return "the header has neither a valid qform nor an sform: it does not say how the patient lies"
    if np.array_equal(affine, np.eye(4)):
        return "the affine is the identity: it does not say how the patient lies"
    return geometry.flaw(affine)


def _qform(header: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):  # no rotation has this quaternion
        return None


def _agree(sform: NDArray[np.float64], qform: NDArray[np.float64] | None) -> bool:
    """Whether both place the voxels alike, to within what relate() takes for rounding."""
    if qform is None or geometry.flaw(qform):
        return False
    size = np.linalg.norm(sform[:3, :3], axis=0)
    apart = np.abs(sform - qform)[:3]
    return bool((apart[:, :3] <= geometry.ROUNDED_MATRIX * size).all()) and bool(
        (apart[:, 3] <= geometry.ROUNDED_ORIGIN * size.min()).all()
    )


def _zooms(header: Any) -> tuple[float, float, float]:
    """Voxel sizes by pixdim, 1 mm where it holds none."""
    sizes = [abs(float(size)) for size in header["pixdim"][1:4]]
    x, y, z = (size if math.isfinite(size) and size > 0 else 1.0 for size in sizes)
    return x, y, z


def _require_plausible(file: NiftiFile, size: int) -> None:
    """Refuse a header that claims more than the file can hold, before a byte is allocated for it."""
    needed = file.offset + file.nbytes
    if needed > MAX_BYTES or needed > max(_HARMLESS_BYTES, GZIP_RATIO * size):
        reason = f"the header claims {needed} bytes of data, in a file of {size} bytes"
        raise CaseError("header_bomb", reason, file=file.path, remedy="Do not trust this file; download it again")
    if not file.gzipped and needed > size:
        reason = f"expected {needed} bytes, the file has {size}"
        raise CaseError("short_data", reason, file=file.path, remedy=COPY_AGAIN)


def _is_gzip(path: Path) -> bool:
    with Stream(path) as stream:
        return stream.gzipped


def _bad_header(path: Path, reason: str) -> CaseError:
    return CaseError("bad_header", f"the NIfTI header is damaged: {reason}", file=path, remedy=COPY_AGAIN)
