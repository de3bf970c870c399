"""The contact sheet of a dataset: which pairs are shown, and that they are."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import images, manifest
from imagemask.errors import InputError, UsageError
from imagemask.preview import choose, evenly, preview, shares

CAPACITIES = st.lists(st.integers(0, 12), max_size=8)


@given(CAPACITIES, st.integers(0, 60))
def test_shares_are_as_even_as_the_capacities_allow(capacities, n):
    given = shares(capacities, n)
    assert sum(given) == min(n, sum(capacities))
    assert all(0 <= share <= capacity for share, capacity in zip(given, capacities, strict=True))
    unfilled = [share for share, capacity in zip(given, capacities, strict=True) if share < capacity]
    assert not unfilled or max(given) - min(unfilled) <= 1


@given(st.integers(1, 200), st.data())
def test_positions_are_different_in_order_and_evenly_spaced(total, data):
    n = data.draw(st.integers(1, total))
    positions = evenly(total, n)
    assert positions == sorted(set(positions))
    assert positions[0] >= 0
    assert positions[-1] < total
    gaps = np.diff([*positions, positions[0] + total])
    assert gaps.max() - gaps.min() <= 1


def test_one_of_many_is_the_middle_one():
    assert (evenly(9, 1), evenly(10, 2)) == ([4], [2, 7])


def row(patient="p", index=0, variant="", split="", foreground=1):
    """The cells of a manifest that a choice depends on."""
    case = patient or "none"
    key = f"{case}-{index:04d}" + (f"~{variant}" if variant else "")
    return {"key": key, "case": case, "patient": patient, "variant": variant, "split": split, "foreground": foreground}


def frame(rows):
    rows = sorted(rows, key=lambda one: one["key"])
    return pd.DataFrame(rows, columns=list(row()))


ROWS = st.lists(
    st.builds(
        row,
        patient=st.sampled_from(["", "p", "q", "r"]),
        index=st.integers(0, 9),
        variant=st.sampled_from(["", "fliph"]),
        split=st.sampled_from(["", "train", "valid", "test"]),
        foreground=st.integers(0, 1),
    ),
    max_size=20,
    unique_by=lambda one: one["key"],
).map(frame)


@given(ROWS, st.integers(1, 40))
def test_as_many_different_rows_are_chosen_as_there_can_be(rows, n):
    chosen = choose(rows, n)
    assert len(chosen) == min(n, len(rows))
    assert chosen["key"].is_unique
    assert set(chosen["key"]) <= set(rows["key"])
    assert list(chosen.columns) == list(rows.columns)


@given(ROWS, st.integers(1, 40))
def test_foreground_comes_before_empty_and_plain_before_variants(rows, n):
    def tier(one):
        return 2 if one.variant else int(one.foreground == 0)

    chosen = choose(rows, n)
    left = rows[~rows["key"].isin(chosen["key"])]
    worst = max(map(tier, chosen.itertuples()), default=0)
    assert all(tier(one) >= worst for one in left.itertuples())


@given(ROWS, st.integers(1, 12))
def test_splits_get_equal_shares_and_so_do_their_patients(rows, n):
    rows = rows[(rows["variant"] == "") & (rows["foreground"] > 0) & (rows["patient"] != "")].reset_index(drop=True)
    chosen = choose(rows, n)
    for columns in (["split"], ["split", "patient"]):
        there, taken = (Counter(map(tuple, one[columns].to_numpy().tolist())) for one in (rows, chosen))
        for place, count in there.items():
            same_split = [taken[other] for other in there if len(columns) == 1 or other[0] == place[0]]
            assert taken[place] == count or max(same_split) - taken[place] <= 1


@given(ROWS, st.integers(1, 40), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_the_rows(rows, n, random):
    shuffled = rows.sample(frac=1, random_state=random.randrange(2**32))
    assert choose(shuffled, n)["key"].tolist() == choose(rows, n)["key"].tolist()


def test_the_sheet_goes_from_train_to_test_to_what_has_no_split():
    rows = frame(
        (row(patient, split=split) for patient, split in zip("abcd", ("", "test", "valid", "train"), strict=True))
    )
    assert choose(rows, 4)["split"].tolist() == ["train", "valid", "test", ""]


def write(dataset, rows):
    """A manifest of ``rows``; what a choice does not depend on is plain."""
    plain = dict.fromkeys(manifest.COLUMNS, "0") | {"spacing_y": None, "spacing_x": None}
    manifest.write(dataset, manifest.table({**plain, **one} for one in rows))


@pytest.fixture
def dataset(tmp_path):
    """Three patients of four slices, bright pictures whose masks are squares."""
    rows = [
        row(f"p{patient}", index, split=split)
        for patient, split in enumerate(("train", "valid", "test"))
        for index in range(4)
    ]
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    for folder, picture in (("images", np.full((8, 8), 200, np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        for one in rows:
            (tmp_path / folder / f"{one['key']}.png").write_bytes(images.encode_png(picture, level=1))
    write(tmp_path, rows)
    return tmp_path


def test_the_sheet_is_written_where_it_was_asked_for_and_the_same_each_time(dataset):
    out = dataset / "preview.png"
    assert preview(dataset, out, 3) == out
    first = out.read_bytes()
    preview(dataset, out, 3)
    assert out.read_bytes() == first
    assert images.read_png(out).ndim == 3


def test_the_sheet_shows_pairs_by_key_and_split(dataset, monkeypatch):
    shown = []
    real = images.contact_sheet
    monkeypatch.setattr(images, "contact_sheet", lambda tiles, **how: shown.extend(tiles) or real(tiles, **how))
    preview(dataset, dataset / "preview.png", 3)
    assert [tile.caption for tile in shown] == ["p0-0002 train", "p1-0002 valid", "p2-0002 test"]
    assert all(tile.mask.any() and tile.image.any() for tile in shown)


def test_more_than_there_are_is_all(dataset):
    few, all_ = (images.read_png(preview(dataset, dataset / "preview.png", n)) for n in (12, 100))
    assert np.array_equal(few, all_)


def test_a_dataset_without_pairs_is_an_error(dataset):
    write(dataset, [])
    with pytest.raises(InputError, match="holds no pair"):
        preview(dataset, dataset / "preview.png")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_a_picture_that_cannot_be_shown_is_an_error_with_its_key(dataset, damage):
    damage(dataset / "masks" / "p1-0002.png")
    with pytest.raises(InputError, match=r"p1-0002: cannot be shown: .*imagemask verify"):
        preview(dataset, dataset / "preview.png", 3)


def test_a_sheet_that_cannot_be_written_is_an_error(dataset):
    (dataset / "preview.png").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        preview(dataset, dataset / "preview.png")


def test_a_sheet_for_a_folder_that_is_not_there_says_which(dataset):
    with pytest.raises(InputError, match=r"none: there is no such folder\. Make it"):
        preview(dataset, dataset / "none" / "preview.png")


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "sheet.png.tif"])
def test_a_sheet_is_a_png_and_nothing_else(dataset, name):
    with pytest.raises(UsageError, match=rf"{name}: a preview is a PNG\. Give --out"):
        preview(dataset, dataset / name)
    assert not (dataset / name).exists()


def test_capitals_in_a_name_do_not_matter(dataset):
    assert preview(dataset, dataset / "SHEET.PNG").stat().st_size > 100
