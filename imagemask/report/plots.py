"""Plots of distributions and of scores, each a drawing and the table that it was drawn from.

A plot is ``WIDTH`` units wide, so that its text is as large as the page's where it has a column of its own, on a phone
or on a desk. Colour never says anything alone: groups have panels or rows of their own, lines are solid or dashed.
What is not a finite number is left out of a drawing, and is n/a in its table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from imagemask.preview import evenly
from imagemask.report import scales
from imagemask.report.scales import Scale, Values, percent, show
from imagemask.report.svg import Drawing, series, shortened, text_width

WIDTH = 360
_LEFT, _RIGHT, _BELOW = 40, 14, 34
_PANEL, _ROW = 66, 54
_POINTS = 160
"""Of a group, in a strip: of more, so many by rank, the smallest and the largest among them."""
_LEVELS = 8
"""Shades of a heat map."""
_NUMERIC = re.compile(rf"(n/a|{scales.MINUS}?[\d.,]+%?( (mm|mm²|px))?)")
_NUMBER = Markup(' class="number"')

Cell = str | Markup | float | int | None


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, and its table: names of columns, and rows of text (left) and numbers (right)."""

    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def figure(self, title: str, caption: str | Markup = "") -> Markup:
        """The plot under a heading, with words about it, and its table to be opened."""
        words = Markup("<figcaption>{}</figcaption>").format(caption) if caption else Markup()
        data = Markup('<details><summary>The numbers<span class="hidden"> of: {}</span></summary>{}</details>')
        data = data.format(title, table(self.columns, self.rows, label=title))
        return Markup("<figure><h3>{}</h3>{}{}{}</figure>").format(title, self.svg, words, data)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, label: str) -> Markup:
    """A table that scrolls where it is too wide. The first cell of a row names it; numbers stand to the right."""
    right = [all(_is_number(row[at]) for row in rows) and bool(rows) for at in range(len(columns))]
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(_NUMBER if number else "", name)
        for name, number in zip(columns, right, strict=True)
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, row, range(len(row)), right))) for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(f"Table: {label}", head, body)


def histograms(groups: Mapping[str, Values], *, title: str, unit: str = "", whole: bool = False) -> Plot:
    """A panel a group: the share of its values in each bin, and as a line that of all groups together.

    Groups of unlike size can be compared, because bars are shares. The scale is logarithmic where values are positive
    and far apart, and not ``whole`` numbers.
    """
    known = {name: scales.finite(values) for name, values in groups.items()}
    every = np.concatenate([*known.values(), np.empty(0)])
    log = not whole and scales.is_wide(every)
    edges = scales.bin_edges(every, log=log, whole=whole)
    return binned({name: np.histogram(one, edges)[0] for name, one in known.items()}, edges, title=title, unit=unit,
                  words=[f"{name}: {summary(one, unit)}" for name, one in known.items()], log=log)  # fmt: skip


def binned(
    counts: Mapping[str, Values], edges: Values, *, title: str, unit: str, words: Sequence[str], log: bool = False
) -> Plot:
    """``histograms`` of what has been counted already; ``words`` are the sentences that describe it."""
    shares = {name: one / max(1, one.sum()) for name, one in counts.items()}
    total = sum(counts.values(), np.zeros(len(edges) - 1))
    together = total / max(1, total.sum())
    top = max([0.0, *(float(one.max(initial=0)) for one in shares.values())]) or 1.0
    height = len(counts) * (_PANEL + 22) + _BELOW + 6
    drawing = Drawing(WIDTH, height, title=title, desc=f"{title}, as shares. {'. '.join(words)}.")
    across = Scale(float(edges[0]), float(edges[-1]), _LEFT, WIDTH - _RIGHT, log)
    for index, (name, share) in enumerate(shares.items()):
        base = (index + 1) * (_PANEL + 22)
        up = Scale(0, top * 1.04, base, base - _PANEL)
        _shares_axis(drawing, up, across)
        drawing.write((_LEFT, base - _PANEL - 6), shortened(name, WIDTH - _LEFT), look="label")
        for at in np.flatnonzero(share).tolist():
            span = f"{show(edges[at])} to {show(edges[at + 1], unit)}"
            start, end = (across(edges[at]) + 0.4, up(share[at])), (across(edges[at + 1]) - 0.4, base)
            drawing.box(start, end, series(index, "bar"), tip=f"{name}, {span}: {percent(share[at])}")
        if len(counts) > 1:
            drawing.path(list(_outline(edges, together, across, up)), "axis")
    axis_below(drawing, across, height - _BELOW, unit or title)
    rows = [
        (f"{show(edges[at])} to {show(edges[at + 1])}", *(percent(float(one[at])) for one in shares.values()))
        for at in np.flatnonzero(total).tolist()
    ]
    return Plot(drawing.svg(), (unit or title, *shares), tuple(rows))


