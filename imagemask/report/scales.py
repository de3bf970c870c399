"""From values to places on a plot and to words: scales with round ticks, bins with round edges, numbers for people."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE = "n/a"
"""What stands where a number is not known."""
MINUS = "\N{MINUS SIGN}"

LARGEST = 1e300
"""From here on, what was computed went wrong."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from ``low`` to ``high`` as places from ``start`` to ``end``; what lies outside is put at the nearer end.

    With ``log``, equal ratios are equally far apart, and ``low`` is over 0. Raises ValueError where ``low`` is not
    under ``high``.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale from {self.low} to {self.high} has no length")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic scale cannot begin at {self.low}")

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, at = self.low, self.high, min(max(float(value), self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most ``most`` of them."""
        return log_ticks(self.low, self.high, most) if self.log else ticks(self.low, self.high, most)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from ``low`` to ``high``: as many as fit, at most ``most``."""
    step = _step((high - low) / max(1, most))
    while True:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [_clean(index * step) for index in range(first, last + 1)]
        step = _step(step * 1.01)


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2 and 5 times the powers of ten from ``low`` to ``high``; only the powers, or some of them, where many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [_clean(factor * 10.0**power) for power in powers for factor in factors]
        found = [one for one in found if low * (1 - 1e-9) <= one <= high * (1 + 1e-9)]
        if len(found) <= most:
            return found if len(found) > 1 else ticks(low, high, most)
    return found[:: -(-len(found) // most)]


def bin_edges(values: Values, *, log: bool = False, whole: bool = False) -> Values:
    """Edges of equal bins that hold every value, with round ends: about 2 n^(1/3) bins of n values (Rice), 8 to 24.

    Bins of a logarithmic scale are equal in ratio, those of ``whole`` numbers a whole number wide. Values must be
    finite; of none, and of one alone, there is one bin at least.
    """
    if not len(values):
        return np.array([0.0, 1.0])
    most = min(24, max(8, round(2 * len(values) ** (1 / 3))))
    low, high = float(values.min()), float(values.max())
    if log:
        return _log_edges(low, high, most)
    step = _step(max((high - low) / (most - 1), abs(high) * 1e-6, 1e-12))
    if whole:
        step, low, high = max(1.0, step), low - 0.5, high + 0.5
        whole_edges: Values = low + step * np.arange(
            max(2, math.ceil((high - low) / step - 1e-9) + 1), dtype=np.float64
        )
        return whole_edges
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    edges = np.array([_clean(index * step) for index in range(first, last + 1)])
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # by rounding, they may lie a little within
    return edges


def is_wide(values: Values) -> bool:
    """Whether positive values are better seen by their ratios: the largest is over 30 times the smallest."""
    return bool(len(values) and values.min() > 0 and values.max() > 30 * values.min())


def finite(values: object) -> Values:
    """Those of some numbers that are numbers, as float64; what is too large for a difference of two is none."""
    found: Values = np.asarray(values, np.float64).ravel()
    return found[np.abs(found) < LARGEST]


def show(value: float | None, unit: str = "") -> str:
    """A number for people: three digits, or all those before the point up to seven; ``n/a`` where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    text = "0" if text == "-0" else text
    return f"{text}{unit if unit == '%' else f' {unit}' if unit else ''}".replace("-", MINUS)


def fixed(value: float) -> str:
    """A score for people: three digits after the point, so that a column of them is easily compared."""
    return f"{value:.3f}".replace("-", MINUS) if math.isfinite(value) else NONE


def percent(share: float | None) -> str:
    """A share as a percentage, ``n/a`` where there is none; no share that is more than nothing is 0%."""
    if share is None or not math.isfinite(share):
        return NONE
    found = 100 * share
    return (
        f"{found:.0f}%" if found == 0 or abs(found) >= 10 else f"{found:.1f}%" if abs(found) >= 1 else f"{found:.2g}%"
    )


def _log_edges(low: float, high: float, most: int) -> Values:
    decades = math.log10(high / low)
    a_decade = next((one for one in (20, 10, 5, 2, 1) if decades * one <= most - 2), 1)
    first = math.floor(math.log10(low) * a_decade + 1e-9)
    last = max(first + 1, math.ceil(math.log10(high) * a_decade - 1e-9))
    edges: Values = 10 ** (np.arange(first, last + 1) / a_decade)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not under ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-300)))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


def _clean(value: float) -> float:
    """Without what floating point added: 0.30000000000000004 is 0.3."""
    return float(f"{value:.12g}")
