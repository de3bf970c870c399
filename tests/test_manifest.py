"""A manifest is rows and the file that holds them: what is written is read, and equal rows are equal bytes."""

import csv
import dataclasses
import hashlib
import io
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import manifest
from imagemask.errors import InputError, UsageError
from imagemask.types import Row

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
PLAIN = {"int": 1, "float | None": 0.5, "str": "x"}
FIELDS = {one.name: one.type for one in dataclasses.fields(Row) if one.name != "extra"}


def row(**cells):
    """A row in which every number and text is plain, but for ``cells``."""
    values = {name: PLAIN[kind] for name, kind in FIELDS.items()}
    return Row(**{**values, "extra": {"age": "41", "NA": ""}, **cells})


ROWS = st.builds(
    row,
    key=TEXT,
    patient=TEXT,
    source=TEXT,
    slice=st.integers(0, 2**40),
    spacing_y=st.none() | st.floats(1e-3, 1e3),
    extra=st.fixed_dictionaries({"age": TEXT, "NA": TEXT}),
)
TABLES = st.lists(ROWS, max_size=4, unique_by=lambda row: row.key)
EXTRA = ("age", "NA")


def frame_of(rows):
    return manifest.table([manifest.record(row) for row in rows], EXTRA)


def same(left, right):
    """Equal cell by cell, whatever pandas calls the type of a column of text."""
    assert list(left.columns) == list(right.columns)
    for name in left.columns:
        pairs = zip(left[name].tolist(), right[name].tolist(), strict=True)
        assert all(a == b or (a != a and b != b) for a, b in pairs), name  # noqa: PLR0124  NaN is not itself


def picture(*shape, values=256, seed=0):
    return np.random.default_rng(seed).integers(0, values, shape, dtype=np.uint8)


@given(TABLES)
def test_what_is_written_is_read(tmp_path_factory, rows):
    dataset = tmp_path_factory.mktemp("dataset")
    manifest.write(dataset, frame_of(rows))
    read = manifest.read(dataset)
    same(read, frame_of(sorted(rows, key=lambda row: row.key)))
    assert manifest.to_bytes(read) == (dataset / "manifest.csv").read_bytes()


@given(TABLES, st.integers())
def test_the_bytes_do_not_depend_on_the_order_of_the_rows(rows, seed):
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert manifest.to_bytes(frame_of(shuffled)) == manifest.to_bytes(frame_of(rows))


@given(TABLES)
def test_the_file_is_utf8_with_lf_and_a_header(rows):
    data = manifest.to_bytes(frame_of(rows))
    header = data.decode("utf-8").split("\n", 1)[0]
    assert header.split(",") == [*manifest.COLUMNS, *EXTRA]
    assert data.endswith(b"\n")


def test_a_large_table_is_written_in_pieces_that_do_not_show(monkeypatch):
    rows = [dataclasses.replace(row(), key=f"k-{number:04d}") for number in range(7)]
    whole = manifest.to_bytes(frame_of(rows))
    monkeypatch.setattr(manifest, "_ROWS_AT_ONCE", 2)
    assert manifest.to_bytes(frame_of(rows)) == whole


def test_columns_are_in_the_order_of_the_page_on_datasets():
    assert manifest.COLUMNS[:3] == ("key", "dataset", "patient")
    assert manifest.COLUMNS[-3:] == ("source", "source_sha256", "digest")
    assert set(manifest._NUMBERS) == {name for name, kind in FIELDS.items() if kind != "str"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "cannot be read"),
        (lambda text: text.replace("digest", "digset"), "lacks the columns digest"),
        (lambda text: text.replace(",0.5", "\n", 1), "line 2 is cut short"),
        (lambda text: text.rstrip("\n")[:-6], "line 3 is cut short"),
        (lambda text: text.rstrip("\n") + ",surplus,surplus\n" * 2, "cannot be read"),
        (lambda text: text.replace(",1,", ",one,"), "column slice: invalid literal"),
        (lambda text: text.replace(",0.5,", ",half,"), "column spacing_y: could not convert"),
    ],
)
def test_a_damaged_manifest_is_an_error_that_says_where(tmp_path, damage, message):
    text = manifest.to_bytes(frame_of([row(), row(key="y")])).decode()
    (tmp_path / "manifest.csv").write_text(damage(text))
    with pytest.raises(InputError, match=f"manifest.csv: .*({message})"):
        manifest.read(tmp_path)


