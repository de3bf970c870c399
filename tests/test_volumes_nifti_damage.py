"""NIfTI files as they should not be: each damage has its code, and nothing is believed that was not checked."""

from __future__ import annotations

import gzip
import os
import struct
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.testing import data_path

from imagemask.errors import CaseError, UsageError
from imagemask.volumes.geometry import upright
from imagemask.volumes.nifti import open_nifti, planes, read_labels, same_content, write_nifti
from imagemask.volumes.nifti.header import GZIP_RATIO, MAX_BYTES

SHIPPED = Path(data_path)
LAS = np.diag([-0.8, 0.9, 1.5, 1.0])
RANDOM = np.random.default_rng(5)
IMAGE = RANDOM.integers(-1000, 1000, (40, 50, 30)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lung_001.nii.gz"


def refusal(act) -> CaseError:
    with pytest.raises(CaseError) as caught:
        act()
    assert caught.value.reason
    return caught.value


def read_image(path):
    file = open_nifti(path)
    return list(planes(file, upright(file.grid)))


def read_label(path):
    return read_labels(open_nifti(path))


def compare(path):
    file = open_nifti(path)
    return same_content(file, file)


def packed(path, **quirks) -> bytes:
    write_nifti(path, IMAGE, LAS, **quirks)
    return path.read_bytes()


def plain(path, array=IMAGE, **quirks) -> bytearray:
    write_nifti(path, array, LAS, gzip=False, **quirks)
    return bytearray(path.read_bytes())


def with_crc_wrong(data: bytes) -> bytes:
    return data[:-8] + b"abcd" + data[-4:]


def with_length_wrong(data: bytes) -> bytes:
    return data[:-4] + b"abcd"


def with_broken_blocks(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 500 + data[middle + 500 :]


@pytest.mark.parametrize("read", [read_image, read_label, compare])
@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (lambda data: data[: len(data) // 2], {"truncated_gzip"}),
        (lambda data: data[:-1], {"truncated_gzip"}),
        (lambda data: data[:-8], {"truncated_gzip"}),
        (with_crc_wrong, {"bad_crc"}),
        (with_length_wrong, {"bad_crc"}),
        (with_broken_blocks, {"damaged_gzip", "bad_crc"}),
        (lambda data: gzip.compress(gzip.decompress(data)[:-2]), {"short_data"}),
        (lambda data: data + b"garbage after the end", {"damaged_gzip", "truncated_gzip"}),
    ],
    ids=["half", "last byte", "trailer", "crc", "length", "blocks", "short inside", "garbage"],
)
def test_damage_that_shows_while_reading(path, read, damage, codes):
    path.write_bytes(damage(packed(path)))
    error = refusal(lambda: read(path))
    assert error.code in codes
    assert error.file == path


@pytest.mark.parametrize(("damage", "code"), [(with_crc_wrong, "bad_crc"), (lambda data: data[:-8], "truncated_gzip")])
def test_the_end_of_the_file_is_looked_at_after_the_last_slice(path, damage, code):
    # A megabyte after the voxels, so that nobody comes across the checksum by reading ahead.
    path.write_bytes(damage(gzip.compress(plain(path) + RANDOM.bytes(1 << 20))))
    file = open_nifti(path)
    found = planes(file, upright(file.grid))
    assert len([next(found) for _ in range(30)]) == 30
    assert refusal(lambda: next(found)).code == code
    assert refusal(lambda: read_labels(file)).code == code


def test_a_wrong_checksum_shows_before_the_first_slice_where_nothing_streams(path):
    write_nifti(path, IMAGE, LAS[:, [2, 1, 0, 3]])
    path.write_bytes(with_crc_wrong(path.read_bytes()))
    file = open_nifti(path)
    assert refusal(lambda: next(planes(file, upright(file.grid)))).code == "bad_crc"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.nii.gz", b"", "empty_file"),
        ("a.nii", b"", "empty_file"),
        ("a.nii.gz", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(4096), "not_gzip"),
        ("a.nii.gz", b"<html>Not found</html>" * 50, "not_gzip"),
        ("a.nii", b"<html>Not found</html>" * 50, "not_nifti"),
        ("a.nii", b"\x5c\x01", "not_nifti"),
        ("a.nii.gz", gzip.compress(b"<html>Not found</html>" * 50, mtime=0), "not_nifti"),
        ("a.nii.gz", gzip.compress(b"", mtime=0), "not_nifti"),
        ("a.nii.gz", b"\x1f\x8b", "truncated_gzip"),
        ("a.nii.gz", b"\x1f\x8b\x07" + bytes(50), "damaged_gzip"),
        ("a.nii.gz", b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 50, "damaged_gzip"),
        ("a.nii", struct.pack("<i", 348) + bytes(500), "not_nifti"),  # Analyze 7.5
        ("a.nii", struct.pack("<i", 540) + b"n+2\0" + bytes(100), "not_nifti"),
    ],
)
def test_files_that_are_no_nifti(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    error = refusal(lambda: open_nifti(path))
    assert (error.code, error.file) == (code, path)
    assert error.remedy


@pytest.mark.parametrize("name", ["nifti1.hdr", "nifti2.hdr"])
def test_headers_of_a_pair_are_named(name):
    assert "pair" in refusal(lambda: open_nifti(SHIPPED / name)).reason


@pytest.mark.parametrize("name", ["functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "row_major.dconn.nii"])
def test_real_files_of_more_dimensions_are_refused(name):
    assert refusal(lambda: open_nifti(SHIPPED / name)).code == "not_3d"


def test_a_real_file_with_nan_is_refused():
    file = open_nifti(SHIPPED / "resampled_anat_moved.nii")
    error = refusal(lambda: list(planes(file, upright(file.grid))))
    assert (error.code, error.reason) == ("nan_voxels", "slice 0: 74 of 357 voxels are NaN or infinite")


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4, 5), "4x5"), ((7,), "7"), ((3, 4, 5, 2), "3x4x5x2"), ((3, 4, 5, 1, 2), "3x4x5x1x2")],
)
def test_what_is_not_three_dimensional(path, shape, words):
    write_nifti(path, np.zeros(shape, dtype=np.uint8), LAS)
    error = refusal(lambda: open_nifti(path))
    assert error.code == "not_3d"
    assert f"is {words}, not" in error.reason


