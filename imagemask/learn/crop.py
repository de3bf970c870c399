"""What of the foreground a network loses that is shown the centre of each picture only (``data.crop_share``)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from imagemask import images, manifest
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.learn import fit
from imagemask.learn.cache import Cache
from imagemask.learn.dataset import Dataset

_LITTLE, _THREADS = 0.001, 4


@dataclass(frozen=True, slots=True)
class CutOff:
    """What a crop cuts off the plain pairs of the training and the validation set.

    Of ``pairs`` with foreground, ``cut`` lose some and ``lost`` all of theirs; ``share`` of all of it is cut off.
    """

    pairs: int
    cut: int
    lost: int
    share: float

    def __str__(self) -> str:
        """A sentence; empty where nothing is cut off."""
        if not self.cut:
            return ""
        share = f"{self.share:.1%}" if self.share >= _LITTLE else f"less than {_LITTLE:.1%}"
        return (
            f"data.crop_share cuts foreground off {self.cut} of {self.pairs} pairs of train and valid that have some "
            f"({self.lost} lose all of it), {share} of it: that is not learnt from, and counts as missed in every score"
        )


def cut_off(data: Dataset, crop: float) -> CutOff:
    """What ``crop`` (``fit.centre``) cuts off. Raises InputError, naming the pair, for a mask that cannot be read."""

    def counted(key: str) -> tuple[int, int]:
        try:
            labels = manifest.to_labels(images.read_png(data.folder / "masks" / f"{key}.png"), data.document)
        except (CaseError, InputError) as error:
            raise InputError(
                f"{data.folder}: {key}: {error.reason}", remedy="imagemask verify lists what is wrong"
            ) from error
        y0, x0, y1, x1 = fit.centre((labels.shape[0], labels.shape[1]), crop)
        return int(np.count_nonzero(labels)), int(np.count_nonzero(labels[y0:y1, x0:x1]))

    rows = data.rows[data.rows["split"].isin(["train", "valid"]) & (data.rows["variant"] == "")]
    with ThreadPoolExecutor(_THREADS) as pool:
        there, kept = np.array(list(pool.map(counted, rows["key"])), np.int64).reshape(-1, 2).T
    some = there > 0
    lost = int((some & (kept == 0)).sum())
    return CutOff(int(some.sum()), int((kept < there).sum()), lost, float(1 - kept.sum() / max(1, there.sum())))


def as_shown(data: Dataset, kept: Cache) -> Dataset:
    """``data``, in whose rows ``foreground`` counts what is left of it in the pictures that the network is shown.

    Raises UsageError where that is nothing in all of the training set, and was something before.
    """
    left = [int(np.count_nonzero(kept.masks[kept.position[key]])) for key in data.rows["key"]]
    shown = replace(data, rows=data.rows.assign(foreground=left))
    if data.part("train")["foreground"].any() and not shown.part("train")["foreground"].any():
        raise UsageError(
            f"data.crop_share cuts all foreground off the training set of {data.name}", remedy="Cut less off"
        )
    return shown
