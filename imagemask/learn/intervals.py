"""How far a mean over a few patients may be off: intervals by bootstrap over whole patients.

Images of one patient are alike, so that patients are drawn, each with all of its images. With few patients the plain
percentiles of a bootstrap are too narrow. So they are taken further out, by Student's t and sqrt(n / (n - 1)): the
"expanded percentile" interval of Hesterberg (The American Statistician 2015, 69(4):371). How often 95% intervals held
the true mean, in 1500 simulated sets each (normal; beta; beta with 12% zeros; exponential):

========  ==================  ==================  ==================
patients  percentile          BCa                 expanded percentile
========  ==================  ==================  ==================
8         90, 89, 76, 85      90, 90, 77, 85      94, 94, 82, 89
20        93, 93, 91, 91      94, 94, 92, 92      95, 95, 92, 94
50        94, 95, 94, 92      94, 95, 95, 93      95, 95, 95, 93
========  ==================  ==================  ==================

The mean over images has intervals a little too narrow where patients have unequal numbers of them: a few patients weigh
more, as if there were fewer (20 patients of 1 to 5 images, beta with zeros: 87%).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEAST_PATIENTS = 8
"""Under these no interval is given: it would say more than the patients do."""

_BLOCK = 2**21
"""Patients drawn at once, over all draws: a bound on memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and where it may well lie; ``low`` and ``high`` are None under ``LEAST_PATIENTS``.

    ``patients`` and ``images`` are those with a value, ``undefined`` the images without one. The value is nan where no
    image has one.
    """

    value: float
    low: float | None
    high: float | None
    patients: int
    images: int
    undefined: int

    @property
    def text(self) -> str:
        """``0.712 to 0.834``, or ``n/a (3 patients)``."""
        if self.low is None or self.high is None:
            return f"n/a ({self.patients} patient{'' if self.patients == 1 else 's'})"
        return f"{self.low:.3g} to {self.high:.3g}"


def bootstrap(
    values: Sequence[float] | NDArray[np.float64],
    patients: Sequence[str],
    *,
    by: Literal["patient", "image"] = "patient",
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean of one value an image, nan where it is not defined, and its interval; ``patients`` says whose each is.

    ``by`` patient, each patient's mean counts once, however many images there are of it: what to expect of the next
    patient. ``by`` image, each image counts once: what to expect of the next image. Equal input gives equal intervals,
    whatever the order of the images. Raises ValueError for values and patients that are not as many.
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(patients),):
        raise ValueError(f"{len(patients)} patients and values of shape {values.shape} do not go together")
    there = ~np.isnan(values)
    sums, counts = _per_patient(values[there], np.asarray(patients)[there])
    if by == "patient":
        sums, counts = sums / counts, np.ones(len(counts))
    value = float(sums.sum() / counts.sum()) if len(sums) else float("nan")
    low, high = _ends(sums, counts, draws, seed, level) if len(sums) >= LEAST_PATIENTS else (None, None)
    return Interval(value, low, high, len(sums), int(there.sum()), int((~there).sum()))


def _per_patient(
    values: NDArray[np.float64], patients: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each patient's sum and number of values, by name."""
    names, whose = np.unique(patients, return_inverse=True)
    # Sorted, a patient's values are added up in one order, whatever theirs was.
    order = np.lexsort((values, whose))
    sums = np.bincount(whose[order], values[order], minlength=len(names)).astype(np.float64)
    return sums, np.bincount(whose, minlength=len(names)).astype(np.float64)


def _ends(
    sums: NDArray[np.float64], counts: NDArray[np.float64], draws: int, seed: int, level: float
) -> tuple[float, float]:
    from scipy.special import ndtr, stdtrit

    count = len(sums)
    source = np.random.default_rng(seed)
    means, step = [], max(1, _BLOCK // count)
    for start in range(0, draws, step):
        drawn = source.integers(0, count, (min(step, draws - start), count))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = float(ndtr(stdtrit(count - 1, (1 - level) / 2) * np.sqrt(count / (count - 1))))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)
