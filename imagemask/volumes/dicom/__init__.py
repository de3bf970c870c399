"""DICOM CT series: found in any folder layout, put in order by position, decoded slice by slice; and a writer."""

from imagemask.volumes.dicom.images import DicomImage, upright_image
from imagemask.volumes.dicom.series import Found, Series, find_series
from imagemask.volumes.dicom.stack import Stack, open_stack
from imagemask.volumes.dicom.write import DicomSlice, write_dicom

__all__ = [
    "DicomImage",
    "DicomSlice",
    "Found",
    "Series",
    "Stack",
    "find_series",
    "open_stack",
    "upright_image",
    "write_dicom",
]
