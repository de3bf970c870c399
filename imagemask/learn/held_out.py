"""The pairs that a run is scored on: those of its dataset, under the split that it was trained with; predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imagemask import images, manifest
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.learn import dataset, fit, views
from imagemask.learn.dataset import Dataset
from imagemask.learn.infer import Probabilities
from imagemask.learn.run import SPLIT, Run
from imagemask.learn.views import Whole
from imagemask.names import some
from imagemask.split import Assignment, by_fold, read_assignment

if TYPE_CHECKING:
    import pandas as pd

Of = TypeVar("Of")

_SEEN = {"test": ("train", "valid"), "valid": ("train",), "train": ()}
"""For each set, the sets that a run has learnt from by the time that it is scored on it."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The plain pairs of one set of a run: ``rows`` of the manifest, by key, with ``unit``, who they belong to.

    ``kept_whole`` is the column of which the split parted no value: patient, group or case.
    """

    run: Run
    data: Dataset
    split: str
    rows: pd.DataFrame
    kept_whole: str

    @property
    def of_volumes(self) -> bool:
        """Whether the cases are volumes, of which a pair is a slice; else pictures."""
        plain = self.data.rows[self.data.rows["variant"] == ""]
        counts = (manifest.slice_counts(self.data.folder, case) for case in self.cases)
        return bool(plain["case"].duplicated().any()) or any(found is not None and found[0] > 1 for found in counts)

    @property
    def cases(self) -> list[str]:
        """The cases that the rows come from, and those of the same patients that have no row; sorted."""
        members, with_rows = set(self.rows[self.kept_whole]) - {""}, set(self.data.rows["case"])
        others = manifest.without_pairs(self.data.folder, besides=with_rows)
        return sorted({*self.rows["case"], *(one["case"] for one in others if one[self.kept_whole] in members)})

    @property
    def spacing_known(self) -> bool:
        """Whether the source says of every row how large a pixel is."""
        return bool(self.rows[["spacing_y", "spacing_x"]].notna().all(axis=None))

    @property
    def has_patients(self) -> bool:
        """Whether the source says of every row who it belongs to."""
        return bool((self.rows["patient"] != "").all())


@dataclass(frozen=True, slots=True)
class Predicted:
    """A pair and what was predicted for it, at the size of the written pair.

    ``row`` is its line of the manifest; ``truth`` holds class ids, HxW; ``probabilities`` are HxWxK.
    """

    row: Any
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    probabilities: Probabilities

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres a pixel (y, x); None where the source does not say."""
        found = float(self.row.spacing_y), float(self.row.spacing_x)
        return found if np.isfinite(found).all() else None


def of_run(run: Run, split: str, folder: Path | None = None) -> HeldOut:
    """The pairs of ``split`` of the dataset that ``run`` was trained on, which lies in ``folder`` (where it lay).

    The split is that of the run's own split.csv. Raises UsageError where the dataset holds other pixels, where it was
    split anew since, so that what the run has learnt from is now in ``split``, and where ``split`` is empty; InputError
    where dataset or split.csv cannot be read.
    """
    place = folder or run.dataset
    if folder is None and not (place / manifest.MANIFEST).is_file():
        raise InputError(f"{place}: the dataset of {run.folder} is not there", remedy="Say where it is with --dataset")
    assignment = _assigned(run, place)
    data = dataset.read(place, fold=run.record.fold, assignment=assignment)
    if data.digest != run.record.digest:
        raise UsageError(
            f"{place} holds other pixels than {run.folder} was trained on: "
            f"its digest is {data.digest}, the run's {run.record.digest}",
            remedy="Give --dataset the folder that it was trained on, or train again",
        )
    _refuse_leak(data, run, split)
    rows = data.part(split)
    rows = rows[rows["variant"] == ""]
    rows = rows.assign(unit=unit(rows)).reset_index(drop=True)
    return HeldOut(run, data, split, rows, assignment.column if assignment else "case")


def unit(rows: pd.DataFrame) -> pd.Series[str]:
    """Who each row belongs to: its patient, else its group, else its case."""
    found = rows["patient"].where(rows["patient"] != "", rows["group"])
    return found.where(found != "", rows["case"])


def predictions(held: HeldOut, model: Any, rows: pd.DataFrame | None = None) -> Iterator[Predicted]:
    """What ``model`` predicts for the pairs of ``held`` (or for some of its ``rows``), in order, one at a time.

    Raises InputError for a pair that cannot be read.
    """
    pairs = ((row, *_pair(held.data, row)) for row in (held.rows if rows is None else rows).itertuples(index=False))
    for (row, image, truth), probabilities in at_own_size(held.run, model, ((pair, pair[1]) for pair in pairs)):
        yield Predicted(row, image, truth, probabilities)


def at_own_size(
    run: Run, model: Any, pictures: Iterable[tuple[Of, NDArray[np.uint8]]]
) -> Iterator[tuple[Of, Probabilities]]:
    """What each picture is of, and its probabilities at its own size, in order.

    Pictures are uint8, HxW or HxWx3, as a build with the recipe of ``run`` writes them.
    """
    record = run.record
    whole = ((of, Whole(fit.in_channels(one, record.channels), record, written=True)) for of, one in pictures)
    remedy = "Stop what else is running, or evaluate on a machine with more memory"
    yield from views.predicted(model, whole, batch_size=record.batch_size, remedy=remedy)


def _assigned(run: Run, place: Path) -> Assignment | None:
    """The split that the run was trained under, its own copy; None where that was the source's own, which has none."""
    path = run.folder / SPLIT
    if path.is_file() and not path.stat().st_size:
        if not (place / manifest.SPLIT).is_file():
            return None
        raise UsageError(
            f"{place} was split after {run.folder} was trained under the source's own split",
            remedy="Remove its split.csv and run imagemask merge, or train again",
        )
    assignment = read_assignment(run.folder)
    if assignment is None:
        raise InputError(
            f"{path}: is missing", remedy="It says what the run was trained on: restore it, or train again"
        )
    return assignment


def _refuse_leak(data: Dataset, run: Run, split: str) -> None:
    """Raises UsageError where the dataset was split anew, and what the run has learnt from is now in ``split``."""
    now = manifest.read(data.folder).set_index("key")[["split", "fold"]].loc[data.rows["key"]]
    if data.fold is not None:
        try:
            now["split"] = by_fold(data.folder, now["fold"], data.fold)
        except UsageError:  # it has no such fold any more: nobody can take its split for the run's
            return
    seen = data.rows[(now["split"] == split).to_numpy() & data.rows["split"].isin(_SEEN[split])]
    if len(seen):
        who = sorted(set(unit(seen)))
        raise UsageError(
            f"{data.folder} was split anew: {len(who)} that {run.folder} has learnt from are now in its {split} set "
            f"({some(who)})",
            remedy=f"Train again; or put {run.folder / SPLIT} back into the dataset and run imagemask split",
        )


def _pair(data: Dataset, row: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        image, mask = (images.read_png(data.folder / kind / f"{row.key}.png") for kind in ("images", "masks"))
    except CaseError as error:
        raise InputError(f"{row.key}: {error.reason}", remedy="imagemask verify lists what is wrong") from error
    if manifest.digest(image, mask) != row.digest:
        raise InputError(
            f"{data.folder}: {row.key} is not the pair that was built: its digest is another",
            remedy="imagemask verify lists what was changed",
        )
    return image, manifest.to_labels(mask, data.document)
