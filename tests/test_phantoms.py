"""The synthetic anatomy: deterministic, upright, no mirror of itself in any axis, a target where it was asked for."""

import hashlib
import json
from itertools import combinations, permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import files, phantoms
from imagemask.errors import UsageError
from imagemask.types import PHANTOM

BODIES = [phantoms.chest, phantoms.abdomen]
CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for sides in product((0, 1), repeat=3)
]
bodies = st.sampled_from(BODIES)
shapes = st.tuples(st.integers(5, 24), st.integers(32, 96), st.integers(32, 96))
seeds = st.tuples(st.integers(0, 10**6), st.integers(0, 200))


def painted(body):
    planes = [body.plane(index) for index in range(body.shape[0])]
    return np.stack([image for image, _ in planes]), np.stack([mask for _, mask in planes])


@pytest.fixture(scope="module", params=BODIES, ids=lambda body: body.__name__)
def patient(request):
    """Image and mask (slices, rows, columns) of one patient."""
    return painted(request.param((20, 96, 96), seed=(3, 1)))


@settings(deadline=None, max_examples=40)
@given(make=bodies, shape=shapes, seed=seeds)
def test_the_target_fills_its_planes_and_no_other(make, shape, seed):
    body = make(shape, seed=seed)
    filled = [index for index in range(shape[0]) if body.plane(index)[1].any()]
    assert filled == list(range(body.target.first, body.target.last + 1))


@settings(deadline=None)
@given(make=bodies, slices=st.integers(10, 400), seed=seeds)
def test_a_tenth_to_two_fifths_of_the_slices_have_a_target(make, slices, seed):
    target = make((slices, 64, 64), seed=seed).target
    assert 0.1 <= (target.last - target.first + 1) / slices <= 0.4


@settings(deadline=None)
@given(make=bodies, slices=st.integers(5, 60), planes=st.integers(1, 60), seed=seeds)
def test_as_many_planes_as_asked_for(make, slices, planes, seed):
    target = make((slices, 64, 64), seed=seed, planes=planes).target
    assert target.last - target.first + 1 == min(planes, slices)
    assert 0 <= target.first <= target.last < slices


@settings(deadline=None, max_examples=20)
@given(make=bodies, shape=shapes, seed=seeds)
def test_pixels_are_hounsfield_units_with_padding_outside_the_circle(make, shape, seed):
    image, mask = make(shape, seed=seed).plane(shape[0] // 2)
    assert image.dtype == np.int16
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    assert image.min() >= phantoms.PADDING
    assert image.max() < 3071
    assert {int(image[row, column]) for row, column in product((0, -1), repeat=2)} == {phantoms.PADDING}


def test_the_target_is_soft_tissue(patient):
    image, mask = patient
    inside = image[mask > 0]
    assert inside.min() > -50
    assert inside.max() < 250


@pytest.mark.parametrize("axes", [axes for count in (1, 2, 3) for axes in combinations(range(3), count)])
def test_no_flip_is_the_patient_itself(patient, axes):
    image, mask = patient
    smooth = np.where(np.abs(image) > 60, image, 0)
    assert (np.abs(np.flip(smooth, axes) - smooth) > 150).mean() > 0.04
    assert not np.array_equal(np.flip(mask, axes), mask)


def test_the_picture_is_upright():
    """Spine at the bottom, liver and the larger lung on the viewer's left, heart on the right."""
    belly, _ = painted(phantoms.abdomen((20, 128, 128), seed=(1, 1)))
    middle = belly[11]
    assert middle[86:94, 60:68].mean() > 300
    assert middle[34:42, 60:68].mean() < 100
    assert middle[50:66, 30:46].mean() > 90
    lungs, _ = painted(phantoms.chest((20, 128, 128), seed=(1, 1)))
    air = (lungs[10] > -950) & (lungs[10] < -700)
    assert air[:, :64].sum() > 1.3 * air[:, 64:].sum()
    assert lungs[7][48:60, 70:78].mean() > 0 > lungs[7][48:60, 36:50].mean()
    assert lungs[1].mean() > lungs[12].mean() + 100, "the liver and the spleen are below the lungs"


def test_only_the_top_plane_is_marked(patient):
    image, _ = patient
    marked = [index for index, plane in enumerate(image) if (plane == phantoms.MARKER_HU).any()]
    assert marked == [len(image) - 1]
    rows, columns = np.nonzero(image[-1] == phantoms.MARKER_HU)
    assert rows.max() < 48
    assert columns.max() < 48


@pytest.mark.parametrize("make", BODIES)
def test_the_same_seed_is_the_same_patient_and_another_is_not(make):
    first, again, other = (make((8, 48, 48), seed=seed).plane(4)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(first, again)
    assert (np.abs(first.astype(int) - other) > 100).mean() > 0.01


def test_planes_are_painted_alone_as_in_order():
    body = phantoms.chest((9, 40, 40), seed=(5,))
    assert np.array_equal(body.plane(6)[0], painted(phantoms.chest((9, 40, 40), seed=(5,)))[0][6])


def test_voxels_are_the_same_on_every_machine():
    """A change here changes every phantom: the golden digests of the build change with it."""
    content = b"".join(part.tobytes() for make in BODIES for part in make((9, 40, 44), seed=(5, 3)).plane(4))
    assert hashlib.sha256(content).hexdigest() == "235e26fd307fabb62f3b30112aed92997b25ee7c2470ad0c8ea4441c4e9b4b37"


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_noise_is_centred_and_as_wide_as_in_a_scan(seed):
    noise = phantoms.noise((128, 128), seed)
    assert abs(noise.mean() + 0.5) < 1
    assert 17 < noise.std() < 20


@pytest.mark.parametrize("codes", CODES)
def test_an_affine_says_where_the_axes_run(codes):
    affine = phantoms.affine_of((7, 5, 6), codes, (0.7, 0.8, 1.5), (-3.0, 4.0, 9.0))
    assert "".join(nib.orientations.aff2axcodes(affine)) == codes


@given(codes=st.sampled_from(CODES), place=st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 5)))
def test_a_voxel_lies_at_one_place_however_it_is_stored(codes, place):
    shape, spacing, origin = (7, 5, 6), (0.7, 0.8, 1.5), (-3.0, 4.0, 9.0)
    stored = np.zeros([shape["SAR".index(nearest)] for nearest in (axis_of(code) for code in codes)])
    phantoms.upright_of(stored, codes)[place] = 1
    index = np.argwhere(stored)[0]
    there = phantoms.affine_of(shape, codes, spacing, origin) @ [*index, 1]
    plane, row, column = place
    right, front, up = (5 - column) * 0.7, (4 - row) * 0.8, plane * 1.5
    assert np.allclose(there[:3], np.add(origin, (right, front, up)))


