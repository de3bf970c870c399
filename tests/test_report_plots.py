"""Plots: nothing leaves the drawing or lies over other text, every text is escaped, and no input makes them fail."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from imagemask.report import scales
from imagemask.report.plots import Plot, binned, heat_map, histograms, strips, summary, table
from imagemask.report.scales import NONE, Scale, bin_edges, fixed, percent, show, ticks
from imagemask.report.score_plots import MOST_ROWS, Bin, Estimate, curves, dots, intervals, reliability
from imagemask.report.svg import Drawing, shortened, text_width

NASTY = '</svg><script>alert("1")</script>&amp;\'x'
SVG = "{http://www.w3.org/2000/svg}"
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e6, 1e6) | st.integers(-50, 50).map(float)
few = settings(max_examples=30)  # each draws whole pictures
shares = st.floats(0, 1) | st.just(math.nan)
names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=40)
groups = st.dictionaries(names, st.lists(numbers, max_size=30).map(np.array), max_size=5)


def parsed(svg):
    assert isinstance(svg, Markup)
    return ET.fromstring(
        str(svg).replace('<svg class="plot"', '<svg xmlns="http://www.w3.org/2000/svg" class="plot"', 1)
    )


def texts(drawing):
    return [one for one in drawing.iter(f"{SVG}text") if one.text]


def extent(text):
    """Left and right end of a text, as wide as ``text_width`` says."""
    x, width = float(text.get("x")), text_width(text.text)
    return x - {"middle": width / 2, "end": width}.get(text.get("text-anchor"), 0), width


def points(drawing):
    """Every place that a mark of a drawing reaches."""
    for one in drawing.iter():
        number = {name: float(value) for name, value in one.attrib.items() if re.fullmatch(r"-?[\d.]+", value)}
        match one.tag.removeprefix(SVG):
            case "line":
                yield from ((number["x1"], number["y1"]), (number["x2"], number["y2"]))
            case "rect":
                yield number["x"], number["y"]
                yield number["x"] + number["width"], number["y"] + number["height"]
            case "circle":
                yield number["cx"] - number["r"], number["cy"] - number["r"]
                yield number["cx"] + number["r"], number["cy"] + number["r"]
            case "text":
                yield number["x"], number["y"]
            case "path" if "h" not in one.get("d"):
                yield from (tuple(map(float, pair.split(","))) for pair in one.get("d")[1:].split(" "))


def check(plot):
    """What must hold of every plot; the drawing, to look further."""
    drawing = parsed(plot.svg)
    assert drawing.get("role") == "img"
    assert drawing[0].tag == f"{SVG}title"
    assert drawing[1].tag == f"{SVG}desc"
    assert drawing[1].text
    left, top, width, height = map(float, drawing.get("viewBox").split())
    for x, y in points(drawing):
        assert math.isfinite(x + y)
        assert left - 0.01 <= x <= left + width + 0.01, x
        assert top - 0.01 <= y <= top + height + 0.01, y
    lines = {}
    for text in texts(drawing):
        start, wide = extent(text)
        assert start >= -0.01, text.text
        assert start + wide <= width + 0.01, text.text
        lines.setdefault(text.get("y"), []).append((start, start + wide, text.text))
    for written in lines.values():
        for one, other in zip(sorted(written), sorted(written)[1:], strict=False):
            assert one[1] <= other[0] + 0.01, (one, other)
    for one in drawing.iter():  # the page's style sheet alone has colours and fonts
        assert not {"style", "fill", "stroke", "font-family", "font-size"} & set(one.attrib)
    assert all(len(row) == len(plot.columns) for row in plot.rows)
    ET.fromstring(f"<p>{plot.figure('a title', 'words')}</p>")
    return drawing


@few
@given(groups, st.booleans())
def test_distributions_of_anything_stay_inside_and_apart(given_groups, whole):
    for plot in (
        histograms(given_groups, title="t", unit="mm", whole=whole),
        strips(given_groups, title="t", unit="mm"),
    ):
        check(plot)


@few
@given(st.lists(st.tuples(names, shares, shares, shares), max_size=6))
def test_intervals_of_anything_stay_inside_and_apart(rows):
    check(intervals([Estimate(name, *values, "0.1 to 0.9") for name, *values in rows], title="t"))


@few
@given(st.dictionaries(names, st.lists(shares, max_size=5), max_size=60))
def test_patients_of_anything_stay_inside_and_apart(patients):
    plot = dots(patients, title="t", score="Dice")
    drawing = check(plot)
    bars = [one for one in drawing.iter(f"{SVG}line") if one.get("class") == "series-1 line"]
    some = [name for name, values in patients.items() if not np.isnan([*values, math.nan]).all()]
    assert len(bars) == len(some) or len(patients) > MOST_ROWS
    assert len(plot.rows) == len(patients)  # the table has all, whatever the plot has


@few
@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.integers(0, 45))
@example([(0.0, 2.3e-308)], 0)
@example([(0.0, 1e-289)], 0)
def test_curves_of_anything_stay_inside_and_apart(rows, best):
    lines = {"validation": [one[0] for one in rows], "training": [one[1] for one in rows]}
    check(curves(list(range(1, len(rows) + 1)), lines, title="t", best=min(best, len(rows))))


@few
@given(st.lists(st.tuples(st.integers(0, 10**9), shares, shares), max_size=15))
def test_reliability_of_anything_stays_inside_and_apart(rows):
    bins = [Bin(at / 15, (at + 1) / 15, *one) for at, one in enumerate(rows)]
    check(reliability(bins, title="t"))


@few
@given(st.integers(4, 32), st.integers(4, 32), st.floats(0.25, 4), st.integers(0, 99))
def test_heat_maps_stay_inside_and_sum_up(rows, columns, aspect, seed):
    grid = np.random.default_rng(seed).random((rows, columns)) ** 4
    plot = heat_map(grid, title="t", aspect=aspect)
    check(plot)
    cells = sum(float(cell.rstrip("%")) for row in plot.rows for cell in row[1:])
    assert cells == pytest.approx(100, abs=8)  # each is rounded


@pytest.mark.parametrize(
    "plot",
    [
        histograms({}, title="t"),
        histograms({"train": np.array([])}, title="t"),
        histograms({"train": np.array([3.0])}, title="t"),
        strips({"train": np.array([np.nan])}, title="t"),
        strips({"train": np.array([0.0, 0.0])}, title="t", whole=True),
        heat_map(np.zeros((32, 32)), title="t"),
        heat_map(np.full((32, 32), np.nan), title="t"),
        curves([], {}, title="t"),
        curves([1], {"validation": [math.nan]}, title="t", best=1),
        curves([7], {"validation": [0.5]}, title="t", best=7),
        intervals([], title="t"),
        dots({}, title="t", score="Dice"),
        dots({"p": []}, title="t", score="Dice"),
        reliability([], title="t"),
    ],
)
def test_nothing_or_a_single_value_is_drawn_too(plot):
    check(plot)


@pytest.mark.parametrize(
    "plot",
    [
        histograms({NASTY: np.array([1.0, 2.0])}, title=NASTY, unit=NASTY),
        strips({NASTY: np.array([1.0, 2.0])}, title=NASTY, unit=NASTY),
        heat_map(np.ones((8, 8)), title=NASTY),
        curves([1, 2], {NASTY: [1.0, 2.0]}, title=NASTY, best=1),
        intervals([Estimate(NASTY, 0.5, 0.4, 0.6, NASTY)], title=NASTY),
        dots({NASTY: [0.5]}, title=NASTY, score=NASTY),
        reliability([Bin(0, 1, 5, 0.5, 0.5)], title=NASTY),
    ],
)
def test_every_text_is_escaped(plot):
    drawing = parsed(plot.svg)
    assert drawing[0].text == NASTY  # whole again once it is read
    figure = plot.figure(NASTY, NASTY)
    assert "<script" not in figure
    assert ET.fromstring(f"<p>{figure}</p>").findtext("figure/h3") == NASTY


def test_bars_are_shares_of_their_own_group():
    plot = histograms({"few": np.array([1.0, 2.0]), "many": np.repeat([1.0, 2.0], 500)}, title="t", whole=True)
    assert plot.columns == ("t", "few", "many")
    assert [row[1:] for row in plot.rows] == [("50%", "50%")] * 2
    heights = [float(one.get("height")) for one in parsed(plot.svg).iter(f"{SVG}rect")]
    assert len(set(heights)) == 1


def test_wide_ratios_get_a_logarithmic_scale():
    plot = histograms({"a": np.array([1, 10, 100, 1000.0])}, title="t", unit="mm²")
    shown = {text.text for text in texts(parsed(plot.svg))}
    assert {"1", "10", "100", "1,000"} <= shown
    assert sum(row[1] == "25%" for row in plot.rows) == 4


def test_a_heat_map_shows_where_it_is_warm():
    grid = np.zeros((32, 32))
    grid[4:8, 24:28] = 0.5  # right, above
    plot = heat_map(grid, title="t")
    drawing = check(plot)
    assert "19% of the height from the top and 81% of the width from the left" in drawing[1].text
    assert plot.rows[0] == ("top", "0%", "0%", "0%", "100%")
    (path,) = drawing.iter(f"{SVG}path")
    corners = [tuple(map(float, one.split())) for one in re.findall(r"M([\d.]+ [\d.]+)", path.get("d"))]
    assert len(corners) == 4  # a run a row
    assert all(x == pytest.approx(4 + 24 / 32 * 232, abs=0.1) for x, _ in corners)
    assert "50%" in {text.text for text in texts(drawing)}


def test_curves_mark_the_best_epoch_and_leave_gaps():
    values = [0.9, 0.5, math.nan, 0.4, 0.3]
    drawing = check(curves([1, 2, 3, 4, 5], {"validation": values}, title="loss", best=4))
    assert "best: epoch 4" in {text.text for text in texts(drawing)}
    assert len(list(drawing.iter(f"{SVG}path"))) == 2
    assert "0.9 after epoch 1, 0.3 after epoch 5" in drawing[1].text
    plot = curves([1], {"validation": [math.nan]}, title="loss")
    assert plot.figure("loss").count(NONE) == 1


def test_an_interval_is_drawn_only_where_there_is_one():
    known, none = (
        Estimate("Dice", 0.8, 0.7, 0.9, "0.7 to 0.9"),
        Estimate("IoU", 0.6, math.nan, math.nan, "n/a (5 patients)"),
    )
    drawing = check(intervals([known, none], title="t"))
    lines = [one for one in drawing.iter(f"{SVG}line") if one.get("class") == "series-0 line"]
    assert len(lines) == 3  # a line and its ends
    written = {text.text for text in texts(drawing)}
    assert {"0.800 (0.7 to 0.9)", "0.600"} <= written
    assert "n/a (5 patients)" in drawing[1].text


def test_the_lowest_patients_stand_on_top_and_the_extremes_are_always_shown():
    patients = {f"p{at:03}": [at / 200] for at in range(200)}
    drawing = check(dots(patients, title="t", score="Dice"))
    shown = [text.text for text in texts(drawing) if text.text.startswith("p")]
    assert len(shown) == MOST_ROWS
    assert (shown[0], shown[-1]) == ("p000", "p199")
    assert shown == sorted(shown)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_and_within(low, span, most):
    high = low + span
    if high > low and span > 1e-9 * abs(low):
        found = ticks(low, high, most)
        assert len(found) <= most
        assert all(low - 1e-6 * span <= one <= high + 1e-6 * span for one in found)
        if len(found) > 1:
            step = found[1] - found[0]
            assert float(f"{step / 10 ** math.floor(math.log10(step) + 1e-6):.3g}") in (1, 2, 5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200).map(np.array), st.booleans())
def test_bins_hold_every_value(values, whole):
    values = values.round() if whole else values
    edges = bin_edges(values, whole=whole)
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert 1 <= len(edges) - 1 <= 26


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=200).map(np.array))
def test_logarithmic_bins_hold_every_value(values):
    edges = bin_edges(values, log=True)
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (math.nan, 1, False)])
def test_a_scale_without_length_is_refused(low, high, log):
    with pytest.raises(ValueError, match="scale"):
        Scale(low, high, 0, 1, log)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (1234.5, "1,234"), (math.nan, NONE), (None, NONE), (-0.5, "\N{MINUS SIGN}0.5"), (-0.0, "0")],
)
def test_numbers_are_shown_for_people(value, text):
    assert show(value) == text


def test_shares_and_scores_are_shown_for_people():
    assert [percent(share) for share in (0, 0.0004, 0.012, 0.5, 1, math.nan, None)] == [
        *("0%", "0.04%", "1.2%", "50%", "100%", NONE, NONE),
    ]
    assert [fixed(value) for value in (0.9, -0.25, math.nan)] == ["0.900", "\N{MINUS SIGN}0.250", NONE]
    assert show(4.2, "mm") == "4.2 mm"


def test_words_of_a_distribution():
    assert summary(np.array([])) == "no value"
    assert summary(np.array([2.0]), "mm") == "1 value, 2 mm"
    assert summary(np.arange(5.0), "mm") == "5 values, median 2 mm, half of them from 1 to 3, all from 0 to 4"


def test_a_table_has_headers_scrolls_and_says_what_is_not_known():
    found = ET.fromstring(str(table(("patient", "Dice"), [("p1", math.nan), (NASTY, 0.5)], label=NASTY)))
    assert (found.get("tabindex"), found.get("role"), found.get("aria-label")) == ("0", "region", f"Table: {NASTY}")
    assert [one.get("scope") for one in found.iter("th")] == ["col", "col", "row", "row"]
    assert [one.text for one in found.iter("td")] == [NONE, "0.5"]
    assert {one.get("class") for one in found.iter("td")} == {"number"}


def test_long_texts_lose_their_middle():
    assert shortened("patient_0001_left", 60).startswith("pati")
    assert shortened("patient_0001_left", 60).endswith("left")
    assert text_width(shortened("x" * 200, 60)) <= 60
    assert shortened("short", 60) == "short"


def test_a_drawing_without_marks_is_whole():
    drawing = Drawing(10, 10, title="t", desc="d")
    drawing.path([], "axis")
    assert len(parsed(drawing.svg())) == 2
    assert isinstance(Plot(drawing.svg(), (), ()).figure("t"), Markup)


def test_binned_takes_counts():
    plot = binned(
        {"a": np.array([1, 3]), "b": np.array([0, 0])}, np.array([0, 1, 2.0]), title="t", unit="u", words=["w"]
    )
    check(plot)
    assert [row[1:] for row in plot.rows] == [("25%", "0%"), ("75%", "0%")]
    assert scales.finite([1, math.inf, math.nan]).tolist() == [1]