def test_a_manifest_that_is_not_there_or_not_text_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"there is no manifest\. Build a dataset"):
        manifest.read(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"key,\xff\n")
    with pytest.raises(InputError, match="cannot be read"):
        manifest.read(tmp_path)


def test_the_digest_is_the_documented_one():
    image, mask = picture(3, 4, 3), picture(3, 4)
    stated = b"(3, 4, 3)|u1" + image.tobytes() + b"(3, 4)|u1" + mask.tobytes()
    assert manifest.digest(image, mask) == hashlib.sha256(stated).hexdigest()


@given(st.integers(0, 4), st.integers(0, 3), st.integers(1, 255))
def test_the_digest_shows_every_change_of_a_pixel(y, x, change):
    image, mask = picture(5, 4), picture(5, 4, seed=1)
    before = manifest.digest(image, mask)
    for array in (image, mask):
        array[y, x] ^= change
        assert manifest.digest(image, mask) != before
        array[y, x] ^= change
    assert manifest.digest(image, mask) == before


def test_the_digest_tells_shapes_apart_and_not_memory_orders():
    image, mask = picture(4, 6), picture(4, 6, seed=1)
    plain = manifest.digest(image, mask)
    assert manifest.digest(image.reshape(6, 4), mask.reshape(6, 4)) != plain
    assert manifest.digest(np.asfortranarray(image), mask[::-1][::-1]) == plain
    assert manifest.digest(mask, image) != plain


@given(st.dictionaries(st.integers(-5, 300), st.text(min_size=1), min_size=1, max_size=255))
def test_mask_values_keep_the_order_of_the_labels_and_fit_a_byte(labels):
    written = manifest.mask_values(labels)
    assert list(written) == sorted(labels)
    assert list(written.values()) == ([255] if len(labels) == 1 else list(range(1, len(labels) + 1)))


def described(labels):
    return {"labels": [{"mask_value": value} for value in manifest.mask_values(labels).values()]}


@given(st.integers(1, 255))
def test_written_values_become_class_ids_again(count):
    labels = {value: str(value) for value in range(1, count + 1)}
    written = np.array([0, *manifest.mask_values(labels).values()], np.uint8)
    assert manifest.to_labels(written[None], described(labels)).tolist() == [list(range(count + 1))]


@given(st.integers(1, 254), st.integers(1, 255))
def test_an_undeclared_value_is_an_error_with_its_number(count, value):
    dataset = described(dict.fromkeys(range(1, count + 1), "x"))
    mask = np.full((2, 2), value, np.uint8)
    if value in {label["mask_value"] for label in dataset["labels"]}:
        assert manifest.to_labels(mask, dataset).min() > 0
    else:
        with pytest.raises(InputError, match=rf"mask values \[{value}\] are not declared"):
            manifest.to_labels(mask, dataset)


def test_dataset_json_is_read_or_said_to_be_damaged(tmp_path):
    with pytest.raises(InputError, match=r"dataset.json: is missing\. Build a dataset"):
        manifest.read_dataset(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"name": "größer"}), encoding="utf-8")
    assert manifest.read_dataset(tmp_path) == {"name": "größer"}
    for damaged in (b"{", b"\xff", b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"dataset.json: cannot be read"):
            manifest.read_dataset(tmp_path)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_a_small_table_reads_back(rows):
    text = manifest.csv_bytes(["a", "b"], rows).decode("utf-8")
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == [("a", "b"), *rows]


