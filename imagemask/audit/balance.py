"""How the splits compare: their sizes, the lesions in them, how bright they are; and whether chance would do the same.

Slices of one patient are alike, so what is compared are patients (else groups, else cases), one number each: the median
over her images. Whether a difference means anything is asked of chance: the patients are dealt to splits of the same
sizes again and again, and a difference is a finding only where fewer than four deals in a thousand (shared among what
is asked under one code) part the splits as far: Kruskal and Wallis' rank statistic, by permutation (Good, Permutation,
Parametric and Bootstrap Tests of Hypotheses, 2005), with a fixed seed. It must be large, too: see ``_Question.least``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imagemask.audit import measures
from imagemask.audit.findings import Code, Finding, found
from imagemask.audit.leaks import used
from imagemask.audit.tree import Tree
from imagemask.names import counted
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

_DRAW = (
    "Draw the split anew with more patients in it, or report that the sets differ: imagemask split --resplit --seed N"
)

CODES = {
    "AU401": Code(
        "advice",
        "a split is missing or small",
        "A score over so few patients says little: one of them moves it, and no interval is narrow",
        "Give it more (imagemask split --resplit --ratios 60,20,20), build more cases, or use folds (--folds 5)",
    ),
    "AU402": Code(
        "warning",
        "pairs have no split although others have one",
        "They are neither trained on nor tested, and nobody notices",
        "imagemask split places what has none; in a folder, move them into a split, or away",
    ),
    "AU403": Code(
        "warning",
        "the splits hold other shares of lesions or categories",
        "The score is then that of another population than the one that was trained on, or than the one that was meant",
        _DRAW,
    ),
    "AU404": Code(
        "advice",
        "lesions are of other sizes in one split",
        "Large lesions score higher than small ones: the score tells who was tested, not how good the model is",
        _DRAW,
    ),
    "AU405": Code(
        "warning",
        "images are brighter, darker or of other contrast in one split",
        "Another scanner, window or preparation: the model is tested on what it has not seen, or sets were made apart",
        "Look at both (imagemask preview); make all sets in one way, or draw the split anew",
    ),
}

_SMALL_SHARE, _FEW = 0.05, 5
_KNOWN = 0.9
"""The share of pairs of which something must be known to be compared by."""
_CHANCE = 0.004
"""How often a code may be raised by chance over a split that was drawn at random. Real splits balance images, so that

patients with many of them, whose lesions are large, are not dealt at random: less than the hundredth that is allowed.
"""
_DEALS, _AT_ONCE = 1999, 2_000_000
_SPREAD = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found, in sentences what it comes to, and what could not be told."""

    findings: list[Finding]
    verdicts: tuple[str, ...]
    unjudged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    """Something that may differ between splits: ``values``, n x k, a row a unit (k columns of shares, or one number).

    ``least`` is the smallest difference worth a finding: of shares as it is, else in spreads between patients.
    """

    code: str
    what: str
    values: NDArray[np.float64]
    shares: Sequence[str] = ()
    least: float = 0.5
    asked: int = 1
    """Questions under this code, which share its chance."""


def compare(tree: Tree, seen: pd.DataFrame) -> Compared:
    """Compare the splits of ``tree`` by ``seen``, the measures of its pairs."""
    frame = used(tree)
    placed = frame[(frame["split"] != "") & (frame["variant"] == "")]
    findings = [*_unplaced(tree, frame)]
    if placed.empty:
        return Compared(findings, (), ())
    level = _unit(tree, placed)
    findings += _sizes(placed, level)
    verdicts = [_in_words(placed, level)]
    if placed["split"].nunique() < 2:
        return Compared(findings, tuple(verdicts), ())
    if not level:
        who = "Whether lesions and brightness differ between the splits by more than chance: nobody knows the patients."
        return Compared(findings, tuple(verdicts), (who,))
    unknown = placed[level] == ""
    unjudged = []
    if unknown.any():
        unjudged.append(f"In comparing the splits {counted(int(unknown.sum()), 'pair')}: nobody knows the {level}.")
    units, labels = _units(placed[~unknown], level, seen)
    for name, questions in _questions(units):
        told = [_answer(question, labels, level) for question in questions]
        findings += (one for one in told if isinstance(one, Finding))
        if not questions or all(one is None for one in told):
            unjudged.append(f"{name}: too few {level}s to tell a difference between the splits from chance.")
        elif differing := [one.message for one in told if isinstance(one, Finding)]:
            verdicts.append(f"{name}: {'; '.join(differing)}.")
        else:
            verdicts.append(f"{name}: no more different between the splits than chance would have it.")
    return Compared(findings, tuple(verdicts), tuple(unjudged))


