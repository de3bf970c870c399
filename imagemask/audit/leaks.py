"""What is on both sides of a split: a patient, a parent image, a case, the augmented copies of one picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imagemask import manifest, split
from imagemask.audit.findings import Code, Finding, found
from imagemask.audit.tree import Tree
from imagemask.names import counted
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

_SEEN = "A model is then tested on what it has learned from: the score says how well it remembers, not how well it sees"
_BY_PATIENT = (
    "Split whole patients: imagemask split --by-patient --resplit "
    "(a folder: imagemask build folder --patient ... first)"
)

CODES = {
    "AU101": Code("error", "a patient is in several splits", _SEEN, _BY_PATIENT),
    "AU102": Code(
        "error",
        "a group (a parent image) is in several splits",
        _SEEN,
        "Split whole groups: imagemask split --by group --resplit",
    ),
    "AU103": Code("error", "a case (a volume, a picture) is in several splits", _SEEN, "Run imagemask split --resplit"),
    "AU104": Code(
        "error",
        "copies of one picture are in several splits",
        "An augmented copy of a test image in the training set is that image, all but its pose",
        "Split first, then augment the training set only, as imagemask split lays copies out in train/ only",
    ),
    "AU105": Code(
        "warning",
        "the split contradicts the one that the source ships",
        "Scores cannot be compared with published ones, and what the authors kept for testing is trained on",
        "To have the source's own again: remove split.csv, then imagemask merge DATASET, then imagemask split",
    ),
    "AU106": Code(
        "warning",
        "augmented copies are in the validation or test set",
        "A score over augmented copies is not a score: the same picture counts several times, altered",
        "Keep originals only: imagemask split --variants train; in a folder, remove the copies from valid and test",
    ),
}

_LEVELS = {"AU101": ("patient", "patient"), "AU102": ("group", "group"), "AU103": ("case", "case")}
_GUESSES = (r"^([A-Za-z]+[-_]?\d+)[-_]", r"^(\d+)[-_]")
_MANY = 0.9
"""The share of file names that an expression must match to be worth proposing."""
_SHARED = 0.8
"""Patients a file, at most: where almost every name says someone else, it is no patient that it says."""


def findings(tree: Tree) -> Iterator[Finding]:
    """All that several splits share. Raises InputError where a stamp or a list of the dataset is damaged."""
    frame = used(tree)
    placed = frame[frame["split"] != ""]
    yield from _divided(tree, placed)
    yield from _siblings(tree, placed)
    if tree.manifest:
        yield from _contradicted(tree, placed)
    yield from _copies(tree, placed)


def used(tree: Tree) -> pd.DataFrame:
    """The rows that a training or a test reads: not the copies in valid and test of a dataset that lays none out."""
    return split.used(tree.folder, tree.frame) if tree.manifest else tree.frame


def verdicts(tree: Tree) -> Iterator[str]:
    """What the findings come to, in a sentence."""
    frame = used(tree)
    placed = frame[frame["split"] != ""]
    if placed["split"].nunique() < 2:
        return
    for level, one in (("patient", "patient"), ("group", "group")):
        known = placed[placed[level] != ""]
        if known.empty:
            continue
        where = known.groupby(level)["split"].nunique()
        if (where > 1).any():
            yield f"{_many(int((where > 1).sum()), len(where), one)} in several splits{_share(placed, level)}."
        else:
            yield f"No {one} is in two splits ({counted(len(where), one)}, {counted(len(known), 'pair')})."
        return


def unjudged(tree: Tree) -> Iterator[str]:
    """What could not be judged, and what would let it."""
    if tree.frame["split"][tree.frame["split"] != ""].nunique() < 2:
        yield "Leaks, and whether the splits differ: there are no two splits. imagemask split makes them."
        return
    nobody = int((tree.frame["patient"] == "").sum())
    if not nobody:
        return
    if nobody < len(tree.frame):
        yield f"Leaks through {counted(nobody, 'pair')} of {len(tree.frame)}: nobody knows whose they are."
    elif tree.manifest:
        yield "Leaks of patients: the manifest knows none, for the source publishes none or none was told to build."
    else:
        guess = _guess([path.rsplit("/", 1)[-1] for path in tree.frame["image"] if path])
        told = f"; perhaps --patient '{guess}'" if guess else ""
        yield f"Leaks of patients: nobody knows who is who. Give --patient REGEX, whose group is the patient{told}."
    if not tree.manifest and _repeat(tree.frame):
        yield "Copies of one picture across splits by their names: the splits repeat each other's names."


def _divided(tree: Tree, placed: pd.DataFrame) -> Iterator[Finding]:
    """Patients, groups and cases in several splits. What is found as a patient is not said again as a group."""
    for code, (level, one) in _LEVELS.items():
        if level == "case" and not tree.manifest:  # there it is guessed from names: `_siblings`
            continue
        known = placed[placed[level] != ""]
        several = known.groupby(level)["split"].transform("nunique") > 1
        for name, rows in known[several].groupby(level, sort=True):
            yield _found(tree, code, f"{one} {name} is in {_places(rows['split'])}", rows)
        placed = placed[~placed.index.isin(known.index[several])]


def _siblings(tree: Tree, placed: pd.DataFrame) -> Iterator[Finding]:
    """Files made from one picture, in several splits."""
    stems = placed["image"].str.extract(r"([^/]*)\.[^./]*$")[0]  # of one name in two splits nobody knows: see `copies`
    of = placed.assign(stem=stems).groupby(["case", "slice"])
    several = (of["split"].transform("nunique") > 1) & (of["stem"].transform("nunique") > 1)
    for (case, index), rows in placed[several].groupby(["case", "slice"], sort=True):
        name = f"{case}-{index:04d}" if tree.manifest else str(case)
        yield _found(tree, "AU104", f"{name} and what was made of it are in {_places(rows['split'])}", rows)


def _contradicted(tree: Tree, placed: pd.DataFrame) -> Iterator[Finding]:
    """Pairs that are elsewhere than in the split that the source ships."""
    shipped = placed["case"].map({case: _shipped(tree, case) for case in placed["case"].unique()})
    moved = placed[(shipped != "") & (shipped != placed["split"])]
    for (was, now), rows in moved.groupby([shipped[moved.index], "split"], sort=True):
        yield _found(tree, "AU105", f"{counted(len(rows), 'pair')} of the source's {was} set in {now}", rows)


def _shipped(tree: Tree, case: str) -> str:
    """The split of a case that its source ships, as the build noted it; "" where it ships none, or nothing is noted."""
    try:
        text = (tree.folder / manifest.FRAGMENTS / f"{case}.json").read_text(encoding="utf-8")
        rows = json.loads(text)["rows"]
        said = rows[0]["split"] if rows else ""
    except (OSError, ValueError, TypeError, KeyError):  # a dataset is whole without its fragments
        return ""
    return said if said in SPLITS else ""


def _copies(tree: Tree, placed: pd.DataFrame) -> Iterator[Finding]:
    """Augmented copies in valid and test."""
    for name in SPLITS[1:]:
        rows = placed[placed["split"] == name]
        copies = rows[rows["variant"] != ""]
        if len(copies):
            message = f"{len(copies)} of {counted(len(rows), 'image')} in {name} are augmented copies"
            yield _found(tree, "AU106", message, copies)


def _found(tree: Tree, code: str, message: str, rows: pd.DataFrame) -> Finding:
    paths: list[Any] = rows["image"].where(rows["image"] != "", rows["mask"]).tolist()
    return found(CODES, code, message, files=paths, lines=rows["line"].tolist() if tree.manifest else [])


def _places(splits: pd.Series[str]) -> str:
    """Where images are, in words: ``train (34 images), valid (1 image) and test (5 images)``."""
    counts = splits.value_counts()
    said = [f"{name} ({counted(int(counts[name]), 'image')})" for name in SPLITS if name in counts.index]
    return f"{', '.join(said[:-1])} and {said[-1]}"


def _share(placed: pd.DataFrame, level: str) -> str:
    """How much of the test set, and of the validation set, is known from the training set, in words; else nothing."""
    trained = set(placed[level][placed["split"] == "train"]) - {""}
    said = []
    for name in reversed(SPLITS[1:]):
        rows = placed[placed["split"] == name]
        if seen := int(rows[level].isin(trained).sum()):
            said.append(f"{seen} of {len(rows)} {name} images ({seen / len(rows):.0%})")
    return f": {' and '.join(said)} show a {level} of the training set" if said else ""


def _guess(files: Sequence[str]) -> str:
    """An expression that may tell patients apart: it matches most names, and several files a patient; else ""."""
    for guess in _GUESSES:
        who = [match[1] for match in (re.search(guess, name) for name in files) if match]
        if len(who) >= _MANY * len(files) and 2 <= len(set(who)) <= _SHARED * len(who):
            return guess
    return ""


def _repeat(frame: pd.DataFrame) -> bool:
    """Whether a stem lies in two splits, so that ``tree`` gave it a case in each."""
    return bool(frame["case"].str.startswith(("train/", "valid/", "test/")).any())


def _many(some: int, of: int, what: str) -> str:
    return f"{some} of {counted(of, what)} {'is' if some == 1 else 'are'}"