class TestFind:
    """The dataset that is meant where none is named."""

    def dataset(self, folder):
        folder.mkdir(parents=True)
        (folder / "manifest.csv").touch()
        return folder

    def test_the_one_that_is_named_is_not_questioned(self, tmp_path):
        assert manifest.find(tmp_path / "none", tmp_path) == tmp_path / "none"

    def test_its_manifest_means_its_folder(self, tmp_path):
        demo = self.dataset(tmp_path / "demo")
        assert manifest.find(demo / "manifest.csv", tmp_path) == demo
        assert manifest.find(demo / "split.csv", tmp_path) == demo / "split.csv"
        assert manifest.find(tmp_path / "manifest.csv", tmp_path) == tmp_path / "manifest.csv"

    def test_a_bare_name_is_looked_for_in_datasets(self, tmp_path):
        demo = tmp_path / "datasets" / "demo"
        demo.mkdir(parents=True)  # a build that has not been merged counts, too
        assert manifest.find(Path("demo"), tmp_path) == demo
        assert manifest.find(Path("other"), tmp_path) == Path("other")
        assert manifest.find(Path("sub/demo"), tmp_path) == Path("sub/demo")

    def test_a_folder_of_that_name_comes_first(self, tmp_path):
        for place in ("demo", "datasets/demo"):
            self.dataset(tmp_path / place)
        assert manifest.find(Path("demo"), tmp_path) == Path("demo")

    def test_the_current_folder_comes_before_those_below_it(self, tmp_path):
        here = self.dataset(tmp_path / "here")
        self.dataset(here / "datasets" / "a")
        assert manifest.find(None, here) == here

    def test_the_only_one_is_meant_and_hidden_ones_do_not_count(self, tmp_path):
        self.dataset(tmp_path / "datasets" / ".a.new")
        only = self.dataset(tmp_path / "datasets" / "a")
        assert manifest.find(None, tmp_path) == only

    def test_none_is_an_error(self, tmp_path):
        with pytest.raises(UsageError, match="there is no dataset here"):
            manifest.find(None, tmp_path)

    def test_several_are_an_error_that_lists_them(self, tmp_path):
        for name in ("b", "a"):
            self.dataset(tmp_path / "datasets" / name)
        with pytest.raises(UsageError, match="there are 2 datasets here: datasets/a, datasets/b"):
            manifest.find(None, tmp_path)


def test_a_table_without_rows_has_the_types_of_one_with_rows():
    empty, full = frame_of([]), frame_of([row(spacing_y=None)])
    assert empty["spacing_y"].dtype == full["spacing_y"].dtype == np.float64
    assert pd.isna(full["spacing_y"][0])


@given(st.lists(st.none() | TEXT | st.integers(0, 9), min_size=1, max_size=4))
def test_a_cell_that_is_missing_or_no_text_is_written_all_the_same(cells):
    frame = frame_of([row(key=str(number)) for number in range(len(cells))])
    frame["age"] = pd.Series(cells, dtype=object)
    read = csv.DictReader(io.StringIO(manifest.to_bytes(frame).decode("utf-8"), newline=""))
    assert [line["age"] for line in read] == ["" if cell is None else str(cell) for cell in cells]


def test_a_key_says_case_slice_and_variant_and_sorts_as_slices_do():
    assert manifest.key_of("lung_001", 153) == "lung_001-0153"
    assert manifest.key_of("lung_001", 12345, "crop40+fliph") == "lung_001-12345~crop40+fliph"
    keys = [manifest.key_of("a", index, variant) for index in (0, 9, 10, 999, 1000) for variant in ("", "fliph")]
    assert keys == sorted(keys)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"read": 3}', '{"read": 3, "empty": "x"}'])
def test_how_many_slices_were_dropped_is_not_guessed(tmp_path, text):
    folder = tmp_path / manifest.FRAGMENTS
    folder.mkdir()
    if text is not None:
        (folder / "a.json").write_text(text)
    assert manifest.slice_counts(tmp_path, "a") is None
    (folder / "a.json").write_text('{"read": 5, "kept": 3, "empty": 2}')
    assert manifest.slice_counts(tmp_path, "a") == (5, 2)