def _unplaced(tree: Tree, frame: pd.DataFrame) -> Iterator[Finding]:
    blank = frame[frame["split"] == ""]
    if 0 < len(blank) < len(frame):
        paths = blank["image"].where(blank["image"] != "", blank["mask"]).tolist()
        lines = blank["line"].tolist() if tree.manifest else []
        message = f"{counted(len(blank), 'pair')} of {len(frame)} in no split"
        yield found(CODES, "AU402", message, files=paths, lines=lines)


def _unit(tree: Tree, placed: pd.DataFrame) -> str:
    """What is compared: patients, groups or cases, of whom nearly all are known; "" where nobody knows who is who."""
    levels = ("patient", "group", "case") if tree.manifest else ("patient",)
    return next((level for level in levels if bool((placed[level] != "").mean() >= _KNOWN)), "")


def _sizes(placed: pd.DataFrame, level: str) -> Iterator[Finding]:
    for name in SPLITS:
        rows = placed[placed["split"] == name]
        share = len(rows) / len(placed)
        units = rows[level].nunique() if level else _FEW
        if rows.empty:
            yield found(CODES, "AU401", f"there is no {name} set")
        elif share < _SMALL_SHARE or units < _FEW:
            of = f" of {counted(units, level)}" if level else ""
            yield found(CODES, "AU401", f"{name} holds {counted(len(rows), 'image')}{of}, {share:.1%} of all")


def _in_words(placed: pd.DataFrame, level: str) -> str:
    said = []
    for name in SPLITS:
        rows = placed[placed["split"] == name]
        of = f" of {counted(rows[level].nunique(), level)}" if level else ""
        said += [f"{name} {counted(len(rows), 'image')}{of} ({len(rows) / len(placed):.0%})"] if len(rows) else []
    return f"Splits: {', '.join(said)}."


