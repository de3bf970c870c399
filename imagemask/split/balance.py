"""Units into bins, so that each bin's images and foreground images lie near its ratio.

Greedy in descending size, then exchanges and moves between two bins until none improves. The same input gives the same
answer on every platform and with every version of numpy: chance is the SHA-256 of seed and name, counts are integers,
and what is left in floating point is done element by element.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STARTS = 8
_SMALL = 300  # units up to which several starts cost nothing
_CANDIDATES = 384  # units of each of two bins that one exchange looks at
_PAIRS = 300  # pairs of bins that one turn looks at
_TURNS = 200
_WORTHWHILE = 1e-13  # in squared shares: 3e-5 points


def balance(
    weights: NDArray[np.int64],
    ratios: Sequence[float],
    *,
    settled: NDArray[np.int64],
    names: Sequence[str],
    seed: int,
) -> NDArray[np.int64]:
    """The bin of each unit.

    ``weights`` is units x measures: what a unit counts, measure by measure. ``ratios`` sum to 1, one a bin; a bin whose
    ratio is 0 gets nothing, and each of the others at least one unit where there are enough. ``settled`` is the bin of
    a unit that may not move, -1 of the others. ``seed`` and ``names`` decide between units of about one size, whatever
    their order.
    """
    starts = _STARTS if len(names) <= _SMALL else 1
    states = [_draw(weights, ratios, settled, _shuffled(names, f"{seed}/{start}")) for start in range(starts)]
    best = min(states, key=_State.cost)
    bins = np.empty_like(best.bins)
    bins[best.order] = best.bins
    return bins


def _shuffled(names: Sequence[str], seed: str) -> NDArray[np.int64]:
    keys = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def _draw(
    weights: NDArray[np.int64], ratios: Sequence[float], settled: NDArray[np.int64], order: NDArray[np.int64]
) -> _State:
    state = _State(weights[order], ratios, settled[order], order)
    state.place()
    state.fill_empty()
    state.exchange()
    return state


class _State:
    """An assignment in the making. Its units are in shuffled order, so that to look at the first of them is fair.

    ``shares`` (units x measures) and ``loads`` (bins x measures): the weight of a unit, as a share of the total, and of
    a bin; ``counts`` is the number of units in a bin.
    """

    def __init__(
        self, weights: NDArray[np.int64], ratios: Sequence[float], settled: NDArray[np.int64], order: NDArray[np.int64]
    ) -> None:
        self.order = order
        self.weights = weights[:, weights.sum(axis=0) > 0]  # a measure that is 0 everywhere balances nothing
        self.totals = self.weights.sum(axis=0)
        self.shares = self.weights / self.totals
        self.ratios = np.array(ratios, dtype=np.float64)
        self.free = settled < 0
        self.bins = settled.copy()
        self.loads = np.zeros((len(self.ratios), len(self.totals)), dtype=np.int64)
        self.counts = np.zeros(len(self.ratios), dtype=np.int64)
        self._count(np.flatnonzero(~self.free))

    def place(self) -> None:
        """Put each free unit, the large ones first, where the bins stay nearest to their ratios.

        Near at every step and not only at the end: a test set then gets its share of the large units, and not just the
        small ones that come last. Sizes within a factor of two are taken in shuffled order.
        """
        loads: list[list[float]] = (self.loads / self.totals).tolist()
        wanted = [(place, ratio) for place, ratio in enumerate(self.ratios.tolist()) if ratio > 0]
        free = np.flatnonzero(self.free)
        magnitude = np.frexp(self.shares[free].max(axis=1, initial=0))[1]
        order = free[np.argsort(-magnitude, kind="stable")]
        for unit, share in zip(order.tolist(), self.shares[order].tolist(), strict=True):
            chosen = min((_growth(share, loads[place]) / ratio, place) for place, ratio in wanted)[1]
            loads[chosen] = [load + part for load, part in zip(loads[chosen], share, strict=True)]
            self.bins[unit] = chosen
        self._count(free)

    def fill_empty(self) -> None:
        """Give each empty bin that has a ratio the lightest free unit of the bin that has most of them to spare."""
        for empty in np.flatnonzero((self.ratios > 0) & (self.counts == 0)).tolist():
            spare = np.bincount(self.bins[self.free], minlength=len(self.counts)) * (self.counts > 1)
            donor = int(spare.argmax())
            if spare[donor] == 0:
                return
            members = self._members(donor)
            self._move(int(members[self.shares[members].max(axis=1, initial=0).argmin()]), empty)

    def exchange(self) -> None:
        """Exchange units between two bins, or move one, as long as a turn over the bins improves anything."""
        for turn in range(_TURNS):
            improved = [self._exchange(one, other, turn) for one, other in self._pairs()]
            if not any(improved):
                return

    def cost(self) -> float:
        """The sum of the squared deviations from the ratios, over bins and measures."""
        return math.fsum(value * value for value in self._excess().ravel().tolist())

    def _excess(self) -> NDArray[np.float64]:
        excess: NDArray[np.float64] = self.loads / self.totals - self.ratios[:, None]
        return excess

    def _pairs(self) -> list[tuple[int, int]]:
        """Bins in twos, those that deviate most first."""
        deviation = np.abs(self._excess()).max(axis=1, initial=0)
        worst = [place for place in np.argsort(-deviation, kind="stable").tolist() if self.ratios[place] > 0]
        return list(itertools.islice(itertools.combinations(worst, 2), _PAIRS))

    def _exchange(self, one: int, other: int, turn: int) -> bool:
        """Make the best exchange or move between two bins, if it is worth it, and say whether it was.

        With d the difference of the units and g that of the bins' excesses, the sum of squares changes by 2 d (d - g).
        """
        mine = self._candidates(one, turn, may_take=self.counts[other] > 1)
        theirs = self._candidates(other, turn, may_take=self.counts[one] > 1)
        if not mine or not theirs:
            return False
        gap = self._excess()[one] - self._excess()[other]
        change = np.zeros((len(mine), len(theirs)))
        for measure in range(len(gap)):
            column = np.append(self.shares[:, measure], 0)  # of unit -1, which is nobody
            difference = column[mine][:, None] - column[theirs][None, :]
            change += difference * (difference - gap[measure])
        place = int(change.argmin())
        if change.flat[place] > -_WORTHWHILE:
            return False
        self._move(mine[place // len(theirs)], other)
        self._move(theirs[place % len(theirs)], one)
        return True

    def _candidates(self, place: int, turn: int, *, may_take: np.bool_) -> list[int]:
        """Free units of a bin, others at each turn where there are many; and -1, nobody, if it may take for nothing."""
        members = self._members(place)
        if len(members) > _CANDIDATES:
            members = np.roll(members, -turn * _CANDIDATES)[:_CANDIDATES]
        return [*members.tolist(), -1] if may_take else members.tolist()

    def _members(self, place: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.free & (self.bins == place))

    def _count(self, units: NDArray[np.int64]) -> None:
        np.add.at(self.loads, self.bins[units], self.weights[units])
        np.add.at(self.counts, self.bins[units], 1)

    def _move(self, unit: int, place: int) -> None:
        if unit < 0:
            return
        for bin_, sign in ((self.bins[unit], -1), (place, 1)):
            self.loads[bin_] += sign * self.weights[unit]
            self.counts[bin_] += sign
        self.bins[unit] = place


def _growth(share: Sequence[float], load: Sequence[float]) -> float:
    """How much the square of a load grows by a share, over all measures."""
    return sum(part * (2 * whole + part) for part, whole in zip(share, load, strict=True))
