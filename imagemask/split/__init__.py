"""Patients into train, valid and test, or into folds; and the folders that are laid out from it.

What is kept whole is a **unit**: a patient (or a group; or a case, for ``--by image``), one line of ``split.csv``.
Patients that share a group stay together too, and so do groups that share a patient: only ``--by image`` parts them.

A split commits by replacing ``split.csv`` and then ``manifest.csv``. The card and the three folders follow from them;
their stamp says ``unfinished`` from before the first change until they are made. A run that is killed anywhere is
finished by running it again. Without ``resplit`` no unit ever leaves its set, and new ones are placed around those that
are there: a test patient that wanders into the training set is a leak nobody sees. A set whose units are all gone gets
new ones; where there are none, that is an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask import card, files, manifest
from imagemask.errors import InputError, UsageError
from imagemask.names import some
from imagemask.split import layout as folders
from imagemask.split.balance import balance
from imagemask.split.layout import (
    NOT_LAID_OUT,
    LaidOut,
    Problem,
    Stamp,
    check_folders,
    lay_out,
    layout_is_current,
    layout_problems,
    read_stamp,
    used,
    write_stamp,
)
from imagemask.split.report import Part, SplitReport, parts, warnings
from imagemask.split.request import Plan, Recorded, Request, by_of, parse_ratios, plan
from imagemask.split.units import (
    Assignment,
    Units,
    apply,
    by_fold,
    check_complete,
    column_for,
    gather,
    read_assignment,
    settled,
)
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NOT_LAID_OUT",
    "Assignment",
    "LaidOut",
    "Part",
    "Problem",
    "Request",
    "SplitReport",
    "Stamp",
    "apply",
    "by_fold",
    "check_folders",
    "lay_out",
    "layout_is_current",
    "layout_problems",
    "parse_ratios",
    "read_assignment",
    "read_stamp",
    "split",
    "used",
    "write_stamp",
]


def split(dataset: Path, request: Request) -> SplitReport:
    """Split a dataset folder as ``request`` says, and lay it out.

    The same request over the same rows gives the same bytes, and changes nothing the second time. Raises UsageError
    where nothing groups the rows, the request contradicts the present split, there are too few units, or those of a set
    are gone; InputError where the dataset is damaged or cannot be written.
    """
    if not (dataset / manifest.MANIFEST).is_file():
        manifest.read(dataset)  # says what is wrong, before a lock is made there
    files.make_folder(dataset / "fragments")
    with files.lock(dataset / "fragments" / ".lock"):
        return _split(dataset, request)


def _split(dataset: Path, request: Request) -> SplitReport:
    frame = manifest.read(dataset)
    if frame.empty:
        raise InputError(f"{dataset / manifest.MANIFEST}: holds no rows", remedy="Build the dataset first")
    document = manifest.read_dataset(dataset)
    source = document.get("source", {})
    present = None if request.resplit else read_assignment(dataset)
    group = str(source.get("group", "patient"))
    column = _column(frame, request, present, group)
    if why := str(source.get("by_image", "")):
        _refuse_by_image(frame, column, why, name=str(document.get("generator", "NAME")), anew=request.resplit)
    planned = plan(request, column, _recorded(dataset, present))
    before = _before(frame, request, present, planned)
    settled_in = before["fold" if planned.folds else "split"]
    # What is drawn anew keeps copies together. A split that is there may part them: that is for its author to answer.
    units = gather(before, planned.column, copies=bool((settled_in == "").all()))
    where = settled(units, settled_in, planned.names)
    bins = balance(units.weights, planned.bins, settled=where, names=units.bundles, seed=planned.seed)
    _check_none_is_gone(bins, planned, present)
    _check_enough(where, planned)
    chosen = _assignment(units, bins, planned, present)
    after, _ = apply(before, chosen)
    stamp = _stamp(dataset, request, planned, chosen)
    laid = _commit(dataset, frame, after, chosen.to_bytes(), stamp)
    kept = int((where[units.bundle] >= 0).sum())
    sets = parts(after, "split", planned.column, zip(SPLITS, planned.ratios, strict=True))
    by = by_of(planned.column)
    return SplitReport(
        by=by,
        parts=sets,
        folds=_folds(after, planned),
        fold=planned.fold if planned.folds else None,
        kept=kept,
        drawn=len(units.names) - kept,
        layout=stamp.layout,
        variants=stamp.variants,
        laid_out=laid.pairs,
        notes=(
            *_grouping(planned, request, group, after),
            *_history(planned, present, kept, len(units.names)),
            *card.notes(dataset),
        ),
        warnings=warnings(after, by, sets),
    )


def _folds(frame: pd.DataFrame, planned: Plan) -> tuple[Part, ...]:
    if not planned.folds:
        return ()
    return parts(frame, "fold", planned.column, zip(planned.names, planned.bins, strict=True))


def _column(frame: pd.DataFrame, request: Request, present: Assignment | None, group: str) -> str:
    """The manifest column to keep whole: the one asked for, else the present one, else the patient."""
    if request.by is None and present is not None:
        check_complete(frame, present.column)
        return present.column
    return column_for(request.by or "patient", frame, group)


def _refuse_by_image(frame: pd.DataFrame, column: str, why: str, *, name: str, anew: bool) -> None:
    """Refuse to part images one by one where the source says ``why``: also where it is drawn ``anew`` and all are
    groups of their own, since nobody is known.
    """
    if column == "case":
        raise UsageError(f"a split by image is refused: {why}", remedy="Split by patient: --by patient --resplit")
    shipped = bool((frame["split"] != "").all())
    nobody = column == "group" and not (frame["patient"] != "").any()
    if (anew or not shipped) and nobody and frame["group"].nunique() == frame["case"].nunique():
        raise UsageError(
            f"a split by image is refused: {why}. No case has a patient, and each is a group of its own",
            remedy="Keep the split that the source ships: leave --resplit away"
            if shipped
            else f"Build again with what tells who is who (imagemask build {name} --help)",
        )


def _recorded(dataset: Path, present: Assignment | None) -> Recorded | None:
    """What the present split was drawn with. A ``split.csv`` that was edited by hand has no ratios and no seed."""
    if present is None:
        return None
    stamp = read_stamp(dataset)
    ours = stamp is not None and stamp.split == files.sha256(dataset / manifest.SPLIT)
    return Recorded(
        column=present.column,
        folds=present.folds,
        fold=present.test_fold,
        ratios=stamp.ratios if stamp and ours else None,
        seed=stamp.seed if stamp and ours else None,
    )


def _before(frame: pd.DataFrame, request: Request, present: Assignment | None, planned: Plan) -> pd.DataFrame:
    """The manifest with what may not change: the present assignment, or the source's own split, or nothing."""
    if request.resplit:
        return frame.assign(split="", fold="")
    if present is not None:
        return apply(frame, present)[0]
    if planned.folds and (frame["split"] != "").any():
        raise UsageError(
            f"the source ships its own split, and {planned.folds} folds would replace it",
            remedy="Add --resplit to replace it, or leave --folds away to keep it",
        )
    return frame.assign(fold="")


