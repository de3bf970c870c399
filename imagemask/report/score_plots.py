"""Plots of a training and of its scores: curves, intervals, dots a patient, and reliability."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from imagemask.preview import evenly
from imagemask.report import scales
from imagemask.report.plots import WIDTH, Cell, Plot, axis_below
from imagemask.report.scales import Scale, Values, fixed, percent, show
from imagemask.report.svg import Drawing, Point, series, shortened, text_width

MOST_ROWS = 40
"""Patients in a plot: of more, so many, the lowest and the highest among them."""
_LEFT, _RIGHT, _BELOW = 40, 14, 34
_NAMES = 104
"""Room for the names of patients, at most."""
_LEAST = 1e-290
"""A scale that spans less has no room for ticks between its ends, as numbers go."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score from 0 to 1, and its 95% interval, or in words why there is none (``n/a (5 patients)``)."""

    name: str
    value: float
    low: float
    high: float
    interval: str


def curves(epochs: Sequence[int], lines: Mapping[str, Sequence[float]], *, title: str, best: int = 0) -> Plot:
    """Quantities by epoch: the first solid, the second dashed; the epoch ``best`` is marked (0: none).

    A value that is no number leaves a gap.
    """
    every = scales.finite([value for values in lines.values() for value in values])
    low, high = _span(every)
    height = 216
    drawing = Drawing(WIDTH, height, title=title, desc=f"{title} by epoch. {'. '.join(_told(epochs, lines))}.")
    first, last = (min(epochs), max(epochs)) if epochs else (0, 1)
    up = Scale(low, high, height - _BELOW, 30)
    margin = max([float(_LEFT), *(text_width(show(tick)) + 7 for tick in up.ticks())])
    across = Scale(first, last if last > first else first + 1, margin, WIDTH - _RIGHT)
    for tick in up.ticks():
        drawing.line((across.start, up(tick)), (across.end, up(tick)), "axis" if tick == 0 else "grid")
        drawing.write((margin - 5, up(tick) + 4), show(tick), anchor="end")
    if best:
        drawing.line((across(best), 24), (across(best), height - _BELOW), "axis", stroke_dasharray="2 3")
        side = "end" if across(best) > WIDTH / 2 else "start"
        drawing.write(
            (across(best) + (-4 if side == "end" else 4), height - _BELOW - 5), f"best: epoch {best}", anchor=side
        )
    left = 10.0
    for index, (name, values) in enumerate(lines.items()):
        look = series(index, "line dash" if index % 2 else "line")
        drawing.line((left, 12), (left + 22, 12), look)
        label = shortened(name, (WIDTH - 10) / len(lines) - 44)
        drawing.write((left + 28, 16), label, look="label")
        left += 44 + text_width(label)
        for part in _unbroken(epochs, values):
            places = [(across(epoch), up(value)) for epoch, value in part]
            drawing.path(places, look)
            for (epoch, value), place in zip(part, places, strict=True):
                if epoch == best or len(part) == 1:
                    drawing.dot(place, 3, series(index, "bar"), tip=f"{name}, epoch {epoch}: {show(value)}")
    axis_below(drawing, across, height - _BELOW, "epoch", whole=True)
    rows: list[tuple[Cell, ...]] = [
        (str(epoch), *(values[at] for values in lines.values())) for at, epoch in enumerate(epochs)
    ]
    return Plot(drawing.svg(), ("epoch", *lines), tuple(rows))


def intervals(estimates: Sequence[Estimate], *, title: str) -> Plot:
    """A row a score from 0 to 1: its value as a dot, its 95% interval as a line."""
    step, height = 40, len(estimates) * 40 + _BELOW + 4
    told = "; ".join(f"{one.name} {fixed(one.value)}, 95% interval {one.interval or 'none'}" for one in estimates)
    drawing = Drawing(WIDTH, height, title=title, desc=f"{title}. {told or 'There is none'}.")
    across = Scale(0, 1, 10, WIDTH - 10)
    for tick in across.ticks():
        drawing.line((across(tick), 4), (across(tick), height - _BELOW), "grid")
    for row, one in enumerate(estimates):
        y = row * step + 30.0
        known = math.isfinite(one.low) and math.isfinite(one.high)
        value = fixed(one.value) + (f" ({one.interval})" if known else "")
        drawing.write((WIDTH - 10, y - 12), value, anchor="end", look="label")
        drawing.write((10, y - 12), shortened(one.name, WIDTH - 34 - text_width(value)), look="label")
        drawing.line((across(0), y), (across(1), y), "axis", stroke_opacity=0.35)
        if known:
            drawing.line((across(one.low), y), (across(one.high), y), series(0, "line"), tip=one.interval)
            for end in (one.low, one.high):
                drawing.line((across(end), y - 4), (across(end), y + 4), series(0, "line"))
        if math.isfinite(one.value):
            drawing.dot((across(one.value), y), 4.5, series(0, "bar"), tip=f"{one.name}: {fixed(one.value)}")
    axis_below(drawing, across, height - _BELOW, "score")
    columns = ("score", "value", "95% interval")
    return Plot(
        drawing.svg(), columns, tuple((one.name, fixed(one.value), one.interval or scales.NONE) for one in estimates)
    )


