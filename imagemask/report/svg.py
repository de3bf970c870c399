"""An inline SVG, element by element: escaped, and scalable.

A drawing has neither colour nor font of its own, but classes of the page's style sheet (report.css), so that it
follows the page into the dark: ``grid``, ``axis``, ``label`` (text that matters), and ``series-0`` to ``series-6`` with
``line`` (stroked), ``bar`` (filled) or ``band`` (pale).
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

SERIES = 7
"""Colours of series that the page has."""
_SIZE, _WIDE = 11, 0.6
"""Of text, in units of the drawing; and how wide a letter of that is, rather more than less: fonts differ."""

Point = tuple[float, float]


class Drawing:
    """An SVG that is being drawn, ``width`` x ``height`` units, (0, 0) at the top left.

    ``title`` names it; ``desc`` says in words what there is to see, for whoever hears the page.
    """

    def __init__(self, width: float, height: float, *, title: str, desc: str) -> None:
        self.width, self.height, self.title, self.desc = width, height, title, desc
        self._parts: list[Markup] = []

    def svg(self) -> Markup:
        """The whole, to be put into a page."""
        head = Markup('<svg class="plot" role="img" viewBox="0 0 {} {}">').format(
            coordinate(self.width), coordinate(self.height)
        )
        words = Markup("<title>{}</title><desc>{}</desc>").format(self.title, self.desc)
        return Markup("").join([head, words, *self._parts, Markup("</svg>")])

    def element(self, tag: str, look: str, /, **attributes: str | float | None) -> None:
        """Any element, of the classes ``look``, with attributes in whose names ``_`` stands for ``-``.

        ``tip`` is no attribute, but shows while a pointer rests on the element; ``text`` is what stands in it.
        """
        tip, text = attributes.pop("tip", ""), attributes.pop("text", "")
        named = [("class", look), *((name.replace("_", "-"), value) for name, value in attributes.items())]
        written = Markup("").join(
            Markup(' {}="{}"').format(name, _cell(value)) for name, value in named if value not in ("", None)
        )
        inside = Markup("<title>{}</title>").format(tip) if tip else Markup()
        self._parts.append(Markup("<{}{}>{}{}</{}>").format(tag, written, inside, text, tag))

    def line(self, start: Point, end: Point, look: str, **attributes: str | float | None) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = start, end
        self.element("line", look, x1=x1, y1=y1, x2=x2, y2=y2, **attributes)

    def box(self, start: Point, end: Point, look: str, **attributes: str | float | None) -> None:
        """A rectangle from its top left to its bottom right."""
        (x0, y0), (x1, y1) = start, end
        self.element("rect", look, x=x0, y=y0, width=max(0.0, x1 - x0), height=max(0.0, y1 - y0), **attributes)

    def dot(self, place: Point, radius: float, look: str, **attributes: str | float | None) -> None:
        """A circle."""
        self.element("circle", look, cx=place[0], cy=place[1], r=radius, **attributes)

    def path(self, points: Sequence[Point], look: str, **attributes: str | float | None) -> None:
        """A line through points; nothing, where there is none."""
        if points:
            steps = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
            self.element("path", look, d=f"M{steps}", **attributes)

    def write(self, place: Point, text: str, *, anchor: str = "start", look: str = "") -> None:
        """Text, of which ``place`` is the left end of its baseline, or its ``middle`` or ``end``."""
        self.element("text", look, x=place[0], y=place[1], text_anchor=anchor, text=text)


def series(index: int, kind: str) -> str:
    """The classes of a mark of a series: a ``line``, a ``bar`` or a ``band``."""
    return f"series-{index % SERIES} {kind}"


def text_width(text: str) -> float:
    """About how wide a text is, rather more than less."""
    return len(text) * _SIZE * _WIDE


def shortened(text: str, width: float) -> str:
    """``text``, without as much of its middle as it takes to be at most ``width`` units wide."""
    most = max(3, int(width / (_SIZE * _WIDE)))
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def coordinate(value: float) -> str:
    """A coordinate, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def _cell(value: object) -> str:
    return coordinate(value) if isinstance(value, int | float) else str(value)
