"""Pictures that are copies of each other, pixel for pixel or altered, across splits, across patients, or within.

Altered is: encoded again, resized, brighter or darker, with more contrast or noise, cropped by a few percent, flipped
or turned by 90 degrees. What is compared, and how much:

* Constant pictures are left out: they show nothing that could leak, and have a code of their own among the pictures.
* A variant whose plain picture is there, too, is left out: what the plain one is a copy of, so is it.
* Of pictures that are equal pixel for pixel one stands for all when altered copies are sought.
* Pictures of one patient, group or case are never altered copies: the next slice of a CT is as much alike.
* ``candidates`` proposes pairs by their thumbnails; the MOST_COMPARED likeliest, those across splits first, are decoded
  and compared (``likeness``). What is left over is said (AU119).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask import names
from imagemask.audit import candidates, likeness
from imagemask.audit.candidates import Candidates, Indices
from imagemask.audit.findings import Code, Finding, found
from imagemask.errors import CaseError
from imagemask.types import SPLITS

if TYPE_CHECKING:
    from imagemask.audit.tree import Tree

Decode = Callable[[int], NDArray[np.uint8]]
"""The image of a row of the tree, uint8 HxW or HxWx3 (RGB). Raises CaseError."""

MOST_COMPARED = 3000
APART = 0.935
"""The least likeness (weighed) that is worth a look where both patients are known and differ."""
NEIGHBOURS = 0.85
"""The least likeness (even, as they lie) of slices that look like neighbours."""
CLOSEST = 5
_KEPT = 256  # decoded pictures, shrunk: 64 MB
_ASPECT = 0.12  # how far the logarithms of two aspect ratios may differ: a crop by a few percent

_LEAK = "A model is then tested on a picture that it was trained on: the score says what it remembers"
_COUNTED = "The picture counts as often as it is there, in training and in every mean"

CODES = {
    "AU110": Code(
        "error",
        "the same picture is in several splits",
        _LEAK,
        "Keep one, or split so that both fall into one split (build again with a group that holds them)",
    ),
    "AU111": Code(
        "error",
        "the same picture belongs to several patients",
        "One of the names is wrong, or one patient has two: no split by patient can be trusted",
        "Find out whose it is; merge the patients or remove the wrong one, then build and split again",
    ),
    "AU112": Code(
        "error",
        "a picture and an altered copy of it are in several splits",
        _LEAK,
        "Look at both; keep one, or split so that both fall into one split",
    ),
    "AU113": Code(
        "warning",
        "a picture and an altered copy of it belong to different patients",
        "Most likely one scan under two names: a split by patient may part it",
        "Look at both; merge the patients or remove one, then split again",
    ),
    "AU114": Code("advice", "the same picture is there several times, of one patient", _COUNTED, "Keep one"),
    "AU115": Code(
        "advice",
        "the same picture is there several times in one split, and nobody knows whose",
        _COUNTED,
        "Keep one; one picture with several masks is better merged into one mask, or grouped",
    ),
    "AU116": Code(
        "advice",
        "a picture and an altered copy of it are in one split, and nobody knows whose",
        _COUNTED,
        "Look at both; keep one, and never let a split part them",
    ),
    "AU117": Code(
        "advice",
        "what look like neighbouring slices are in several splits",
        "Slices of one volume are nearly the same picture: a split by image leaks as copies do",
        "Say who is who (--patient, or build with it) and audit again; split by patient",
    ),
    "AU118": Code(
        "advice",
        "pictures of different patients are so alike that one may be an altered copy",
        "A split by patient would part one scan under two names; but simple or synthetic anatomy is as alike by nature",
        "Look at both; if they are one, merge the patients or remove one, then split again",
    ),
    "AU119": Code(
        "advice",
        "some pictures that look alike were not compared",
        "There are more than can be decoded in reasonable time; a copy among them is not reported",
        "Where nobody is known, say who is who (--patient): slices of one patient need no comparing. "
        "Else mend what was found, and audit again",
    ),
}


# For those across splits, across patients, of one patient, of nobody knows whom.
_EQUAL = ("AU110", "AU111", "AU114", "AU115")
_ALTERED = ("AU112", "AU113", "AU116", "AU116")
_PERHAPS, _NEAR = ("AU118",) * 4, ("AU117",) * 4


def findings(tree: Tree, fingerprints: NDArray[np.void], decode: Decode) -> Iterator[Finding]:
    """The copies among the pictures of ``tree``; ``fingerprints`` (FINGERPRINT) are aligned with its rows.

    The same whatever the order of the rows, but for the order of findings.
    """
    rows = np.flatnonzero((fingerprints["height"] > 0) & (fingerprints["range"] > 0) & ~_derived(tree))
    if not len(rows):
        return
    digests = np.ascontiguousarray(fingerprints["sha256"][rows]).view("V32").ravel()
    _, picture = np.unique(digests, return_inverse=True)
    groups = _grouped(picture, rows)
    for members in groups:
        if len(members) > 1:
            yield _same(tree, members)
    shown = _Pictures(tree, fingerprints, groups)
    thumbnails = candidates.Thumbnails(fingerprints["thumbnail"], shown.first)
    wanted = candidates.find(thumbnails, shown.worth_comparing)
    wanted = wanted.take(shown.among_closest(wanted))
    wanted = wanted.take(np.argsort(~shown.across(wanted), kind="stable"))
    yield from _altered(shown, _compared(shown, wanted.take(np.arange(len(wanted.first)) < MOST_COMPARED), decode))
    yield from _left_over(shown, wanted.take(np.arange(len(wanted.first)) >= MOST_COMPARED))


class _Pair(NamedTuple):
    """Two pictures that were compared, by their numbers, and in words what makes the second the first.

    ``clear``: a copy whoever it is. If not, it may be one where two patients are known (``apart``), else it looks like
    a neighbour.
    """

    first: int
    second: int
    alike: float
    words: str
    clear: bool
    apart: bool


class _Pictures:
    """The different pictures of a tree, numbered by their digests: the rows of each, and whose they are."""

    def __init__(self, tree: Tree, fingerprints: NDArray[np.void], groups: Sequence[Indices]) -> None:
        self.tree, self.rows = tree, groups
        self.first = np.array([members[0] for members in groups])
        self.size = np.stack([fingerprints[name][self.first] for name in ("height", "width")], axis=1)
        self._lean = np.log(self.size[:, 0] / self.size[:, 1])
        self._owners = {name: self._owner(name) for name in ("patient", "group", "case")}
        bits = tree.frame["split"].map({"": 0} | {name: 1 << place for place, name in enumerate(SPLITS)}).to_numpy()
        self._splits = np.array([np.bitwise_or.reduce(bits[members]) for members in groups])

    def _owner(self, column: str) -> Indices:
        """A number for each owner, -1 where nobody knows; one of its own where equal pixels have several owners."""
        numbers = _numbers(self.tree, column)
        owners = [set(numbers[members].tolist()) for members in self.rows]
        return np.array([min(some) if len(some) == 1 else -2 - place for place, some in enumerate(owners)])

    def worth_comparing(self, symmetry: int, first: Indices, second: Indices) -> NDArray[np.bool_]:
        """Whether the pairs have like shapes, the second turned, and are not of one patient, group or case."""
        lean = -self._lean[second] if symmetry & 4 else self._lean[second]
        worth: NDArray[np.bool_] = np.abs(self._lean[first] - lean) <= _ASPECT
        for owner in self._owners.values():
            worth &= (owner[first] < 0) | (owner[first] != owner[second])
        return worth

    def across(self, pairs: Candidates) -> NDArray[np.bool_]:
        """Whether the pairs lie in more than one split."""
        several: NDArray[np.bool_] = np.bitwise_count(self._splits[pairs.first] | self._splits[pairs.second]) > 1
        return several

    def among_closest(self, pairs: Candidates) -> NDArray[np.bool_]:
        """Whether each is among the CLOSEST to the other of the other's patient, or nobody is known.

        ``pairs`` are sorted, best first. A copy of a slice resembles those beside it, which need no decoding.
        """
        patient = self._owners["patient"]
        nobody = (patient[pairs.first] == -1) | (patient[pairs.second] == -1)
        places = [
            _place(np.stack([one, patient[other]], axis=1))
            for one, other in ((pairs.first, pairs.second), (pairs.second, pairs.first))
        ]
        among: NDArray[np.bool_] = nobody | (np.maximum(*places) < CLOSEST)
        return among

    def apart(self, first: int, second: int) -> bool:
        """Whether both patients are known: they differ then, or the pair would not be worth comparing."""
        return -1 not in (self.patient(first), self.patient(second))

    def patient(self, number: int) -> int:
        """Whose it is, as a number; -1 where nobody knows."""
        return int(self._owners["patient"][number])

    def name(self, number: int) -> str:
        """The file of a picture, the first of several that are equal."""
        return str(self.tree.frame["image"].iat[int(self.first[number])])


def _numbers(tree: Tree, column: str) -> Indices:
    """A number for each value of a column, -1 for ""."""
    cells = tree.frame[column].to_numpy(str)
    return np.where(cells == "", -1, np.unique(cells, return_inverse=True)[1])


def _place(keys: Indices) -> Indices:
    """Of each row of ``keys`` (m x 2), how many equal ones stand before it."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])[: len(keys)])
    places = np.empty(len(keys), np.int64)
    places[order] = np.arange(len(keys)) - np.repeat(begins, np.diff(np.append(begins, len(keys))))
    return places