def strips(groups: Mapping[str, Values], *, title: str, unit: str = "", whole: bool = False) -> Plot:
    """A row a group: its values as dots, a box from quartile to quartile, its median, and whiskers to 5% and 95%."""
    known = {name: scales.finite(values) for name, values in groups.items()}
    every = np.concatenate([*known.values(), np.empty(0)])
    log = not whole and scales.is_wide(every)
    edges = scales.bin_edges(every, log=log, whole=whole)
    height = len(known) * _ROW + _BELOW + 4
    words = [f"{name}: {summary(one, unit)}" for name, one in known.items()]
    drawing = Drawing(WIDTH, height, title=title, desc=f"{title}. {'. '.join(words)}.")
    across = Scale(float(edges[0]), float(edges[-1]), _LEFT - 26, WIDTH - _RIGHT, log)
    for tick in across.ticks():
        drawing.line((across(tick), 4), (across(tick), height - _BELOW), "grid")
    for index, (name, values) in enumerate(known.items()):
        _strip(drawing, index, name, values, across)
    axis_below(drawing, across, height - _BELOW, unit or title)
    columns = (title, "values", "least", "5%", "25%", "median", "75%", "95%", "most")
    return Plot(
        drawing.svg(), columns, tuple((name, len(one), *map(show, _quantiles(one))) for name, one in known.items())
    )


def heat_map(grid: Values, *, title: str, aspect: float = 1.0) -> Plot:
    """How often something lies in each cell of a picture: ``grid``, HxW from 0 to 1, as shades in steps.

    ``aspect`` is the picture's width over its height. The table sums up a sixteenth of the picture a cell.
    """
    grid = np.nan_to_num(np.asarray(grid, np.float64))
    height, width = (232.0, 232 * aspect) if aspect <= 1 else (232 / aspect, 232.0)
    left, top, most = 4.0, 4.0, float(grid.max(initial=0))
    parts, desc = _sixteenths(grid), f"{title}. {_where(grid)}"
    drawing = Drawing(WIDTH, height + 2 * top, title=title, desc=desc)
    level = np.ceil(grid / most * _LEVELS).astype(int) if most > 0 else np.zeros(grid.shape, int)
    step_y, step_x = height / grid.shape[0], width / grid.shape[1]
    for shade in range(1, _LEVELS + 1):
        cells = "".join(_runs(level == shade, left, top, step_y, step_x))
        if cells:
            drawing.element("path", series(0, "bar"), d=cells, fill_opacity=shade / _LEVELS)
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y, faint = left + share * width, top + share * height, 1 if share in (0, 1) else 0.3
        drawing.line((x, top), (x, top + height), "axis", stroke_opacity=faint)
        drawing.line((left, y), (left + width, y), "axis", stroke_opacity=faint)
    _shades(drawing, left + width + 18, top, height, most)
    names = ("top", "upper middle", "lower middle", "bottom")
    rows = [(name, *map(percent, row)) for name, row in zip(names, parts.tolist(), strict=True)]
    return Plot(drawing.svg(), ("share of it", "left", "middle left", "middle right", "right"), tuple(rows))


def summary(values: Values, unit: str = "") -> str:
    """Values in words: ``101 values, median 4.2 mm2, half of them from 3 to 5, all from 1 to 9``."""
    if not len(values):
        return "no value"
    low, _, first, median, third, _, high = _quantiles(values)
    if len(values) == 1:
        return f"1 value, {show(median, unit)}"
    halves = f"half of them from {show(first)} to {show(third)}, all from {show(low)} to {show(high)}"
    return f"{len(values)} values, median {show(median, unit)}, {halves}"


def _strip(drawing: Drawing, index: int, name: str, values: Values, across: Scale) -> None:
    top = index * _ROW + 4
    count = f"n = {len(values):,}"
    drawing.write((_LEFT - 26, top + 12), shortened(name, WIDTH - _LEFT - text_width(count)), look="label")
    drawing.write((WIDTH - _RIGHT, top + 12), count, anchor="end")
    if not len(values):
        return
    ordered = np.sort(values)
    some = ordered[evenly(len(ordered), _POINTS)] if len(ordered) > _POINTS else ordered
    some = np.unique(np.concatenate([some, ordered[[0, -1]]])) if len(ordered) > _POINTS else some
    for at, value in enumerate(some.tolist()):
        # The golden ratio scatters neighbours: no two dots of like value lie in one line.
        drawing.dot((across(value), top + 40 + 5 * ((at * 0.618) % 1 - 0.5)), 2, series(index, "bar"), fill_opacity=0.4)
    _, low, first, median, third, high, _ = (across(one) for one in _quantiles(values))
    y, tip = top + 25.0, f"{name}: {summary(values)}"
    drawing.line((low, y), (first, y), series(index, "line"))
    drawing.line((third, y), (high, y), series(index, "line"))
    drawing.box((first, y - 7), (third, y + 7), series(index, "band"), tip=tip)
    drawing.line((median, y - 7), (median, y + 7), series(index, "line"))