def dots(patients: Mapping[str, Sequence[float]], *, title: str, score: str) -> Plot:
    """A row a patient, the lowest first: each image's score as a faint dot, their mean as a bar. ``score`` names it."""
    means = {name: _mean(values) for name, values in patients.items()}
    names = sorted(means, key=lambda name: (math.isnan(means[name]), means[name], name))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, len(patients[name]), *map(fixed, (means[name], *_ends(patients[name])))) for name in names
    )
    shown = _some(names)
    height = len(shown) * 17 + _BELOW + 8
    drawing = Drawing(WIDTH, height, title=title, desc=f"{title}. {_told_patients(means)}")
    room = min(_NAMES, max(map(text_width, shown), default=_NAMES))
    across = Scale(0, 1, room + 8, WIDTH - _RIGHT)
    for tick in across.ticks():
        drawing.line((across(tick), 4), (across(tick), height - _BELOW), "grid")
    for row, name in enumerate(shown):
        y = row * 17 + 14.0
        drawing.write((room, y + 4), shortened(name, room), anchor="end")
        for value in scales.finite(patients[name]).tolist():
            drawing.dot((across(value), y), 3, series(0, "bar"), fill_opacity=0.35)
        if math.isfinite(means[name]):
            x, tip = across(means[name]), f"{name}: {fixed(means[name])}"
            drawing.line((x, y - 6), (x, y + 6), series(1, "line"), tip=tip)
    axis_below(drawing, across, height - _BELOW, score)
    return Plot(drawing.svg(), ("patient", "images", f"mean {score}", "lowest", "highest"), rows)


@dataclass(frozen=True, slots=True)
class Bin:
    """Of the pixels with a probability from ``low`` to ``high``: how many, their mean, and the share in the target."""

    low: float
    high: float
    count: int
    confidence: float
    frequency: float


def reliability(bins: Sequence[Bin], *, title: str) -> Plot:
    """The share of pixels that are foreground over their probability; on the diagonal it is what it says.

    The more pixels, the larger a dot, by the logarithm.
    """
    side, known = 238.0, [one for one in bins if one.count and math.isfinite(one.confidence + one.frequency)]
    told = "; ".join(
        f"of {one.count:,} pixels called {percent(one.confidence)}, {percent(one.frequency)}" for one in known
    )
    words = f"{title}. Share that is foreground: {told or 'there is no pixel'}."
    drawing = Drawing(WIDTH, side + _BELOW + 20, title=title, desc=words)
    across, up = Scale(0, 1, _LEFT + 8, _LEFT + 8 + side), Scale(0, 1, side + 20, 20)
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        look = "axis" if tick == 0 else "grid"
        drawing.line((across.start, up(tick)), (across.end, up(tick)), look)
        drawing.line((across(tick), up.start), (across(tick), up.end), look)
        drawing.write((across.start - 8, up(tick) + 4), show(tick), anchor="end")
    drawing.write((4, 10), "share that is foreground")
    drawing.line((across(0), up(0)), (across(1), up(1)), "axis", stroke_dasharray="5 4")
    places = [(across(one.confidence), up(one.frequency)) for one in known]
    drawing.path(places, series(0, "line"))
    for one, place in zip(known, places, strict=True):
        tip = f"{one.count:,} pixels, mean probability {show(one.confidence)}: {percent(one.frequency)} are foreground"
        drawing.dot(place, 2 + 0.7 * math.log10(one.count), series(0, "bar"), tip=tip)
    axis_below(drawing, across, up.start, "predicted probability")
    rows = [(f"{show(one.low)} to {show(one.high)}", one.count, one.confidence, one.frequency) for one in bins]
    return Plot(drawing.svg(), ("probability", "pixels", "mean probability", "share that is foreground"), tuple(rows))


def _span(values: Values) -> tuple[float, float]:
    """A scale's ends: from 0 where values are not under it, and to 1 where they are shares."""
    if not len(values):
        return 0.0, 1.0
    low, high = min(0.0, float(values.min())), float(values.max())
    high = 1.0 if 0.5 < high <= 1 and low == 0 else high
    if high - low < _LEAST:
        return low, low + 1
    step = np.diff(scales.ticks(low, high, 5)[:2]).item()  # to the next tick, so that no line leaves the plot
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _told(epochs: Sequence[int], lines: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for name, values in lines.items():
        there = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
        if not there:
            yield f"{name}: no value"
            continue
        (start, begin), (stop, end) = there[0], there[-1]
        low, high = min(value for _, value in there), max(value for _, value in there)
        yield (
            f"{name}: {show(begin)} after epoch {start}, {show(end)} after epoch {stop}, "
            f"lowest {show(low)}, highest {show(high)}"
        )


def _unbroken(epochs: Sequence[int], values: Sequence[float]) -> Iterator[list[Point]]:
    pairs = zip(epochs, map(float, values), strict=True)
    for there, part in groupby(pairs, key=lambda pair: math.isfinite(pair[1])):
        if there:
            yield list(part)


def _told_patients(means: Mapping[str, float]) -> str:
    there = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if not there:
        return "No patient has a score."
    low, high = min(there, key=there.__getitem__), max(there, key=there.__getitem__)
    many = (
        f"{len(there)} patient{'' if len(there) == 1 else 's'}, median {fixed(float(np.median(list(there.values()))))}"
    )
    return f"{many}, lowest {low} with {fixed(there[low])}, highest {high} with {fixed(there[high])}."


def _some(names: Sequence[str]) -> list[str]:
    if len(names) <= MOST_ROWS:
        return list(names)
    return [names[0], *(names[1 + at] for at in evenly(len(names) - 2, MOST_ROWS - 2)), names[-1]]


def _mean(values: Sequence[float]) -> float:
    there = scales.finite(values)
    return float(there.mean()) if len(there) else float("nan")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    there = scales.finite(values)
    return (float(there.min()), float(there.max())) if len(there) else (float("nan"), float("nan"))