@pytest.mark.parametrize("dim", [[3, 0, 5, 6], [3, -4, 5, 6], [0, 4, 5, 6], [9, 4, 5, 6], [-1, 4, 5, 6]])
def test_dimensions_that_are_none(path, dim):
    plain(path, fields={"dim": [*dim, 1, 1, 1, 1]})
    assert refusal(lambda: open_nifti(path)).code == "bad_header"


@pytest.mark.parametrize("datatype", [0, 1, 32, 128, 1536, 1792, 2048, 2304, 999])
def test_types_that_are_not_grey_values(path, datatype):
    plain(path, fields={"datatype": datatype})
    error = refusal(lambda: open_nifti(path))
    assert error.code == "voxel_type"
    assert str(datatype) in error.reason


def test_colour_is_refused(path):
    colours = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, LAS).to_filename(path)
    assert refusal(lambda: open_nifti(path)).code == "voxel_type"


@pytest.mark.parametrize(
    "fields", [{"scl_slope": 2.0, "scl_inter": np.nan}, {"vox_offset": 10}, {"vox_offset": np.nan}, {"vox_offset": -1}]
)
def test_numbers_that_a_header_cannot_hold(path, fields):
    plain(path, fields=fields)
    assert refusal(lambda: open_nifti(path)).code == "bad_header"


def test_an_offset_of_zero_means_right_after_the_header(tmp_path):
    plain(tmp_path / "a.nii", fields={"vox_offset": 0})
    assert np.array_equal(read_label(tmp_path / "a.nii"), IMAGE)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("gz", [True, False])
def test_a_header_bomb_is_refused_before_anything_is_allocated(path, version, gz):
    bomb = {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}
    write_nifti(path, IMAGE, LAS, gzip=gz, version=version, fields=bomb)
    error = refusal(lambda: open_nifti(path))
    assert error.code == "header_bomb"
    assert str(32767**3 * 2)[:8] in error.reason


