"""Intervals over patients: what they are the mean of, how often they hold the truth, and the table of patients."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy")

from imagemask.learn import intervals
from imagemask.learn.intervals import bootstrap
from imagemask.learn.patients import per_patient
from imagemask.learn.scores import NAMES, score

few = settings(max_examples=40, deadline=None)
values = st.lists(
    st.tuples(st.sampled_from("abcdefghijk"), st.one_of(st.just(math.nan), st.floats(0, 1))), min_size=1, max_size=40
)


def split(rows):
    return [value for _, value in rows], [patient for patient, _ in rows]


@few
@given(values)
def test_the_mean_counts_each_patient_or_each_image_once(rows):
    scores, patients = split(rows)
    frame = pd.DataFrame({"patient": patients, "score": scores}).dropna()
    wanted = {"patient": frame.groupby("patient")["score"].mean().mean(), "image": frame["score"].mean()}
    for by, value in wanted.items():
        found = bootstrap(scores, patients, by=by, draws=50)
        assert found.value == pytest.approx(value, nan_ok=True)
        assert (found.patients, found.images) == (frame["patient"].nunique(), len(frame))
        assert found.undefined == len(rows) - len(frame)
        if found.patients < intervals.LEAST_PATIENTS:
            assert found.low is None
            assert found.high is None
        else:
            assert found.low <= found.high


@few
@given(values, st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter_and_a_seed_gives_one_interval(rows, random):
    shuffled = random.sample(rows, len(rows))
    one, other = (bootstrap(*split(each), draws=50, seed=4) for each in (rows, shuffled))
    assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other), nan_ok=True, abs=0)


def test_another_seed_gives_another_interval_about_the_same():
    rng = np.random.default_rng(0)
    scores, patients = rng.random(30), [str(one) for one in range(30)]
    one, other = bootstrap(scores, patients), bootstrap(scores, patients, seed=1)
    assert one.value == other.value
    assert (one.low, one.high) != (other.low, other.high)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_few_patients_have_no_interval():
    found = bootstrap([0.5] * 9, list("aaabbbccc"))
    assert (found.value, found.text) == (0.5, "n/a (3 patients)")
    assert bootstrap([0.5], ["a"]).text == "n/a (1 patient)"
    assert bootstrap([math.nan], ["a"]).text == "n/a (0 patients)"
    assert bootstrap([0.5] * 7, list("abcdefg")).low is None
    assert bootstrap([0.5] * 8, list("abcdefgh")).text == "0.5 to 0.5"


def test_an_undefined_patient_is_left_out():
    found = bootstrap([0.5] * 7 + [math.nan], list("abcdefgh"))
    assert (found.patients, found.undefined, found.text) == (7, 1, "n/a (7 patients)")


def test_nothing_at_all_has_no_mean():
    found = bootstrap([], [])
    assert math.isnan(found.value)
    assert (found.patients, found.images, found.undefined) == (0, 0, 0)


def test_values_without_a_patient_are_refused():
    with pytest.raises(ValueError, match="go together"):
        bootstrap([0.5, 0.6], ["a"])


def test_patients_are_drawn_whole():
    """Fifty images of a patient tell no more than one of them does, where they are all alike."""
    rng = np.random.default_rng(1)
    scores = rng.random(20)
    one = bootstrap(scores, [str(n) for n in range(20)])
    many = bootstrap(np.repeat(scores, 50), np.repeat([str(n) for n in range(20)], 50).tolist())
    assert (many.value, many.low, many.high) == pytest.approx((one.value, one.low, one.high))
    by_image = bootstrap(np.repeat(scores, 50), np.repeat([str(n) for n in range(20)], 50).tolist(), by="image")
    assert (by_image.low, by_image.high) == pytest.approx((one.low, one.high))


def test_a_large_patient_weighs_by_images_only():
    scores, patients = [0.0] * 92 + [1.0] * 8, ["big"] * 92 + list("abcdefgh")
    assert bootstrap(scores, patients).value == pytest.approx(8 / 9)
    by_image = bootstrap(scores, patients, by="image")
    assert by_image.value == pytest.approx(0.08)
    assert by_image.high == 1  # it is drawn without the large one, now and then


def test_a_higher_level_is_wider():
    rng = np.random.default_rng(2)
    scores, patients = rng.random(20), [str(n) for n in range(20)]
    widths = [(found := bootstrap(scores, patients, level=level)).high - found.low for level in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] / 2


def test_both_ends_are_as_far_out():
    """The interval of 1 - x is that of x, mirrored."""
    scores, patients = np.random.default_rng(4).beta(6, 2, 20), [str(n) for n in range(20)]
    found, mirrored = bootstrap(scores, patients), bootstrap(1 - scores, patients)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


def test_blocks_of_draws_are_one_stream(monkeypatch):
    rng = np.random.default_rng(3)
    scores, patients = rng.random(30), [str(n) for n in range(30)]
    whole = bootstrap(scores, patients)
    monkeypatch.setattr(intervals, "_BLOCK", 1000)
    assert bootstrap(scores, patients) == whole


POPULATIONS = {
    "normal": (lambda rng, n: rng.normal(0.7, 0.1, n), 0.7),
    "beta": (lambda rng, n: rng.beta(6, 2, n), 0.75),
    "zeros": (lambda rng, n: rng.beta(8, 2, n) * (rng.random(n) > 0.12), 0.8 * 0.88),
}


@pytest.mark.parametrize(
    ("by", "name"), [*(("patient", name) for name in POPULATIONS), ("image", "normal"), ("image", "beta")]
)
def test_95_in_100_intervals_hold_the_truth(by, name):
    """Over 20 patients of 1 to 5 images each: 90 to 98 in 100; no interval so wide that it says nothing."""
    draw, mean = POPULATIONS[name]
    rng = np.random.default_rng(11)
    held, sets = 0, 400
    for _ in range(sets):
        counts = rng.integers(1, 6, 20)
        scores = np.repeat(draw(rng, 20), counts)
        found = bootstrap(scores, np.repeat(np.arange(20).astype(str), counts).tolist(), by=by, draws=500)
        held += found.low <= mean <= found.high
    assert 0.90 <= held / sets <= 0.98


# --- the table of patients ---


def images():
    truth = np.zeros((12, 12), np.uint8)
    truth[3:8, 3:8] = 1
    moved, empty = np.roll(truth, 1, 0), truth * 0
    pairs = [("b", truth, truth), ("a", moved, truth), ("b", empty, truth), ("a", truth, empty), ("c", empty, empty)]
    return pd.DataFrame([{"patient": who, **dataclasses.asdict(score(*pair, spacing=(1, 1)))} for who, *pair in pairs])


def test_a_row_a_patient():
    table = images()
    found = per_patient(table).set_index("patient")
    assert list(found.index) == ["a", "b", "c"]
    assert found["images"].tolist() == [2, 2, 1]
    assert found["with_foreground"].tolist() == [1, 2, 0]
    assert found["missed"].tolist() == [0, 1, 0]
    assert found["false_alarms"].tolist() == [1, 0, 0]
    assert found["defined_hd95"].tolist() == [1, 1, 0]
    assert found["dice"].tolist() == pytest.approx([0.4, 0.5, 1])
    assert found["hd95"].tolist() == pytest.approx([1, 0, math.nan], nan_ok=True)
    assert found["sensitivity"].tolist() == pytest.approx([0.8, 0.5, math.nan], nan_ok=True)
    assert found["foreground"].tolist() == [25, 50, 0]
    assert set(found["unit"]) == {"mm"}


def test_the_columns_of_patients_are_stable():
    assert per_patient(images()).columns.tolist() == [
        *("patient", "images", "with_foreground", "missed", "false_alarms", *NAMES),
        *("defined_sensitivity", "defined_precision", "defined_specificity", "defined_hd95", "defined_area_error"),
        *("foreground", "predicted", "unit"),
    ]


def test_patients_may_be_called_otherwise_and_agree_with_the_bootstrap():
    table = images().rename(columns={"patient": "who"})
    found = per_patient(table, by="who")
    for name in NAMES:
        assert bootstrap(table[name], table["who"].tolist()).value == pytest.approx(found[name].mean()), name


def test_patients_of_unlike_units_are_refused():
    table = images()
    table.loc[0, "unit"] = "px"
    with pytest.raises(ValueError, match="mm and px"):
        per_patient(table)
