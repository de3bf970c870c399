"""What is asked of a split, alone and against the split that is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.errors import UsageError
from imagemask.split import Request, parse_ratios
from imagemask.split.request import Recorded, normal, plan

PART = st.floats(0, 1e6).filter(lambda value: value == 0 or value > 1e-3)
RATIOS = st.tuples(PART.filter(bool), PART, PART)


def now(**said):
    return Recorded(**{"column": "patient", "folds": 0, "fold": None, "ratios": (0.7, 0.15, 0.15), "seed": 4, **said})


@given(RATIOS)
def test_ratios_are_read_as_they_are_written_and_made_to_sum_to_one(ratios):
    assert parse_ratios(",".join(map(repr, ratios))) == ratios
    assert sum(normal(ratios)) == pytest.approx(1)
    assert plan(Request(ratios=ratios), "patient", None).ratios == normal(ratios)


@pytest.mark.parametrize("text", ["", "70,30", "70,15,15,0", "a,b,c", "70;15;15"])
def test_ratios_are_three_numbers(text):
    with pytest.raises(UsageError, match="Give three numbers, such as 70,15,15"):
        parse_ratios(text)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ratios": (70, -1, 31)}, "ratios are 70,-1,31.*not negative"),
        ({"ratios": (70, float("nan"), 30)}, "ratios are 70,nan,30"),
        ({"ratios": (float("inf"), 1, 1)}, "ratios are inf"),
        ({"ratios": (0, 1, 1)}, "nothing to train on"),
        ({"ratios": (0, 0, 0)}, "nothing to train on"),
        ({"folds": 2}, "2 folds are too few.*Ask for 3 or more"),
        ({"folds": 5, "ratios": (70, 15, 15)}, "exclude each other"),
        ({"by": "slice"}, "by is 'slice'.*patient, group, image"),
        ({"layout": "hardlink"}, "link, copy, none"),
        ({"variants": "nowhere"}, "train, everywhere"),
    ],
)
def test_what_no_dataset_could_satisfy_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        Request(**asked)


def test_what_is_not_asked_for_is_the_default():
    planned = plan(Request(), "patient", None)
    assert (planned.column, planned.ratios, planned.folds, planned.seed) == ("patient", (0.7, 0.15, 0.15), 0, 0)


@given(RATIOS, st.integers())
def test_what_is_not_asked_for_stays_as_it_is(ratios, seed):
    there = now(ratios=normal(ratios), seed=seed, column="group")
    planned = plan(Request(), "group", there)
    assert (planned.column, planned.ratios, planned.seed) == ("group", there.ratios, seed)
    folds = plan(Request(), "group", now(column="group", folds=7, fold=3, ratios=None))
    assert (folds.folds, folds.fold) == (7, 3)


@given(RATIOS, st.floats(0.01, 100))
def test_the_same_ratios_in_another_unit_are_the_same(ratios, scale):
    there = now(ratios=normal(ratios))
    scaled = tuple(ratio * scale for ratio in ratios)
    assert plan(Request(ratios=scaled), "patient", there).ratios == pytest.approx(there.ratios)


@pytest.mark.parametrize(
    ("asked", "there", "message"),
    [
        ({"ratios": (80, 10, 10)}, {}, "ratios 70,15,15 now, 80,10,10 asked for"),
        ({"ratios": (80, 10, 10)}, {"folds": 5, "ratios": None}, "5 folds now, ratios 80,10,10 asked for"),
        ({"seed": 5}, {}, "seed 4 now, 5 asked for"),
        ({"seed": 5}, {"seed": 0}, "seed 0 now, 5 asked for"),
        ({"folds": 5}, {}, "folds none now, 5 asked for"),
        ({"folds": 5}, {"folds": 4}, "folds 4 now, 5 asked for"),
        ({}, {"column": "case"}, "by image now, patient asked for"),
        ({"seed": 5, "folds": 5}, {}, "folds none now, 5 asked for; seed 4 now, 5 asked for"),
    ],
)
def test_what_the_present_split_is_not_is_refused(asked, there, message):
    with pytest.raises(UsageError, match=f"otherwise: {message}.*add --resplit"):
        plan(Request(**asked), "patient", now(**there))


def test_what_is_not_known_of_the_present_split_is_not_held_against_the_request():
    planned = plan(Request(ratios=(80, 10, 10), seed=5), "patient", now(ratios=None, seed=None))
    assert (planned.ratios, planned.seed) == ((0.8, 0.1, 0.1), 5)


@given(st.integers(3, 12), st.data())
def test_each_fold_is_one_set_and_another_fold_is_another_request_of_the_same_split(folds, data):
    fold = data.draw(st.integers(0, folds - 1))
    planned = plan(Request(folds=folds, fold=fold), "patient", now(folds=folds, fold=0, ratios=None))
    sets = [planned.set_of(one) for one in range(folds)]
    assert (sets[fold], sets[(fold + 1) % folds]) == ("test", "valid")
    assert sets.count("train") == folds - 2
    assert planned.names == tuple(map(str, range(folds)))
    assert planned.bins == pytest.approx([1 / folds] * folds)
    assert planned.ratios == pytest.approx([sets.count(name) / folds for name in ("train", "valid", "test")])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"folds": 5, "fold": 5}, "fold 5 of 5 folds. Folds are 0 to 4"),
        ({"folds": 5, "fold": -1}, "fold -1 of 5 folds"),
        ({"fold": 0}, "fold 0 of a split without folds.*--folds 5"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        plan(Request(**asked), "patient", None)