def _units(placed: pd.DataFrame, level: str, seen: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A row a unit, and the place in SPLITS of its split. A unit that lies in several counts in each."""
    rows = seen.loc[placed.index]
    lesion = rows["foreground"] > 0
    blocks = rows[list(measures.BLOCKS)]
    numbers = {
        "lesion": lesion.where(rows["foreground"].notna()).astype(float),
        "size": np.log(rows["foreground"].where(lesion)),
        "brightness": blocks.mean(axis=1),
        "contrast": blocks.std(axis=1, ddof=0),
        "category": placed["category"],
    }
    of = placed.assign(**numbers).groupby(["split", level], sort=True)
    units = of[["size", "brightness", "contrast"]].median()
    units["lesion"] = of["lesion"].mean()
    units["category"] = of["category"].agg(lambda names: str(names.mode().iat[0]))
    return units, np.array([SPLITS.index(name) for name in units.index.get_level_values("split")], np.int64)


def _questions(units: pd.DataFrame) -> Iterator[tuple[str, list[_Question]]]:
    """What is asked, by area."""
    lesion = units[["lesion"]].to_numpy(float)
    categories = sorted({*units["category"]} - {""})
    shares = []
    if not bool((np.nan_to_num(lesion, nan=1) == 1).all()):
        shares.append(_Question("AU403", "images with a lesion", lesion, ("a lesion",), least=0.1, asked=2))
    if len(categories) > 1:
        present = np.stack([(units["category"] == name).to_numpy(float) for name in categories], axis=1)
        shares.append(_Question("AU403", "categories", present, categories, least=0.1, asked=2))
    if shares:
        yield "Shares of lesions and categories", shares
    yield "Sizes of lesions", [_Question("AU404", "lesions", units[["size"]].to_numpy(float))]
    looks = [_Question("AU405", name, units[[name]].to_numpy(float), asked=2) for name in ("brightness", "contrast")]
    yield "Brightness and contrast", looks


def _answer(question: _Question, labels: NDArray[np.int64], level: str) -> Finding | str | None:
    """A finding, else "" where nothing is wrong, None where chance could not be excluded whatever was seen."""
    known = ~np.isnan(question.values).any(axis=1)
    values, labels = question.values[known], labels[known]
    sizes = np.bincount(labels, minlength=len(SPLITS)).tolist()
    most = _CHANCE / question.asked
    if sum(size > 0 for size in sizes) < 2 or _rarest(sizes) > most:
        return None
    chance = _chance(values if question.shares else _ranks(values), labels)
    worst, effect, words = _largest(question, values, labels)
    if chance > most or effect < question.least:
        return ""
    message = f"{words}; chance alone parts them so in {_odds(chance)} ({len(values)} {level}s)"
    return found(CODES, question.code, f"{SPLITS[worst]}: {message}")


def _rarest(sizes: Sequence[int]) -> float:
    """The probability of one particular deal of all units to splits of these sizes: no smaller one can be found."""
    logs = math.lgamma(sum(sizes) + 1) - math.fsum(math.lgamma(size + 1) for size in sizes)
    return math.exp(-logs)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each number, n x 1; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values[:, 0], return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse][:, None]


def _chance(columns: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """How often units dealt at random, to splits of the same sizes, are parted as far as they are, or further.

    The distance is sum over splits and columns of n (mean of the split - mean)^2 / mean: of ranks Kruskal and Wallis'
    statistic but for a factor, of columns that are 0 or 1 Pearson's chi-square.
    """
    weights = 1 / np.maximum(columns.mean(axis=0), 1e-12)
    centred = columns - columns.mean(axis=0)
    random = np.random.default_rng(0)
    here = _distance(labels[None], centred, weights)[0]
    further, left = 0, _DEALS
    while left:
        some = min(left, max(1, _AT_ONCE // len(labels)))
        deals = random.permuted(np.broadcast_to(labels.astype(np.int8), (some, len(labels))), axis=1)
        further += int(np.count_nonzero(_distance(deals, centred, weights) >= here * (1 - 1e-9)))
        left -= some
    return (further + 1) / (_DEALS + 1)


def _distance(
    deals: NDArray[np.integer], centred: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each row of ``deals``, b x n, the distance between its splits."""
    total = np.zeros(len(deals))
    for place in range(len(SPLITS)):
        here = deals == place
        size = int(np.count_nonzero(here[0]))
        if size:
            total += ((here @ centred) ** 2) @ weights / size
    return total


def _largest(question: _Question, values: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[int, float, str]:
    """The split that differs most from the others, by how much, and in words."""
    best = (0, 0.0, "")
    for place in np.unique(labels).tolist():
        here = labels == place
        inside, outside = values[here], values[~here]
        if question.shares:
            differences = inside.mean(axis=0) - outside.mean(axis=0)
            at = int(np.abs(differences).argmax())
            effect, words = float(abs(differences[at])), ""
            one, other = (float(part[:, at].mean()) for part in (inside, outside))
            words = f"{question.shares[at]} in {one:.0%} of it, in {other:.0%} of the others"
        else:
            one, other = float(np.median(inside)), float(np.median(outside))
            effect = abs(one - other) / _spread(inside, outside)
            words = _sizes_in_words(question, one, other) + f", {effect:.1f} spreads between patients"
        if effect > best[1]:
            best = (place, effect, words)
    return best


def _spread(*parts: NDArray[np.float64]) -> float:
    """The robust spread of units about the median of their part; tiny where there is none."""
    around = np.concatenate([part - np.median(part) for part in parts])
    return max(_SPREAD * float(np.median(np.abs(around))), 1e-6)


def _sizes_in_words(question: _Question, one: float, other: float) -> str:
    if question.code == "AU404":
        return (
            f"lesions cover {math.exp(one):.2%} of an image (median over patients), {math.exp(other):.2%} in the others"
        )
    return f"{question.what} {one:.0f} of 255 (median over patients), {other:.0f} in the others"


def _odds(chance: float) -> str:
    return f"{chance * 1000:.1f} of 1000 splits"