def _check_enough(where: NDArray[np.int64], planned: Plan) -> None:
    """Refuse a first draw from fewer units than there are sets to fill. (A present split is kept, however poor.)"""
    wanted = sum(share > 0 for share in planned.bins)
    if len(where) < wanted and bool((where < 0).all()):
        by, sets = by_of(planned.column), "folds" if planned.folds else "sets"
        raise UsageError(
            f"{wanted} {sets} need {wanted} {by}s at least that share nothing, and there are {len(where)}",
            remedy="Build more cases, or ask for fewer folds"
            if planned.folds
            else "Build more cases, or --ratios 80,20,0",
        )


def _check_none_is_gone(bins: NDArray[np.int64], planned: Plan, present: Assignment | None) -> None:
    """Refuse a set or a fold in which nobody is left of those whom the present split names. (A set that a source leaves
    empty, or whoever wrote ``split.csv``, names nobody.)
    """
    if present is None:
        return
    named = present.fold if planned.folds else present.split
    for place in sorted(set(range(len(planned.names))) - set(bins.tolist())):
        gone = sorted(unit for unit, value in named.items() if value == planned.names[place])
        if gone and planned.bins[place] > 0:
            what = f"fold {place}" if planned.folds else planned.names[place]
            raise UsageError(
                f"{what} would be empty: its {by_of(planned.column)}s are not in the dataset any more: {some(gone)}",
                remedy="Build them again, or add --resplit to draw the split anew",
            )