def test_a_large_claim_is_refused_by_what_deflate_can_reach(path):
    # 6 GiB would be a large CT, but not in 100 kB.
    write_nifti(path, IMAGE, LAS, fields={"dim": [3, 2048, 2048, 768, 1, 1, 1, 1]})
    assert MAX_BYTES > 2048 * 2048 * 768 * 2
    assert path.stat().st_size * GZIP_RATIO < 2048 * 2048 * 768 * 2
    assert refusal(lambda: open_nifti(path)).code == "header_bomb"


def test_a_small_wrong_claim_is_short_data(path):
    write_nifti(path, IMAGE, LAS, fields={"dim": [3, 40, 50, 31, 1, 1, 1, 1]})
    assert refusal(lambda: read_label(path)).code == "short_data"


def test_short_uncompressed_data_show_in_the_header_with_both_numbers(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(plain(path)[:-10])
    error = refusal(lambda: open_nifti(path))
    assert (error.code, error.reason) == ("short_data", "expected 120352 bytes, the file has 120342")


def test_an_uncompressed_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "a.nii"
    plain(path)
    file = open_nifti(path)
    os.truncate(path, 60_000)
    assert refusal(lambda: list(planes(file, upright(file.grid)))).code == "short_data"
    path.unlink()
    assert refusal(lambda: read_labels(file)).code == "missing_file"


UNPLACED = {
    "no forms": {"qform_code": 0, "sform_code": 0},
    "only an invalid quaternion": {"sform_code": 0, "fields": {"quatern_b": 2.0, "quatern_c": 2.0}},
}


def bad_affine(path, how):
    affine = LAS.copy()
    if how == "identity":
        affine = np.eye(4)
    elif how == "nan":
        affine[1, 1] = np.nan
    elif how == "singular":
        affine[2, 2] = 0
    write_nifti(path, IMAGE, affine, **UNPLACED.get(how, {}))


@pytest.mark.parametrize("how", ["identity", "nan", "singular", *UNPLACED])
def test_a_file_that_does_not_say_how_the_patient_lies(path, how):
    bad_affine(path, how)
    error = refusal(lambda: open_nifti(path))
    assert (error.code, error.file) == ("bad_affine", path)
    file = open_nifti(path, assume="LAS")
    assert file.flags == ("orientation_assumed",)
    sizes = (1, 1, 1) if how == "identity" else (0.8, 0.9, 1.5)
    if how in {"no forms", "identity"}:
        assert np.allclose(file.grid.affine, np.diag([-sizes[0], *sizes[1:], 1]))
    assert nibabel.aff2axcodes(file.grid.affine) == ("L", "A", "S")
    assert np.array_equal(read_labels(file), IMAGE)


def test_axes_are_assumed_only_where_they_must_be(path):
    packed(path)
    file = open_nifti(path, assume="RPI")
    assert file.flags == ()
    assert np.allclose(file.grid.affine, LAS)


def test_axes_that_are_none_are_the_users_mistake(path):
    bad_affine(path, "no forms")
    with pytest.raises(UsageError, match="three axes"):
        open_nifti(path, assume="LAX")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("codes", ["streamed", "resliced"])
def test_nan_in_an_image_names_the_slice(path, value, dtype, codes):
    image = IMAGE.astype(dtype)
    image[3, 4, 7] = image[5, 4, 7] = value
    write_nifti(path, image, LAS if codes == "streamed" else LAS[:, [2, 1, 0, 3]])
    error = refusal(lambda: read_image(path))
    assert error.code == "nan_voxels"
    wanted = "slice 7: 2 of 2000 voxels" if codes == "streamed" else "slice 3: 1 of 1500 voxels"
    assert wanted in error.reason


def test_values_that_float32_cannot_hold_are_not_made_up(path):
    image = IMAGE.astype(np.float64)
    image[0, 0, 0] = 1e300
    write_nifti(path, image, LAS)
    assert refusal(lambda: read_image(path)).code == "nan_voxels"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_a_label(path, value):
    label = np.zeros((60, 70, 80), dtype=np.float32)
    label[-1, -1, -1] = value
    write_nifti(path, label, LAS)
    error = refusal(lambda: read_label(path))
    assert (error.code, error.file) == ("nan_label", path)


@pytest.mark.parametrize(
    ("values", "words"),
    [([0.5], "0 (59999), 0.5 (1)"), ([0.002], "0 (59999), 0.002 (1)"), ([1, 2.25], "0 (59998), 1 (1), 2.25 (1)")],
)
def test_fractions_in_a_label_are_shown_in_a_histogram(path, values, words):
    label = np.zeros(IMAGE.shape, dtype=np.float32)
    label.flat[: len(values)] = values
    write_nifti(path, label, LAS)
    error = refusal(lambda: read_label(path))
    assert error.code == "label_values"
    assert error.reason.endswith(words)


def test_a_probability_map_is_not_listed_whole(path):
    write_nifti(path, RANDOM.random((20, 20, 20)).astype(np.float32), LAS)
    error = refusal(lambda: read_label(path))
    assert "more" in error.reason
    assert len(error.reason) < 500


def test_a_histogram_holds_what_is_nearly_too_large_for_a_float(path):
    write_nifti(path, np.full((4, 5, 6), 3e38, dtype=np.float32), LAS)
    assert refusal(lambda: read_label(path)).reason == "the label holds values that are not whole numbers: 3e+38 (120)"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_values_that_nobody_declared_are_shown_in_a_histogram(path, dtype):
    label = np.zeros((60, 70, 80), dtype=dtype)
    label[3:5, 4, 5], label[-1, -1, -1] = 1, 9
    write_nifti(path, label, LAS)
    assert set(np.unique(read_labels(open_nifti(path), {1, 9}))) == {0, 1, 9}
    error = refusal(lambda: read_labels(open_nifti(path), {1, 7}))
    assert (error.code, error.file) == ("label_values", path)
    assert error.reason == "the label holds values other than 0, 1, 7: 0 (335997), 1 (2), 9 (1)"


@pytest.mark.parametrize(
    ("held", "declared", "advised"),
    [
        ((1,), (-1, 2), ""),
        ((255,), (1,), "--label-value 255"),
        ((1,), (255,), "--label-value 1"),
        ((1, 255), (255,), ""),
        ((-1,), (1,), ""),
    ],
)
def test_another_value_is_advised_where_there_is_one(path, held, declared, advised):
    label = np.zeros((4, 5, 6), dtype=np.int16)
    label[0, 0, : len(held)] = held
    write_nifti(path, label, LAS)
    error = refusal(lambda: read_labels(open_nifti(path), declared))
    assert error.code == "label_values"
    assert error.remedy.endswith(advised)
    assert ("--label-value" in error.remedy) == bool(advised)


def test_a_damaged_label_is_damaged_whatever_it_holds(path):
    path.write_bytes(with_crc_wrong(packed(path)))
    assert refusal(lambda: read_labels(open_nifti(path), {1})).code == "bad_crc"


def test_a_label_of_huge_numbers_is_no_label(path):
    write_nifti(path, np.full((3, 3, 3), 1e20, dtype=np.float32), LAS)
    assert refusal(lambda: read_label(path)).code == "label_values"


def test_files_that_the_system_refuses(tmp_path):
    assert refusal(lambda: open_nifti(tmp_path / "none.nii.gz")).code == "missing_file"
    (tmp_path / "folder.nii").mkdir()
    error = refusal(lambda: open_nifti(tmp_path / "folder.nii"))
    assert (error.code, "directory" in error.reason) == ("unreadable_file", True)


def test_a_file_without_permission(path, monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise PermissionError(13, "Permission denied")

    packed(path)
    monkeypatch.setattr(Path, "open", refuse)
    error = refusal(lambda: open_nifti(path))
    assert (error.code, "Permission denied" in error.reason) == ("unreadable_file", True)


damages = st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


@settings(settings.get_profile("fixtures reused"), max_examples=200)
@given(damages=damages, cut=st.none() | st.integers(0, 900), version=st.sampled_from([1, 2]), gz=st.booleans())
def test_no_damage_ends_in_anything_but_a_case_error(tmp_path, damages, cut, version, gz):
    path = tmp_path / "a.nii"
    content = plain(path, IMAGE[:5, :6, :4], version=version)
    for place, junk in damages:
        content[place : place + len(junk)] = junk
    content = bytes(content[:cut])
    path.write_bytes(gzip.compress(content, 1) if gz else content)
    with suppress(CaseError):
        file = open_nifti(path)
        read_labels(file)
        list(planes(file, upright(file.grid)))
