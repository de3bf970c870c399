"""The error tree: one line for a person, a number for a shell."""

import errno
import pickle
from pathlib import Path

import cv2
import numpy as np
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


OF_OPENCV = "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"


@pytest.mark.parametrize(
    ("root", "lacks"),
    [
        (MemoryError(), "out of memory"),
        (cv2.error(OF_OPENCV), "out of memory"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
        (OSError(errno.EIO, "Input/output error"), ""),
        (OSError(OF_OPENCV), ""),
        (ValueError("bad"), ""),
    ],
    ids=str,
)
def test_a_machine_at_its_end_is_found_behind_what_was_raised(root, lacks):
    assert errors.exhausted(root) == lacks
    behind = CaseError("unreadable_file", "a file cannot be read")
    behind.__cause__ = root
    assert errors.exhausted(behind) == lacks


def test_an_error_of_opencv_is_known_by_itself_whatever_was_raised_after_it(monkeypatch):
    """OpenCV writes the code of an error into the class, where the next error, of any thread, replaces it."""
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((0, 4), np.uint8), (1, 1))
    monkeypatch.setattr(cv2.error, "code", cv2.Error.StsNoMem, raising=False)
    assert errors.exhausted(caught.value) == ""


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