def _assignment(units: Units, bins: NDArray[np.int64], planned: Plan, present: Assignment | None) -> Assignment:
    """Where each unit is now, and where those are that an earlier manifest named: they may come back."""
    bin_of = dict(zip(units.names, bins[units.bundle].tolist(), strict=True))
    split = {} if present is None else dict(present.split)
    fold = {} if present is None else dict(present.fold)
    if not planned.folds:
        return Assignment(planned.column, split | {unit: SPLITS[place] for unit, place in bin_of.items()}, fold)
    fold |= {unit: str(place) for unit, place in bin_of.items()}
    split |= {unit: planned.set_of(int(place)) for unit, place in fold.items() if place}
    return Assignment(planned.column, split, fold)


def _stamp(dataset: Path, request: Request, planned: Plan, chosen: Assignment) -> Stamp:
    """The stamp to be, but for the manifest."""
    now = read_stamp(dataset) or Stamp(folders.UNFINISHED)
    return Stamp(
        manifest=folders.UNFINISHED,
        layout=request.layout or now.layout,
        variants=request.variants or now.variants,
        ratios=None if planned.folds else planned.ratios,
        seed=planned.seed,
        split=hashlib.sha256(chosen.to_bytes()).hexdigest(),
    )


def _commit(dataset: Path, frame: pd.DataFrame, after: pd.DataFrame, assignment: bytes, stamp: Stamp) -> LaidOut:
    """Replace what differs: split.csv, manifest.csv, the card, the folders. Where nothing does, nothing is touched."""
    folders.clean(dataset)
    same = frame[["split", "fold"]].equals(after[["split", "fold"]])
    listed = dataset / manifest.SPLIT
    kept = listed.is_file() and listed.read_bytes() == assignment
    if same and kept and _is_laid_out(dataset, frame, stamp):
        card.write(dataset, after)
        return folders.laid_out(after, stamp)
    folders.check(dataset, after)
    folders.write_stamp(dataset, stamp)
    if not kept:
        files.write_atomic(listed, assignment)
    if not same:
        manifest.write(dataset, after)
    card.write(dataset, after)
    return folders.make(dataset, after, stamp)


def _is_laid_out(dataset: Path, frame: pd.DataFrame, stamp: Stamp) -> bool:
    now = read_stamp(dataset)
    if now is None or replace(now, manifest=folders.UNFINISHED) != stamp:
        return False
    return next(layout_problems(dataset, frame, names_only=True), None) is None


def _grouping(planned: Plan, request: Request, group: str, frame: pd.DataFrame) -> list[str]:
    if planned.column != "group" or request.by == "group":
        return []
    if group == "patient" and (frame["patient"] != "").any():
        return ["where a case has no patient, its group stands for it (the column group): no patient is parted"]
    kind = "parent image" if group == "image" else "group"
    return [f"the source publishes no patients: split by its {kind} (the column group)"]


def _history(planned: Plan, present: Assignment | None, kept: int, units: int) -> list[str]:
    said = []
    by = by_of(planned.column)
    tested = present.test_fold if present else None
    turned = planned.folds > 0 and tested not in (None, planned.fold)
    shipped = "kept the split that the source ships"
    if kept and present is None and kept < units:
        said.append(
            f"{shipped} for {kept} {by}s, and placed {units - kept} that it leaves out; --resplit draws another"
        )
    elif kept and present is None:
        said.append(f"{shipped}; --resplit draws another")
    elif kept and kept < units:
        where = "in their folds" if turned else "where they were"
        said.append(f"kept {kept} {by}s {where}, and placed {units - kept} new ones")
    elif kept:
        said.append(f"kept the present {'folds' if turned else 'split'}; --resplit draws another")
    if kept and turned:
        said.append(f"other sets than before, from the same folds: the test set was fold {tested}")
    if planned.folds:
        valid = (planned.fold + 1) % planned.folds
        said.append(f"fold {planned.fold} of {planned.folds} is the test set, fold {valid} the validation set")
    return said