def _derived(tree: Tree) -> NDArray[np.bool_]:
    """Which rows are variants of a plain picture that is there, too."""
    frame = tree.frame
    slices = list(zip(frame["case"], frame["slice"], strict=True))
    plain = {one for one, variant in zip(slices, frame["variant"], strict=True) if not variant}
    return np.array(
        [bool(variant) and one in plain for one, variant in zip(slices, frame["variant"], strict=True)], bool
    )


def _grouped(numbers: Indices, values: Indices) -> list[Indices]:
    """``values`` with equal numbers together, by number."""
    order = np.argsort(numbers, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(numbers[order])) + 1)


def _code(tree: Tree, rows: Indices, codes: tuple[str, str, str, str]) -> str:
    """Of four codes the one for copies across splits, across patients, of one patient, of nobody knows whom."""
    part = tree.frame.iloc[rows]
    splits, patients = set(part["split"]) - {""}, set(part["patient"]) - {""}
    if len(splits) > 1:
        return codes[0]
    if len(patients) > 1:
        return codes[1]
    one = any(part[name].iat[0] and part[name].nunique() == 1 for name in ("patient", "group", "case"))
    return codes[2] if one else codes[3]


def _same(tree: Tree, rows: Indices) -> Finding:
    code = _code(tree, rows, _EQUAL)
    return _finding(tree, code, rows, f"{len(rows)} files hold the same picture, pixel for pixel{_whose(tree, rows)}")


