"""A contact sheet of what augmentation does: a row for each image, plain and then altered a few times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask import images as pictures
from imagemask.errors import InputError, UsageError
from imagemask.files import write_atomic

if TYPE_CHECKING:
    from imagemask.learn.augmentation import Augmenter

VERSIONS, SIDE = 6, 192


def show(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    names: Sequence[str],
    *,
    augmenter: Augmenter,
    out: Path,
    seed: int = 0,
) -> Path:
    """Write each of ``images`` (nxHxWxC) and six versions of it as a row, its mask outlined, to ``out``, a PNG.

    ``labels`` are class ids, nxHxW; ``names`` are written below the plain images. The versions are drawn as for the
    first steps of a training's first epoch with this ``seed``, were these its batch. Raises UsageError where ``out`` is
    no PNG by its name, InputError where there is no image or ``out`` cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: a contact sheet is a PNG", remedy="Give a name that ends in .png")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: there is no such folder", remedy="Make it, or give another file")
    if not len(images):
        raise InputError("there is no image to show", remedy="imagemask build, then imagemask split")
    drawn = [augmenter(images, labels, (seed, 0, step)) for step in range(VERSIONS)]
    columns = [(images, labels, list(names))]
    for step, (altered, masks) in enumerate(drawn, 1):
        columns.append((_bytes(altered), np.asarray(masks), [f"version {step}"] * len(images)))
    tiles = [
        pictures.Tile(_flat(some[row]), masks[row], captions[row])
        for row in range(len(images))
        for some, masks, captions in columns
    ]
    sheet = pictures.contact_sheet(tiles, columns=len(columns), side=SIDE)
    write_atomic(out, pictures.encode_png(sheet, level=pictures.IMAGE_LEVEL))
    return out


def _bytes(values: object) -> NDArray[np.uint8]:
    rounded: NDArray[np.float32] = np.rint(np.asarray(values, np.float32))
    return rounded.astype(np.uint8)


def _flat(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """HxWx1 as HxW; HxWx3 as it is."""
    return image[..., 0] if image.shape[-1] == 1 else image
