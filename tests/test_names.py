"""What file names say: ids that every file system takes, patients, splits, dataset names."""

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagemask import names
from imagemask.types import Source

PARTS = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
KEYS = st.lists(PARTS, min_size=1, max_size=3).map(tuple)


def key_of(name):
    """The inverse of ``identifier``, as its docstring describes it."""
    return tuple(
        re.sub("(?:=[0-9A-F]{2})+", lambda found: bytes.fromhex(found[0].replace("=", "")).decode(), part)
        for part in name.split("+")
    )


@given(KEYS)
@example(("a+b", "c"))
@example(("a", "b+c"))
@example(("=2B",))
@example((".hidden", ".x"))
@example(("~̧",))
@example(("..", "\n"))
def test_an_id_can_be_turned_back_into_its_key(key):
    name = names.identifier(key)
    if len(name.encode()) < 180:
        assert key_of(name) == key


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1, max_size=4))
@example(["x" * 400])
@example(["é" * 200])
def test_an_id_is_a_file_name_anywhere(parts):
    name = names.identifier(tuple(parts))
    assert name.isprintable()
    assert name.lstrip(".") == name != ""
    assert not set('/\\~%:*?"<>|') & set(name)
    assert unicodedata.is_normalized("NFC", name)
    assert len(name.encode()) <= 180


@given(st.sampled_from("abé"), st.integers(170, 400), st.text("xyz", min_size=1, max_size=3))
def test_long_ids_that_differ_at_the_end_only_still_differ(char, length, end):
    one, other = names.identifier((char * length,)), names.identifier((char * length + end,))
    assert one != other


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("PANCREAS_0001-1106",), "PANCREAS_0001-1106"),
        (("train", "PANCREAS_0001-1106"), "train+PANCREAS_0001-1106"),
        (("café (2)",), "café (2)"),
        (("a/b~c%",), "a=2Fb=7Ec=25"),
        (("1+1=2",), "1=2B1=3D2"),
        ((".x", ".y"), "=2Ex+.y"),
        (("zero\u200bwidth",), "zero=E2=80=8Bwidth"),
    ],
)
def test_ids_by_example(key, name):
    assert names.identifier(key) == name


def test_a_name_that_is_not_text_has_an_id_that_is():
    path = Path(os.fsdecode(b"scan\xff.png"))
    assert not names.is_text(path)
    assert names.bytes_of(path) == r"b'scan\xff.png'"
    assert names.identifier((path.stem,)) == "scan=FF"
    assert names.is_text(Path("café.png"))


@pytest.mark.parametrize(
    ("pattern", "path", "patient"),
    [
        (r"(PANCREAS_\d+)", "images/PANCREAS_0001-1106.jpg", "PANCREAS_0001"),
        (r"^(\d+)_", "images/10035_90.png", "10035"),
        (r"_(\d+)\.", "images/rotated-0-_Metaplastic__1003_212.jpg", "212"),
        (r"x(?P<patient>\d)(\w)", "x1b.png", "1"),
        (r"(x)(?P<patient>\d)", "x1b.png", "1"),
        (r"(P\d+)/", "P07/images/a.png", "P07"),
        (r"^(P\d+)/", "train/P07/a.png", ""),
        (r"(P\d+)", "P07/images/a.png", ""),
        (r"(P\d+)?_", "_a.png", ""),
        (r"( P)", "a P.png", "P"),
        (None, "P07/a.png", ""),
    ],
)
def test_patients_by_example(pattern, path, patient):
    assert names.patient_of(Path(path), pattern) == patient


@given(st.text("ABCdef019é", min_size=1), st.integers(0, 999))
def test_a_patient_before_a_number_is_found(patient, number):
    assert names.patient_of(Path(f"masks/{patient}_{number}.png"), r"^(.+)_\d+\.") == unicodedata.normalize(
        "NFC", patient
    )


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        ((), ""),
        (("eec_test",), "test"),
        (("training set",), "train"),
        (("EEC-2022", "val.frames"), "valid"),
        (("train", "test data"), "test"),
        (("contest", "latest"), ""),
    ],
)
def test_a_split_may_be_one_word_of_several(folders, split):
    assert names.split_of_words(folders) == split


@pytest.mark.parametrize(
    ("folders", "others"),
    [
        ((), ()),
        (("Benign", "test"), ("Benign",)),
        (("EEC_test_dataset", "Benign"), ("EEC_dataset", "Benign")),
        (("Benign", "training-testing"), ("Benign",)),
        (("test data", "val.frames"), ("test data", "frames")),
        (("test", "stress test"), ("stress test",)),
        (("contest", "my latest"), ("contest", "my latest")),
    ],
)
def test_what_is_no_split_is_left_as_it_is(folders, others):
    assert names.without_split(folders) == others


def test_some_names_stand_for_many():
    assert [names.some(list("abcdefg")[:count]) for count in (0, 1, 5, 7)] == [
        "",
        "a",
        "a, b, c, d, e",
        "a, b, c, d, e and 2 more",
    ]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/images/a.png", "train"),
        ("images/Training/a.png", "train"),
        ("x/val/masks/a.png", "valid"),
        ("validation/a.png", "valid"),
        ("TEST/a.png", "test"),
        ("imagesTr/a.png", "train"),
        ("labelsTs/a.png", "test"),
        ("training/validation/a.png", "valid"),
        ("images/train.png", ""),
        ("training_data/a.png", ""),
        ("a.png", ""),
    ],
)
def test_splits_by_example(path, split):
    assert names.split_of(Path(path)) == split


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20))
def test_any_folder_names_a_dataset(text):
    name = names.dataset_name(Path("/raw") / f"_{text}")
    (rule,) = Source.model_fields["name"].metadata
    assert re.fullmatch(rule.pattern, name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Kvasir-SEG", "kvasir-seg"),
        ("Prénom  2", "prenom-2"),
        ("2024_data", "folder-2024-data"),
        ("日本", "folder"),
        ("ISIC (part 1)", "isic-part-1"),
    ],
)
def test_dataset_names_by_example(folder, name):
    assert names.dataset_name(Path("/raw") / folder) == name


@given(st.text(min_size=1))
def test_what_is_made_an_identifier_is_one(text):
    assert names.is_identifier(names.identifier((text,)))


@pytest.mark.parametrize("text", ["", ".a", "a/b", "a\\b", "a~b", "a%b", "a:b", "a\nb", "nul\0", "a\u0308"])
def test_what_no_file_system_or_key_should_hold_is_no_identifier(text):
    assert not names.is_identifier(text)
    assert names.is_identifier("a+b=C3-ä 1")