def _whose(tree: Tree, rows: Indices) -> str:
    """In words, the splits and patients of rows: ``; splits test and train; patients P1 and P2``."""
    part, words = tree.frame.iloc[rows], ""
    for column, one, several in (("split", "split", "splits"), ("patient", "patient", "patients")):
        known = sorted(set(part[column]) - {""})
        words += f"; {several if len(known) > 1 else one} {names.some(known)}" if known else ""
    return words


def _finding(tree: Tree, code: str, rows: Sequence[int] | Indices, message: str) -> Finding:
    part = tree.frame.iloc[list(rows)]
    files = part["image"].tolist()
    named = len(files) == 2 and all(file in message for file in files)
    listed = message if named else f"{message}: {names.some(files)}"
    return found(CODES, code, listed, files=files, lines=part["line"].tolist() if tree.manifest else [])


def _compared(shown: _Pictures, pairs: Candidates, decode: Decode) -> Iterator[_Pair]:
    """Those of ``pairs`` that are copies, or look like neighbours. What cannot be decoded has a code of its own."""
    order = np.lexsort((pairs.second, pairs.first))  # what is decoded is used again soon
    squares: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def square(number: int) -> NDArray[np.float32]:
        if number not in squares:
            squares[number] = likeness.square(decode(int(shown.first[number])))
            if len(squares) > _KEPT:
                squares.popitem(last=False)
        squares.move_to_end(number)
        return squares[number]

    for first, second, symmetry in zip(*(column[order].tolist() for column in pairs[:3]), strict=True):
        try:
            alike = likeness.compare(square(first), likeness.turned(square(second), symmetry))
        except CaseError:
            continue
        apart = shown.apart(first, second)
        least, most = (APART, alike.weighed) if apart else (NEIGHBOURS, alike.lying if symmetry == 0 else 0)
        if alike.clear or most >= least:
            words = _done(shown, first, second, symmetry=symmetry, shift=alike.shift)
            yield _Pair(first, second, alike.weighed, words, alike.clear, apart)


