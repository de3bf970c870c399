"""The error tree: one line for a person, a number for a shell."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import errors
from imagemask.errors import CaseError, ImagemaskError, InputError, UsageError

TREE = [UsageError, InputError, CaseError]


def make(kind, reason, remedy=""):
    return kind("some_code", reason, remedy=remedy) if kind is CaseError else kind(reason, remedy=remedy)


@pytest.mark.parametrize("kind", [ImagemaskError, *TREE])
@given(reason=st.text(min_size=1), remedy=st.text(min_size=1))
def test_the_line_is_the_reason_and_then_the_remedy(kind, reason, remedy):
    error = make(kind, reason, remedy)
    end = "" if reason[-1] in ".?!" else "."
    assert str(error) == f"{reason}{end} {remedy}"
    assert (error.reason, error.remedy) == (reason, remedy)
    assert str(make(kind, reason)) == reason


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_in_the_tree_and_in_its_drawing(kind):
    assert issubclass(kind, ImagemaskError)
    assert kind.__name__ in errors.__doc__


def test_exit_codes_tell_the_outcomes_apart():
    codes = [UsageError.exit_code, InputError.exit_code, errors.FINISHED_WITH_QUARANTINE, errors.FINDINGS]
    assert codes == [2, 4, 3, 5]
    assert ImagemaskError.exit_code == 1


def test_a_case_error_names_its_code_and_file():
    error = CaseError("truncated_gzip", "ends early", file=Path("a.nii.gz"))
    assert (error.code, error.file) == ("truncated_gzip", Path("a.nii.gz"))
    assert CaseError("x", "y").file is None


@pytest.mark.parametrize(
    "error", [UsageError("why", remedy="do this"), CaseError("code", "why", file=Path("a"), remedy="")]
)
def test_an_error_survives_the_way_between_processes(error):
    # A worker's exception is pickled; one that cannot be read back breaks the whole pool.
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert vars(there) == vars(error)
    assert str(there) == str(error)
