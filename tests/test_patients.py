"""Who is in a picture: tables of patients, and names spelt in several ways."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagemask.errors import InputError
from imagemask.pictures import patients
from imagemask.types import Case

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=8)


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "patients.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def plain(text):
    return patients._plain(text)


@given(st.dictionaries(WORDS, WORDS, max_size=6), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_what_a_table_says_is_read_as_it_was_written(tmp_path_factory, said, end, mark):
    usable = {plain(file): plain(patient) for file, patient in said.items()}
    usable = {file: who for file, who in usable.items() if file and who and f"{file}{who}".isprintable()}
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end).writerows([("file", "patient"), *usable.items()])
    assert patients.read_table(table(tmp_path_factory.mktemp("t"), mark + out.getvalue())) == usable


@given(st.binary(max_size=60) | st.text('file,patient"\r\n \0\u2028é', max_size=60).map(str.encode))
@example(b"file,patient\n" + b'"' * 3)
@example(b"file,patient\n\xff,a")
@example(b"file,patient\n" + b"a" * 140_000 + b",b")
def test_any_bytes_are_a_table_or_an_error_with_a_remedy(tmp_path_factory, data):
    for content in (data, b"file,patient\n" + data):
        wrong, found = None, {}
        try:
            found = patients.read_table(table(tmp_path_factory.mktemp("t"), content))
        except InputError as error:
            wrong = error
        assert wrong is None or (wrong.remedy and "patients.csv: " in wrong.reason)
        assert all(file and who and f"{file}{who}".isprintable() for file, who in found.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header is not file,patient"),
        ("a.png,x\n", "the header is not file,patient"),
        ("patient,file\n", "the header is not file,patient"),
        ("file,patient\na.png\n", "line 2 is 'a.png'"),
        ("file,patient\na.png,x\nb.png, \n", "line 3 is 'b.png, '"),
        ("file,patient\n,x\n", "line 2 is ',x'"),
        ("file,patient\na.png,x,y\n", "line 2 is 'a.png,x,y'"),
        ("file,patient\na.png,x\na.png,y\n", "line 3 is 'a.png,y'"),
        ('file,patient\na.png,"x\ny"\n', "line 3 is"),
        ('file,patient\na.png,"x', "cannot be read"),
        (b"file,patient\n\xff.png,x\n", "cannot be read"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=f"patients.csv: {message}"):
        patients.read_table(table(tmp_path, text))


@pytest.mark.parametrize("name", ["none.csv", ".", "a\0b.csv"])
def test_a_table_that_is_not_there_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read"):
        patients.read_table(tmp_path / name)


def test_spaces_blank_lines_and_repeated_lines_do_no_harm(tmp_path):
    path = table(tmp_path, "\ufeffFile , Patient\r\n\r\n a.png ,x\r\na.png,x\r\n")
    assert patients.read_table(path) == {"a.png": "x"}


def test_a_file_is_called_by_its_path_or_its_name_or_its_stem():
    said = {"train/image/a.png": "1", "a.png": "2", "a": "3", "cafe\u0301".encode().decode(): "no"}
    place = Path("train/image/a.png")
    assert patients.row_of(said, place) == "train/image/a.png"
    assert patients.row_of(said, Path("test/a.png")) == "a.png"
    assert patients.row_of(said, Path("test/a.jpg")) == "a"
    assert patients.row_of(said, Path("test/b.jpg")) == ""
    assert patients.row_of({"café.png": "1"}, Path("cafe\u0301.png")) == "café.png"


@given(st.lists(st.sampled_from(["", "JHX", "jhx", "Jhx", "straße", "STRASSE", "b"])))
def test_names_that_differ_by_case_only_are_one_patient(names):
    cases = [Case(str(number), name, (), (), flags=("old",)) for number, name in enumerate(names)]
    found = patients.folded(cases)
    assert [case.id for case in found] == [case.id for case in cases]
    assert [case.patient for case in found] == [name.casefold() for name in names]
    first = {}
    for case, name in zip(found, names, strict=True):
        odd = first.setdefault(name.casefold(), name) != name
        assert case.flags == ("old", *(["patient_spelling"] if odd else []))
