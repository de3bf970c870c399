"""The one pass over all pictures: each pair is decoded once, in a worker, and only numbers of fixed size come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask import images, pool
from imagemask.audit import fingerprints, measures
from imagemask.audit.findings import Finding, found
from imagemask.audit.tree import CODES, Tree
from imagemask.errors import CaseError, InputError

if TYPE_CHECKING:
    import pandas as pd

DEPTH = "depth"
"""A measure of its own: the bits a sample of the image as it is stored, 8 or 16."""
TONES = ("black", "white", "middle", *measures.BLOCKS)
"""Measures that say how bright an image is: NaN of one with 16 bits, of which the file does not say what is white."""
_AT_A_TIME = 64  # pairs a task: a quarter of a second of work, so that progress moves and workers end together


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of each pair, aligned with the rows of ``Tree.frame``.

    ``measures`` has the columns of ``measures.MEASURES`` and DEPTH as float64, NaN where a picture of the pair could
    not be read; ``fingerprints`` is of type ``fingerprints.FINGERPRINT``, of height 0 where there is no image.
    ``findings`` (AU001) say what could not be read.
    """

    measures: pd.DataFrame
    fingerprints: NDArray[np.void]
    findings: list[Finding]


class Portion(NamedTuple):
    """Some pairs for one worker, from row ``first`` on: paths below ``folder``, "" where there is none."""

    folder: Path
    first: int
    pairs: Sequence[tuple[str, str]]
    ours: bool
    values: tuple[int, ...] | None


class Seen(NamedTuple):
    """What a worker saw: a row of numbers and a fingerprint a pair; row, file and reason of what it could not read."""

    first: int
    measures: NDArray[np.float64]
    fingerprints: NDArray[np.void]
    problems: list[tuple[int, str, str]]


def look(tree: Tree, *, workers: int = 1, progress: Callable[[int], None] | None = None) -> Looks:
    """Decode every picture of ``tree`` once; the same for any number of ``workers``.

    ``progress`` is called with the number of pairs that a task has ended. Memory is that of one pair a worker, and some
    kilobytes a pair here. Raises InputError where a worker dies.
    """
    import pandas as pd

    columns = [*measures.MEASURES, DEPTH]
    numbers = np.full((len(tree.frame), len(columns)), np.nan)
    prints = np.zeros(len(tree.frame), fingerprints.FINGERPRINT)
    problems: list[tuple[int, str, str]] = []
    portions = list(_portions(tree))
    workers = min(workers, len(portions))
    make = pool.in_process if workers == 1 else pool.processes
    for seen in pool.run(_look, portions, workers=workers, died=_died, make=make):
        rows = slice(seen.first, seen.first + len(seen.measures))
        numbers[rows], prints[rows] = seen.measures, seen.fingerprints
        problems += seen.problems
        if progress:
            progress(len(seen.measures))
    said = pd.DataFrame(numbers, columns=columns)
    said.loc[said[DEPTH] == 16, list(TONES)] = np.nan
    return Looks(said, prints, _unreadable(tree, sorted(problems)))


def unjudged(seen: Looks) -> Iterator[str]:
    """What could not be judged of the pictures, and why."""
    if unread := len({file for one in seen.findings for file in one.files}):
        yield f"The pictures of pairs that cannot be read: {unread} files of {len(seen.measures)} pairs."
    if deep := int((seen.measures[DEPTH] == 16).sum()):
        yield f"How bright {deep} of {len(seen.measures)} images are: of 16 bits no file says what is white."


def decode(tree: Tree, row: int) -> NDArray[np.uint8]:
    """The image of a row of ``tree``, as ``look`` shows it: uint8, HxW or HxWx3 (RGB). Raises CaseError."""
    name = str(tree.frame["image"].iat[row])
    return _shown(_image(tree.folder / name, ours=tree.manifest, like=None))[0]


def _portions(tree: Tree) -> Iterator[Portion]:
    paths = list(zip(tree.frame["image"].tolist(), tree.frame["mask"].tolist(), strict=True))
    for first in range(0, len(paths), _AT_A_TIME):
        yield Portion(tree.folder, first, paths[first : first + _AT_A_TIME], tree.manifest, tree.values)


def _look(portion: Portion) -> Seen:
    columns = len(measures.MEASURES) + 1
    numbers = np.full((len(portion.pairs), columns), np.nan)
    prints = np.zeros(len(portion.pairs), fingerprints.FINGERPRINT)
    problems: list[tuple[int, str, str]] = []
    for place, (image_name, mask_name) in enumerate(portion.pairs):
        image, mask, wrong = _pair(portion, image_name, mask_name)
        problems += [(portion.first + place, name, reason) for name, reason in wrong]
        if image is None:
            continue
        shown, depth = _shown(image)
        prints[place] = fingerprints.fingerprint(shown)
        if mask is not None or not mask_name:
            said = measures.measure(shown, mask, portion.values)
            numbers[place] = [*(said[name] for name in measures.MEASURES), depth]
    return Seen(portion.first, numbers, prints, problems)


def _pair(
    portion: Portion, image_name: str, mask_name: str
) -> tuple[NDArray[Any] | None, NDArray[np.integer[Any]] | None, list[tuple[str, str]]]:
    """Image and mask of a pair, None for what is not there; and file and reason of what could not be read."""
    image, mask, wrong = None, None, []
    try:
        mask = _mask(portion.folder / mask_name, ours=portion.ours) if mask_name else None
    except CaseError as error:
        wrong.append((mask_name, error.reason))
    try:
        like = None if mask is None else (mask.shape[0], mask.shape[1])
        image = _image(portion.folder / image_name, ours=portion.ours, like=like) if image_name else None
    except CaseError as error:
        wrong.append((image_name, error.reason))
    return image, mask, wrong


def _image(path: Path, *, ours: bool, like: tuple[int, int] | None) -> NDArray[Any]:
    return images.read_png(path) if ours else images.read_image(path, like=like)


def _mask(path: Path, *, ours: bool) -> NDArray[np.integer[Any]]:
    """A mask, HxW, as stored; of a mask in colours a number each colour, black 0."""
    try:
        pixels: NDArray[Any] = images.read_png(path) if ours else images.read_mask(path)
    except CaseError as error:
        if error.code != "colour_mask":
            raise
        pixels = images.read_image(path)
    if pixels.ndim == 2:
        return pixels
    red, green, blue = np.moveaxis(pixels.astype(np.int64), 2, 0)
    colours: NDArray[np.int64] = (red << 32) | (green << 16) | blue
    return colours


def _shown(image: NDArray[Any]) -> tuple[NDArray[np.uint8], int]:
    """An image in 8 bits, and the bits that it is stored with. 16 bits lose the lowest, as many as its largest needs:

    what is to be seen is, and how bright it is means nothing (``TONES``).
    """
    if image.dtype == np.uint8:
        return image, 8
    lost = max(0, int(image.max(initial=0)).bit_length() - 8)
    return (image >> lost).astype(np.uint8), 16


def _unreadable(tree: Tree, problems: Sequence[tuple[int, str, str]]) -> list[Finding]:
    lines = tree.frame["line"].tolist()
    return [
        found(CODES, "AU001", reason, files=[name], lines=[lines[row]] if tree.manifest else [])
        for row, name, reason in problems
    ]


def _died(portion: Portion) -> Seen:
    raise InputError(
        f"{portion.folder}: a worker died at one of the {len(portion.pairs)} pairs from {portion.pairs[0][0]} on",
        remedy="Most likely the memory ran out: give fewer --workers",
    )
