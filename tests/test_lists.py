"""Lists of sets and classes: what is told, what is forgiven, and that no bytes can crash them."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.errors import InputError
from imagemask.pictures import lists

NAMES = ["train.txt", "VAL.txt", "train_cls.txt", "val_cls.TXT"]
STEMS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\\ufeff"), min_size=1)


def gathered(folder, classes=8, key=str.casefold, **texts):
    """The lists of a folder with these files: train="1\n" is train.txt."""
    for name, text in texts.items():
        (Path(folder) / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return lists.gather(sorted(Path(folder).iterdir()), key=key, classes=classes)


def attempt(paths):
    """The lists, or why not."""
    try:
        return lists.gather(paths, key=str.casefold, classes=8), None
    except InputError as error:
        return None, error


def test_tells_set_and_class_of_each_picture(tmp_path):
    told = gathered(tmp_path, train="1\n7\n", val="2\n", train_cls="1.JPG  3\n7.JPG  0\n", val_cls="2.JPG  7\n")
    assert told.about("1") == ("1", "train", 3, ())
    assert told.about("7") == ("7", "train", 0, ())
    assert told.about("2") == ("2", "valid", 7, ())
    assert told.about("9") == ("", "", -1, ("not_listed", "class_unknown"))
    assert told.about("9", "test") == ("", "test", -1, ("class_unknown",))


def test_other_files_are_no_lists(tmp_path):
    told = gathered(tmp_path, notes="1\n", train_list="1\n", cls_train="1  2\n")
    assert (told.names, told.found, told.classified) == ({}, set(), set())
    assert told.about("1") == ("", "", -1, ("lists_missing",))


@given(
    stem=STEMS.filter(lambda text: text == lists.stem(text) and text[-1] not in ",;"),
    number=st.integers(0, 7),
    data=st.data(),
)
def test_a_line_is_read_back_however_it_is_written(stem, number, data):
    blanks = st.text(" \t", max_size=3)
    extension = data.draw(st.sampled_from(["", ".JPG", ".jpg", ".PNG", ".jpeg"]))
    folder = data.draw(st.sampled_from(["", "images/", "OTU_2d\\images\\"]))
    line = f"{folder}{stem}{extension}"
    assert lists.stem(line) == stem
    gap = data.draw(st.text(" \t,;", min_size=1, max_size=3))
    assert lists.class_of(f"{line}{gap}{number}{data.draw(blanks)}", classes=8) == (stem, number)


@given(
    stems=st.lists(STEMS.filter(lambda text: text == lists.stem(text)), unique_by=str.casefold),
    ends=st.sampled_from(["\n", "\r\n", "  \r\n", "\n\n", "\t\n \n"]),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_ends_of_lines_and_marks_do_not_matter(stems, ends, codec):
    with tempfile.TemporaryDirectory() as folder:
        told = gathered(folder, train="".join(stem + ends for stem in stems).encode(codec))
    assert sorted(told.names.values()) == sorted(stems)
    assert all(told.splits[stem.casefold()] == {"train"} for stem in stems)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1.JPG  3", ("1", 3)),
        ("1.JPG\t0", ("1", 0)),
        ("a b.JPG  7", ("a b", 7)),
        ("1.JPG", ("1", None)),
        ("a b.JPG", ("a b", None)),
        ("3", ("3", None)),
        ("1.JPG  8", ("1", None)),
        ("1.JPG  -1", ("1", None)),
        ("1.JPG  3.0", ("1", None)),
        ("1.JPG  cyst", ("1", None)),
        ("1.JPG  \u0663", ("1", None)),
        ("1.JPG  " + "9" * 5000, ("1", None)),
        (".JPG", (".JPG", None)),
        ("15.JPG,2", ("15", 2)),
        ("a,b.JPG ; 2,", ("a,b", 2)),
        ("15,2", ("15", 2)),
        ("15.JPG  2  0.9", ("15", None)),
        ("15.JPG,2,3", ("15", None)),
        ("15.JPG,", ("15", None)),
    ],
)
def test_a_class_is_a_number_that_there_is_or_none(line, told):
    assert lists.class_of(line, classes=8) == told


def test_a_class_that_cannot_be_read_leaves_the_picture(tmp_path):
    told = gathered(tmp_path, train="1\n2\n", train_cls="1.JPG  8\n2.JPG\n2.JPG  4\n")
    assert told.about("1")[1:] == ("train", -1, ("class_unknown",))
    assert told.about("2")[1:] == ("train", 4, ("listed_twice", "class_unknown"))


def test_lists_that_contradict_one_another_are_noted(tmp_path):
    told = gathered(tmp_path, train="1\n2\n2\n", val="1\n", train_cls="1.JPG  1\n2.JPG  5\n", val_cls="1.JPG  2\n")
    assert told.about("1")[1:] == ("valid", -1, ("in_both_lists", "class_conflict"))
    assert told.about("2")[1:] == ("train", 5, ("listed_twice",))


def test_a_test_list_wins_over_the_others(tmp_path):
    assert gathered(tmp_path, train="1", val="1", test="1").about("1").split == "test"


def test_without_one_of_the_lists_it_is_missing(tmp_path):
    told = gathered(tmp_path, train="1\n")
    assert told.about("1").flags == ()
    assert told.about("2").flags == ("lists_missing",)
    assert gathered(tmp_path, val="3\n").about("2").flags == ("not_listed",)


def test_class_lists_alone_tell_the_set_too(tmp_path):
    assert gathered(tmp_path, train_cls="1.JPG  1", val_cls="2.JPG  1").about("2")[1:] == ("valid", 1, ())


def test_what_only_class_lists_name_is_a_note_and_no_picture(tmp_path):
    told = gathered(tmp_path, train="1\n2\n", train_cls="file,class\n1.JPG,3\n2.JPG,4\n3.JPG;5\n")
    assert told.listed == {"1", "2"}
    assert [told.about(key).number for key in "123"] == [3, 4, 5]
    assert told.notes([("3", "")]) == ("Class lists name 1 pictures that are not there; the first is 'file'.",)
    assert told.notes([("3", "train"), ("file", "")]) == ()


def test_bytes_that_are_no_text_stay_and_can_be_written_down(tmp_path):
    told = gathered(tmp_path, train=b"a\xff\n")
    assert list(told.splits) == ["a\udcff"]
    assert told.names["a\udcff"].encode() == b"a\\udcff"


@given(st.lists(st.binary(max_size=60), min_size=4, max_size=4))
def test_any_bytes_are_lists_or_an_error_that_names_the_file(contents):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in NAMES]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        told, refusal = attempt(paths)
    if refusal is not None:
        assert any(str(path) in refusal.reason for path in paths)
        assert refusal.remedy
        return
    assert told.found == told.classified == {"train", "valid"}
    for key in told.splits:
        name, split, number, flags = told.about(key)
        assert name.encode()
        assert split in ("train", "valid")
        assert -1 <= number < 8
        assert set(flags) <= {"in_both_lists", "listed_twice", "class_unknown", "class_conflict"}


@pytest.mark.parametrize("content", [b"1\n\x002\n", b"\xff\xfe1", b"\xff\xfe\x00\xd8"])
def test_what_is_no_text_is_refused(content, tmp_path):
    with pytest.raises(InputError, match=r"train\.txt: (cannot be read|is no text)") as caught:
        gathered(tmp_path, train=content)
    assert caught.value.remedy


def test_a_list_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(InputError, match=r"train\.txt: cannot be read: "):
        lists.gather([tmp_path / "train.txt"], key=str, classes=8)