def axis_of(code):
    return {"I": "S", "P": "A", "L": "R"}.get(code, code)


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LAI", "PSR"])
def test_a_volume_holds_the_planes_in_the_files_order(codes):
    body = phantoms.abdomen((6, 32, 36), seed=(2, 2))
    image, mask = phantoms.volume(body, codes)
    assert image.flags.f_contiguous
    assert mask.flags.f_contiguous
    for index in range(6):
        plane, outline = body.plane(index)
        assert np.array_equal(phantoms.upright_of(image, codes)[index], plane)
        assert np.array_equal(phantoms.upright_of(mask, codes)[index], outline)


def test_an_apple_double_twin_is_what_macos_writes():
    twin = phantoms.apple_double()
    assert twin[:24] == b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
    entries = [[int.from_bytes(twin[at + part : at + part + 4]) for part in (0, 4, 8)] for at in (26, 38)]
    assert int.from_bytes(twin[24:26]) == len(entries)
    assert entries[0][1] == 50, "the data follow the entries"
    assert all(offset + length <= len(twin) for _, offset, length in entries)
    assert files.is_junk("._lung_001.nii.gz")


@pytest.mark.parametrize(("name", "value"), [("patients", 0), ("size", 31), ("slices", 4)])
def test_numbers_out_of_range_are_refused(tmp_path, name, value):
    numbers = {"patients": 1, "size": 32, "slices": 5, name: value}
    with pytest.raises(UsageError, match=f"{value} {name}.*--{name}"):
        phantoms.begin(tmp_path / "raw", **numbers)
    assert not (tmp_path / "raw").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"real")
    with pytest.raises(UsageError, match="not empty"):
        phantoms.begin(tmp_path, patients=1, size=32, slices=5)
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"real"


def test_the_marker_file_says_what_is_there(tmp_path):
    phantoms.finish(tmp_path, "lung-tumor", ids=["b", "a"], sets=(2, 4), faults={"c": "empty_file"})
    assert json.loads((tmp_path / PHANTOM).read_text()) == {
        "source": "lung-tumor",
        "patients": 2,
        "cases": 2,
        "images": 2,
        "masks": 4,
        "ids": ["a", "b"],
        "faults": {"c": "empty_file"},
    }
