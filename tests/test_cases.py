"""Cases in order, each under a name that a file system can hold."""

import fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import cases, names
from imagemask.errors import InputError
from imagemask.types import Case


def listed(*ids):
    return [Case(name, name, (), ()) for name in ids]


@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_every_identifier_that_names_makes_can_be_written(texts):
    ids = {names.identifier((text,)) for text in texts}
    distinct = {name.casefold(): name for name in ids}
    assert list(cases.problems(listed(*distinct.values()))) == []


@pytest.mark.parametrize("name", ["", ".a", "a/b", "a~b", "a:b", "a\nb", "a%b", "nul\0"])
def test_a_name_that_cannot_be_written_is_a_problem(name):
    assert list(cases.problems(listed("a", name))) == [f"{name!r} cannot be a file name"]


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "A"), ("straße", "STRASSE")])
def test_two_cases_of_one_name_are_a_problem(pair):
    first, second = pair
    assert list(cases.problems(listed("b", *pair))) == [f"{first!r} and {second!r} would be written under one name"]


def test_cases_come_sorted_and_nothing_is_an_error(tmp_path):
    fake = fakes.Fake()
    with pytest.raises(InputError, match="holds no case. imagemask check fake"):
        cases.discover(fake, tmp_path, None)
    raw = fakes.raw_folder(tmp_path, names=("b", "a"))
    assert [case.id for case in cases.discover(fake, raw, None)] == ["a", "b"]