_TURNS = (
    "",
    "flipped left to right",
    "flipped upside down",
    "turned by 180 degrees",
    "flipped along a diagonal",
    "turned by 90 degrees to the right",
    "turned by 90 degrees to the left",
    "flipped along the other diagonal",
)
"""By symmetry (``likeness.turned``): what to do to the second picture to get the first."""


def _done(shown: _Pictures, first: int, second: int, *, symmetry: int, shift: float) -> str:
    size, other = shown.size[first].tolist(), shown.size[second].tolist()
    other = other[::-1] if symmetry & 4 else other
    said = [_TURNS[symmetry]] if symmetry else []
    said += ["cropped or shifted"] if shift > 0.005 else []
    said += ["resized"] if size != other else []
    return ", ".join(said) or "as it lies"


def _altered(shown: _Pictures, pairs: Iterator[_Pair]) -> Iterator[Finding]:
    """A finding a cluster of copies, of those that may be, and of those that look like neighbours."""
    compared = list(pairs)
    clear = [pair for pair in compared if pair.clear]
    perhaps = [pair for pair in compared if pair.apart and not pair.clear]
    near = [pair for pair in compared if not (pair.clear or pair.apart)]
    kinds = (
        (clear, _ALTERED, "are copies, altered"),
        (list(_closest(shown, perhaps)), _PERHAPS, "may be copies, altered"),
    )
    for some, codes, what in (*kinds, (near, _NEAR, "look like neighbouring slices")):
        for members in _clusters(some, len(shown.rows)):
            rows = np.sort(np.concatenate([shown.rows[number] for number in members]))
            if codes is _NEAR and len(set(shown.tree.frame["split"].iloc[rows]) - {""}) < 2:
                continue
            links = [pair for pair in some if pair.first in members]
            words = f"{len(rows)} pictures {what}; {_alike(shown, links, rows, example=codes is not _NEAR)}"
            yield _finding(shown.tree, _code(shown.tree, rows, codes), rows, words)


def _closest(shown: _Pictures, pairs: Sequence[_Pair]) -> Iterator[_Pair]:
    """The pairs where each is the closest to the other among those of the other's patient.

    For a copy of a slice resembles the slices beside it, too.
    """
    best: dict[tuple[int, int], float] = {}
    sides = [((pair.first, shown.patient(pair.second)), (pair.second, shown.patient(pair.first))) for pair in pairs]
    for pair, keys in zip(pairs, sides, strict=True):
        for key in keys:
            best[key] = max(pair.alike, best.get(key, 0.0))
    for pair, keys in zip(pairs, sides, strict=True):
        if all(pair.alike == best[key] for key in keys):
            yield pair


def _alike(shown: _Pictures, links: Sequence[_Pair], rows: Indices, *, example: bool) -> str:
    least, most = (choose(pair.alike for pair in links) for choose in (min, max))
    one = max(links, key=lambda pair: pair.alike)
    how = f"{most:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
    said = f"{how} alike{_whose(shown.tree, rows)}"
    return f"{said}; {shown.name(one.first)} is {shown.name(one.second)} {one.words}" if example else said


def _clusters(pairs: Sequence[_Pair], count: int) -> list[set[int]]:
    """The pictures that pairs tie together, by the smallest number in each."""
    leader = list(range(count))

    def led_by(number: int) -> int:
        while leader[number] != number:
            leader[number] = number = leader[leader[number]]
        return number

    for pair in pairs:
        one, other = sorted((led_by(pair.first), led_by(pair.second)))
        leader[other] = one
    clusters: dict[int, set[int]] = {}
    for number in sorted({number for pair in pairs for number in (pair.first, pair.second)}):
        clusters.setdefault(led_by(number), set()).add(number)
    return list(clusters.values())


def _left_over(shown: _Pictures, pairs: Candidates) -> Iterator[Finding]:
    if not len(pairs.first):
        return
    pictures = np.unique(np.concatenate([pairs.first, pairs.second])).tolist()
    rows = np.sort(np.concatenate([shown.rows[one] for one in pictures]))
    what = f"{names.counted(len(pairs.first), 'more pair')} of {names.counted(len(pictures), 'picture')}"
    yield _finding(shown.tree, "AU119", rows, f"{what} that look alike: not compared")