def _quantiles(values: Values) -> list[float]:
    if not len(values):
        return [float("nan")] * 7
    least, first, median, third, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    # Ends of whiskers are values that there are.
    ordered, last = np.sort(values), len(values) - 1
    low, high = float(ordered[math.floor(0.05 * last)]), float(ordered[math.ceil(0.95 * last)])
    return [least, low, first, median, third, high, most]


def _outline(edges: Values, heights: Values, across: Scale, up: Scale) -> Iterator[tuple[float, float]]:
    yield across(float(edges[0])), up(0)
    for at, value in enumerate(heights.tolist()):
        yield across(float(edges[at])), up(value)
        yield across(float(edges[at + 1])), up(value)
    yield across(float(edges[-1])), up(0)


def _shares_axis(drawing: Drawing, up: Scale, across: Scale) -> None:
    for tick in scales.ticks(0, up.high, 3):
        y = up(tick)
        drawing.line((across.start, y), (across.end, y), "axis" if tick == 0 else "grid")
        if tick:
            drawing.write((across.start - 5, y + 4), percent(tick), anchor="end")


def axis_below(drawing: Drawing, across: Scale, y: float, label: str, *, whole: bool = False) -> None:
    """Ticks that do not overlap, of ``whole`` numbers alone if told so, and below them what they count."""
    shown = [tick for tick in across.ticks() if not whole or tick == round(tick)]
    places = _places(shown, across, drawing.width)
    while not all(left[1] + 4 <= right[0] for left, right in pairwise(places)):
        shown = shown[::2]
        places = _places(shown, across, drawing.width)
    for tick, (start, end) in zip(shown, places, strict=True):
        drawing.line((across(tick), y), (across(tick), y + 4), "axis")
        drawing.write(((start + end) / 2, y + 15), show(tick), anchor="middle")
    drawing.write(
        ((across.start + across.end) / 2, y + 29), shortened(label, across.end - across.start), anchor="middle"
    )


def _places(shown: Sequence[float], across: Scale, width: float) -> list[tuple[float, float]]:
    """From where to where the text of each tick reaches, moved inwards where it would leave a drawing of ``width``."""
    halves = [text_width(show(tick)) / 2 for tick in shown]
    middles = [min(max(across(tick), half), width - half) for tick, half in zip(shown, halves, strict=True)]
    return [(middle - half, middle + half) for middle, half in zip(middles, halves, strict=True)]


def _runs(
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], left: float, top: float, down: float, across: float
) -> Iterator[str]:
    """A rectangle for each run of cells in a row."""
    for row, cells in enumerate(inside):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], cells.view(np.int8), [0]])))
        for start, end in ends.reshape(-1, 2).tolist():
            x, y = left + start * across, top + row * down
            yield f"M{x:.1f} {y:.1f}h{(end - start) * across:.1f}v{down:.1f}H{x:.1f}z"


def _shades(drawing: Drawing, left: float, top: float, height: float, most: float) -> None:
    step = min(18.0, (height - 20) / _LEVELS)
    for shade in range(1, _LEVELS + 1):
        y = top + (_LEVELS - shade) * step
        drawing.box((left, y), (left + 16, y + step), series(0, "bar"), fill_opacity=shade / _LEVELS)
    drawing.write((left + 22, top + 10), percent(most))
    drawing.write((left + 22, top + _LEVELS * step), "0%")


def _sixteenths(grid: Values) -> Values:
    """The share of everything that lies in each of 4 x 4 parts."""
    rows, columns = (np.linspace(0, length, 5).round().astype(int)[:-1] for length in grid.shape)
    parts: Values = np.add.reduceat(np.add.reduceat(grid, rows, axis=0), columns, axis=1)
    return parts / parts.sum() if parts.sum() > 0 else np.full((4, 4), np.nan)


def _where(grid: Values) -> str:
    if not grid.any():
        return "There is none anywhere"
    rows, columns = (np.arange(length) + 0.5 for length in grid.shape)
    down = float(grid.sum(axis=1) @ rows / grid.sum() / len(rows))
    across = float(grid.sum(axis=0) @ columns / grid.sum() / len(columns))
    return (
        f"Its centre lies {percent(down)} of the height from the top and {percent(across)} of the width from the left; "
        f"{percent(float((grid > 0).mean()))} of the cells ever hold any"
    )


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or (not isinstance(cell, Markup) and bool(_NUMERIC.fullmatch(cell)))


def _cell(cell: Cell, position: int, right: bool) -> Markup:
    text = show(cell) if cell is None or isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell
    if position == 0:
        return Markup('<th scope="row"{}>{}</th>').format(_NUMBER if right else "", text)
    return Markup("<td{}>{}</td>").format(_NUMBER if right else "", text)
