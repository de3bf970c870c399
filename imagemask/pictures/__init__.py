"""What the generators of picture sources share: which file is whose, and what a mask, an outline or a list says.

``roles`` and ``outlines`` pair files, ``palettes``, ``contours`` and ``cells`` make labels of them, ``lists`` and
``patients`` read what a source says beside its pictures, ``leaks`` finds what its own split parts.
"""
