"""Volumes on disk and in space: NIfTI files, DICOM series, and the geometry that puts an image and its label together.

The only modules that import nibabel, pydicom, SimpleITK and isal. Nothing is imported here, so that a worker loads only
the reader that its case needs.
"""
