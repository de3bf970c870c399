"""Labels as nnU-Net's dataset.json declares them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import nnunet
from imagemask.errors import InputError, UsageError

NAMES = st.text("abc ", min_size=1, max_size=4)


def declared(folder, labels):
    path = folder / "dataset.json"
    path.write_text(json.dumps({"labels": labels}))
    return path


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "cyst": 2, "tumour": 1}, {1: "tumour", 2: "cyst"}),
        ({"0": "background", "1": "tumour"}, {1: "tumour"}),
        ({"background": "0", "cell": "3"}, {3: "cell"}),
        ({"background": 0, "cyst": [2], "tumour": 1}, {1: "tumour", 2: "cyst"}),
        ({"background": 0, "cell": 1, "ignore": 2}, {1: "cell", 2: "ignore"}),
        ({"background": 0}, {}),
    ],
)
def test_reads_both_versions(labels, expected, tmp_path):
    assert nnunet.labels(declared(tmp_path, labels)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"labels": 3}', '{"labels": {"a": "b"}}', '{"labels": {"a": 1.5}}'),
        *('{"labels": {"a": true}}', '{"labels": {"a": ["b"]}}', '{"labels": {"a": null}}'),
    ],
)
def test_names_a_file_that_declares_nothing_readable(text, tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json: its labels cannot be read.*--labels"):
        nnunet.labels(path)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (
            {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
            r"regions \(whole, core\).*--labels 1=NAME,2=NAME,3=NAME,4=ignore",
        ),
        ({"none": []}, r"regions .*\(none\).*--labels 1=NAME"),
        ({"background": 0, "a": 1, "b": 1}, r"two names for one value \(a\).*--labels 1=NAME"),
    ],
)
def test_what_names_no_single_value_is_refused_with_the_values(labels, match, tmp_path):
    with pytest.raises(InputError, match=match):
        nnunet.labels(declared(tmp_path, labels))


@given(st.dictionaries(st.integers(1, 99), NAMES, min_size=1, max_size=5), st.sets(st.integers(100, 110), max_size=2))
def test_what_is_ignored_is_no_class_and_is_said(labels, ignored):
    kept, notes = nnunet.classes(labels | dict.fromkeys(ignored, "ignore"), "raw")
    assert kept == labels
    assert [f"Label {value} is ignore" in note for value, note in zip(sorted(ignored), notes, strict=True)] == [
        True for _ in ignored
    ]


def test_nothing_but_what_is_ignored_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"declare no class\. Give --labels 1=NAME"):
        nnunet.classes({1: "ignore"}, tmp_path)
