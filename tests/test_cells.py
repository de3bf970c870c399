"""Cells and their nuclei: which file outlines what, what is drawn of them, and which pictures are one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from imagemask.generators.phantoms.cervical_cancer import bmp
from PIL import Image

from imagemask import images
from imagemask.errors import CaseError
from imagemask.pictures import cells, contours


def test_outlines_are_told_apart_by_cell_and_kind():
    names = ["001_cyt02.dat", "001_NUC02.DAT", "001_nuc11.dat", "001_01_cyt.dat", "readme.dat"]
    found = cells.by_cell([Path(name) for name in names])
    assert {key: path.name for key, path in found.items()} == {
        (2, "cyt"): "001_cyt02.dat",
        (2, "nuc"): "001_NUC02.DAT",
        (11, "nuc"): "001_nuc11.dat",
        (0, "cyt"): "001_01_cyt.dat",
    }
    with pytest.raises(CaseError, match=r"001_cyt02\.dat and 001_CYT2\.dat are one outline"):
        cells.by_cell([Path("001_cyt02.dat"), Path("001_CYT2.dat")])


def test_groups_are_joined_through_pictures_that_are_equal(tmp_path):
    paths = {}
    for name, data in (("a_1", b"x"), ("a_2", b"y"), ("b_1", b"y"), ("b_2", b"z"), ("c_1", b"z"), ("d_1", b"w")):
        paths[name] = [tmp_path / name]
        paths[name][0].write_bytes(data)
    group, twins = cells.joined({name: name[0] for name in paths}, paths)
    assert group == {"a_1": "a", "a_2": "a", "b_1": "a", "b_2": "a", "c_1": "a", "d_1": "d"}
    assert twins == {"a_2", "b_1", "b_2", "c_1"}


def test_sizes_are_odd_that_neither_the_publisher_nor_most_have(tmp_path):
    sizes = {"a": (4, 6), "b": (4, 6), "c": (5, 6), "d": (8, 8), "e": None}
    paths = {}
    for name, size in sizes.items():
        paths[name] = [tmp_path / f"{name}.bmp"]
        paths[name][0].write_bytes(b"" if size is None else bmp(np.zeros((*size, 3), np.uint8)))
    assert cells.odd_sizes(paths, (8, 8)) == ["c"]
    assert cells.odd_sizes(paths, (1, 1)) == ["c", "d"]
    assert cells.odd_sizes({}, (1, 1)) == []


def square(path, left, top, side):
    right, bottom = left + side, top + side
    path.write_text(f"{left},{top}\n{right},{top}\n{right},{bottom}\n{left},{bottom}\n")
    return path


@given(
    cell=st.tuples(*[st.integers(0, 20)] * 2, st.integers(2, 20)),
    nucleus=st.tuples(*[st.integers(0, 20)] * 2, st.integers(2, 20)),
    needs=st.sampled_from(sorted(cells.NEEDS)),
)
def test_a_nucleus_is_cut_to_its_cell_where_that_is_asked_for(tmp_path_factory, cell, nucleus, needs):
    here = tmp_path_factory.mktemp("outlines")
    found = {(1, "cyt"): square(here / "1.dat", *cell), (1, "nuc"): square(here / "2.dat", *nucleus)}
    kept, cut = (cells.draw(found, (50, 50), cells.NEEDS[needs], apart=False, cut=cut) for cut in (False, True))
    whole, inner = (contours.draw(path, (50, 50))[0].onto((50, 50)) for path in found.values())
    outside = bool((inner & ~whole).any())
    assert kept.flags == ("nucleus_outside",) * outside
    assert np.array_equal(kept.maps[0], np.where(inner, 2, whole))
    lost = not (inner & whole).any()
    assert cut.flags == ("contour_dropped",) * lost + ("nucleus_outside",) * outside
    if lost and "nuc" in cells.NEEDS[needs]:
        assert not cut.maps
    else:
        assert np.array_equal(cut.maps[0], whole.astype(np.uint8) + (inner & whole))


def test_a_damaged_cell_is_not_passed_over_where_it_cuts(tmp_path):
    found = {(1, "cyt"): tmp_path / "cell.dat", (1, "nuc"): square(tmp_path / "nucleus.dat", 2, 2, 6)}
    found[1, "cyt"].write_text("2,2\nnan,4\n")
    kept = cells.draw(found, (12, 12), cells.NEEDS["nucleus"], apart=True, cut=False)
    assert kept.flags == ("contour_dropped", "contour_unreadable", "unpaired_contour")
    with pytest.raises(CaseError, match="nan"):
        cells.draw(found, (12, 12), cells.NEEDS["nucleus"], apart=True, cut=True)
    del found[1, "cyt"]
    alone = cells.draw(found, (12, 12), cells.NEEDS["nucleus"], apart=True, cut=True)
    assert np.array_equal(alone.maps[1], kept.maps[1])


def test_where_cells_overlap_a_nucleus_is_seen_through_the_other(tmp_path):
    def save(name, x0, y0, x1, y1):
        path = tmp_path / name
        path.write_text(f"{x0},{y0}\n{x1},{y0}\n{x1},{y1}\n{x0},{y1}\n")
        return path

    found = {
        (1, "cyt"): save("1.dat", 1.5, 1.5, 20.5, 20.5),
        (1, "nuc"): save("2.dat", 14.5, 14.5, 18.5, 18.5),
        (2, "cyt"): save("3.dat", 11.5, 11.5, 27.5, 25.5),
        (2, "nuc"): save("4.dat", 22.5, 20.5, 25.5, 23.5),
    }
    drawn, together = (
        cells.draw(found, (30, 40), cells.NEEDS["both"], apart=apart, cut=False) for apart in (True, False)
    )
    assert (list(drawn.maps), drawn.flags) == ([1, 2], ())
    assert (list(together.maps), together.flags) == ([0], ())
    merged = together.maps[0]
    assert np.array_equal(merged, np.maximum(drawn.maps[1], drawn.maps[2]))
    assert (merged[16, 16], merged[12, 12], merged[22, 24], merged[0, 0]) == (2, 1, 2, 0)
    assert drawn.maps[2][16, 16] == 1
    assert cells.of_task(merged, "cytoplasm").sum() == (merged == 1).sum()
    assert cells.of_task(merged, "cell").dtype == np.uint8


@given(arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 2)))
def test_tasks_divide_a_map(classes):
    cell, cytoplasm, nucleus, both = (cells.of_task(classes, task) for task in ("cell", "cytoplasm", "nucleus", "both"))
    assert np.array_equal(cell, cytoplasm + nucleus)
    assert np.array_equal(both, cytoplasm + 2 * nucleus)
    assert np.array_equal(both, classes)
    assert {one.dtype for one in (cell, cytoplasm, nucleus, both)} == {np.dtype(np.uint8)}


@pytest.mark.parametrize(
    ("needs", "expected"), [("cell", [1, 2]), ("nucleus", [1, 3]), ("cytoplasm", [1]), ("both", [1])]
)
def test_a_cell_takes_part_that_has_what_is_needed(needs, expected, tmp_path):
    names = [(1, "cyt"), (1, "nuc"), (2, "cyt"), (3, "nuc")]
    for number, kind in names:
        (tmp_path / f"{number}{kind}").write_text("2,2\n9,2\n9,9\n2,9\n")
    paths = {key: tmp_path / f"{key[0]}{key[1]}" for key in names}
    drawn = cells.draw(paths, (12, 16), cells.NEEDS[needs], apart=True, cut=False)
    assert list(drawn.maps) == expected
    assert drawn.flags == ("unpaired_contour",)


@pytest.mark.parametrize(
    ("mode", "name", "flags"),
    [
        ("RGB", "a.bmp", ()),
        ("RGB", "a.BMP", ()),
        ("RGB", "a.png", ("name_misleads",)),
        ("L", "a.bmp", ("converted_to_rgb",)),
        ("P", "a.jpg", ("name_misleads", "converted_to_rgb")),
    ],
)
def test_a_picture_is_rgb_whatever_it_is_stored_as(mode, name, flags, tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).convert(mode).save(tmp_path / name, format="BMP")
    found, noted = cells.read_picture(tmp_path / name)
    assert noted == flags
    assert (found.shape, found.dtype) == ((4, 5, 3), np.uint8)
    assert np.array_equal(found, pixels) or mode != "RGB"
    assert images.stored_as(tmp_path / name) == ("BMP", mode)


def test_an_outline_that_is_not_needed_costs_nothing(tmp_path):
    cell, nucleus = tmp_path / "001_cyt01.dat", tmp_path / "001_nuc01.dat"
    cell.write_text("1,1\n8,1\n8,8\n1,8\n")
    nucleus.write_text("nan,3\n")
    outlines = {(1, cells.CELL): cell, (1, cells.NUCLEUS): nucleus}
    drawn = cells.draw(outlines, (10, 12), cells.NEEDS["cell"], apart=False, cut=False)
    assert drawn.maps[0].any()
    assert {"contour_dropped", "contour_unreadable", "unpaired_contour"} == set(drawn.flags)
    with pytest.raises(CaseError, match="line 1"):
        cells.draw(outlines, (10, 12), cells.NEEDS["nucleus"], apart=False, cut=False)
