"""NIfTI-1 and NIfTI-2 volumes, plain or gzipped: headers, planes in order, labels; and writers."""

from imagemask.volumes.nifti.header import NiftiFile, open_nifti
from imagemask.volumes.nifti.voxels import planes, read_labels, same_content, with_finite
from imagemask.volumes.nifti.write import Quirks, write_labels, write_nifti, write_values

__all__ = [
    "NiftiFile",
    "Quirks",
    "open_nifti",
    "planes",
    "read_labels",
    "same_content",
    "with_finite",
    "write_labels",
    "write_nifti",
    "write_values",
]
