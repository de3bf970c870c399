"""The lists of a Decathlon dataset.json: what is read of them, and what is refused."""

import json
from collections import Counter

import pytest
from fifos import fifo

from imagemask import decathlon
from imagemask.errors import InputError


def training_list(path):
    return decathlon.training_list(path, lambda name: name.partition(".")[0] if ".nii" in name else "")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dataset.json"


def write(path, **content):
    path.write_text(json.dumps(content))


def test_entries_are_names_or_pairs_and_a_pair_is_one(path):
    one = {"image": "./imagesTr/lung_001.nii.gz", "label": "./labelsTr/lung_001.nii.gz"}
    write(path, training=[one, "./imagesTr/lung_002.nii.gz", one], test=["./imagesTs/lung_003.nii.gz"])
    assert training_list(path) == (Counter(lung_001=2, lung_002=1), "")


def test_a_byte_order_mark_is_passed_over(path):
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"training": ["lung_001.nii"]}).encode())
    assert training_list(path) == (Counter(lung_001=1), "")


def test_paths_may_be_those_of_windows_and_wander_within_the_folder(path):
    write(path, training=["imagesTr\\lung_001.nii.gz", {"image": "./x/../imagesTr/lung_003.nii", "label": None}])
    assert set(training_list(path)[0]) == {"lung_001", "lung_003"}


@pytest.mark.parametrize(
    "content",
    [
        b'{"training": [',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b"[1, 2]",
        b"{}",
        b'{"training": 63}',
        b'{"training": [null, 7, {"image": 8}, "notes.txt"], "test": {}}',
    ],
)
def test_a_list_that_cannot_be_used_says_so(path, content):
    path.write_bytes(content)
    assert training_list(path) == (Counter(), "dataset_json_unreadable")


def test_a_list_that_is_missing_or_a_pipe_says_so(path):
    assert training_list(path) == (Counter(), "dataset_json_missing")
    with fifo(path):
        assert training_list(path) == (Counter(), "dataset_json_unreadable")


@pytest.mark.parametrize(
    "place", ["../../etc/lung_009.nii", "/etc/lung_009.nii", "C:\\lung_009.nii", "a/../../lung_009.nii", "..\\x.nii"]
)
@pytest.mark.parametrize("part", ["training", "test"])
def test_a_list_that_leads_out_of_its_folder_is_refused(path, place, part):
    write(path, **{"training": [], part: [{"image": place}]})
    with pytest.raises(InputError, match="lies outside") as caught:
        training_list(path)
    assert repr(place) in str(caught.value)


def test_a_case_for_training_and_for_test_is_a_leak(path):
    write(path, training=["lung_001.nii", "lung_003.nii"], test=["lung_003.nii"])
    with pytest.raises(InputError, match=r"dataset.json: lists lung_003 for both"):
        training_list(path)
