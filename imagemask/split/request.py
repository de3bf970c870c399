"""What is asked of a split, and what that comes to on a dataset that may be split already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from imagemask.errors import UsageError
from imagemask.types import SPLITS

By = Literal["patient", "group", "image"]
Variants = Literal["train", "everywhere"]
Layout = Literal["link", "copy", "none"]
Ratios = tuple[float, float, float]

DEFAULT_RATIOS: Ratios = (70.0, 15.0, 15.0)
DEFAULT_SEED = 0
_SAME = 1e-9  # between ratios


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a split. None: as the dataset is split now, and where it is not, the default.

    ``by`` (patient) is what no two sets may share. ``ratios`` (70, 15, 15) are those of train, valid and test, in any
    unit. ``folds`` K (none) draws K folds instead of ratios; ``fold`` I (0) is then the test set, the next one
    the validation set, and the rest is for training. ``seed`` (0) chooses between good splits. ``layout`` (link) and
    ``variants`` (train) say how train/, valid/ and test/ are laid out, and which of them get augmented copies.

    ``resplit`` draws everything anew, from the defaults; without it no unit ever leaves the set that it is in.

    Raises UsageError for a value that no dataset could satisfy.
    """

    by: By | None = None
    ratios: Ratios | None = None
    folds: int | None = None
    fold: int | None = None
    seed: int | None = None
    variants: Variants | None = None
    layout: Layout | None = None
    resplit: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("by", self.by, get_args(By)),
            ("variants", self.variants, get_args(Variants)),
            ("layout", self.layout, get_args(Layout)),
        ):
            if value is not None and value not in choices:
                raise UsageError(f"{name} is {value!r}", remedy=f"It is one of {', '.join(choices)}")
        if self.ratios is not None:
            _check_ratios(self.ratios)
        if self.folds is not None:
            self._check_folds(self.folds)

    def _check_folds(self, folds: int) -> None:
        if folds < 3:
            raise UsageError(
                f"{folds} folds are too few: one is the test set, another the validation set, the rest is for training",
                remedy="Ask for 3 or more",
            )
        if self.ratios is not None:
            raise UsageError("ratios and folds exclude each other", remedy="With K folds, each set follows from K")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a dataset's present split was drawn with, as far as it is known: None is unknown, ``folds`` 0 is without."""

    column: str
    folds: int
    fold: int | None
    ratios: Ratios | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: ``column`` of the manifest is kept whole, ``ratios`` sum to 1."""

    column: str
    ratios: Ratios
    folds: int
    fold: int
    seed: int

    @property
    def bins(self) -> tuple[float, ...]:
        """What is drawn: the share of each fold, or of each of the three sets."""
        return (1 / self.folds,) * self.folds if self.folds else self.ratios

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the bins."""
        return tuple(str(fold) for fold in range(self.folds)) or SPLITS

    def set_of(self, fold: int) -> str:
        """The set that a fold belongs to."""
        if fold == self.fold:
            return "test"
        return "valid" if fold == (self.fold + 1) % self.folds else "train"


def parse_ratios(text: str) -> Ratios:
    """The ratios in ``70,15,15``. Raises UsageError."""
    try:
        train, valid, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"ratios are {text!r}", remedy="Give three numbers, such as 70,15,15") from error
    _check_ratios((train, valid, test))
    return train, valid, test


def plan(request: Request, column: str, now: Recorded | None) -> Plan:
    """What ``request`` comes to on a dataset that is split as ``now`` says, or not at all.

    ``column`` is the manifest column that the request would keep whole. Raises UsageError where the request contradicts
    the present split, or its fold is not among the folds.
    """
    if now is not None:
        _check_same(request, column, now)
    folds = request.folds or (now.folds if now else 0)
    fold = _first(request.fold, now.fold if now else None, 0)
    if request.fold is not None and not 0 <= fold < folds:
        raise UsageError(
            f"fold {fold} of {folds} folds" if folds else f"fold {fold} of a split without folds",
            remedy=f"Folds are 0 to {folds - 1}" if folds else "Ask for folds as well: --folds 5",
        )
    recorded = now.ratios if now else None  # as they are: to scale them again might move the last digit
    ratios = recorded or normal(request.ratios or DEFAULT_RATIOS)
    return Plan(
        column=column,
        ratios=((folds - 2) / folds, 1 / folds, 1 / folds) if folds else ratios,
        folds=folds,
        fold=fold if folds else 0,
        seed=_first(request.seed, now.seed if now else None, DEFAULT_SEED),
    )


def normal(ratios: Ratios) -> Ratios:
    """Ratios that sum to 1."""
    total = math.fsum(ratios)
    train, valid, test = (ratio / total for ratio in ratios)
    return train, valid, test


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _check_ratios(ratios: Sequence[float]) -> None:
    if len(ratios) != 3 or not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios):
        raise UsageError(f"ratios are {_text(ratios)}", remedy="Give three numbers that are not negative: 70,15,15")
    if ratios[0] == 0:
        raise UsageError(f"ratios are {_text(ratios)}: nothing to train on", remedy="The first must be above 0")


def _check_same(request: Request, column: str, now: Recorded) -> None:
    """Refuse what the present split is not. What is not known of it is not held against the request."""
    asked = [
        ("by", by_of(column), by_of(now.column)),
        ("folds", request.folds, now.folds or "none"),
        ("seed", request.seed, now.seed),
    ]
    differing = [
        f"{name} {was} now, {wanted} asked for"
        for name, wanted, was in asked
        if wanted is not None and was is not None and wanted != was
    ]
    if request.ratios is not None and now.folds:
        differing.append(f"{now.folds} folds now, ratios {_text(request.ratios)} asked for")
    elif request.ratios is not None and now.ratios is not None and not _alike(request.ratios, now.ratios):
        differing.append(f"ratios {_text(now.ratios)} now, {_text(request.ratios)} asked for")
    if differing:
        raise UsageError(
            f"the dataset is split already, otherwise: {'; '.join(differing)}",
            remedy="Leave the option away to keep the split, or add --resplit to draw it anew",
        )


def _alike(one: Ratios, other: Ratios) -> bool:
    return all(abs(a - b) < _SAME for a, b in zip(normal(one), normal(other), strict=True))


def by_of(column: str) -> str:
    """What a manifest column is called on the command line."""
    return "image" if column == "case" else column


def _text(ratios: Sequence[float]) -> str:
    """Ratios, in percent where they sum to 1."""
    scale = 100 if math.isclose(math.fsum(ratios), 1) else 1
    return ",".join(f"{ratio * scale:g}" for ratio in ratios)
