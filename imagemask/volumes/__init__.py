"""Volumes on disk and in space: NIfTI files, DICOM series, and the geometry that puts an image and its label together.

The only modules that import nibabel, pydicom, SimpleITK and isal. Each is imported when it is first asked for, as in
``volumes.nifti``: a worker loads only the reader that its case needs, and the help of a command none.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from imagemask.volumes import content, dicom, geometry, nifti, pairs

__all__ = ["Axes", "content", "dicom", "geometry", "nifti", "pairs"]

Axes = Literal["none", "LAS", "RAS", "LPS", "RPS", "LAI", "RAI", "LPI", "RPI"]
"""Where i, j and k increase to, to be assumed for a file whose header does not say; ``none``: that is an error."""


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
