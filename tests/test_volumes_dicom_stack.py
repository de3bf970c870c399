"""A whole series: its order and its grid, and the ways in which the slices of a series do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from ct_series import BIG, COLUMNS, IMPLICIT, PANCREAS, RLE, ROWS, STANDARD, STEP, hu, slice_at, write_series
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask.errors import CaseError
from imagemask.volumes.dicom import open_stack, upright_image, write_dicom
from imagemask.volumes.geometry import in_plane_spacing, relate, upright
from imagemask.volumes.nifti import open_nifti, read_labels, write_nifti

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "real" / "volumes" / "pancreas"
real_input = pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not here")


def refusal(paths) -> CaseError:
    with pytest.raises(CaseError) as caught:
        open_stack(paths)
    assert caught.value.reason
    return caught.value


def pixels(stack) -> list[np.ndarray]:
    return [np.asarray(image) for image in stack.images]


def place(image, column, row) -> np.ndarray:
    """RAS of a pixel, by the formula of PS3.3 C.7.6.2.1.1 and pydicom's own reading of the file."""
    dataset = pydicom.dcmread(image.path)
    directions = np.array(dataset.ImageOrientationPatient, dtype=float)
    between_rows, between_columns = (float(size) for size in dataset.PixelSpacing)
    first = np.array(dataset.ImagePositionPatient, dtype=float)
    lps = first + directions[:3] * between_columns * column + directions[3:] * between_rows * row
    return lps * (-1, -1, 1)


@settings(settings.get_profile("fixtures reused"), max_examples=40)
@given(
    orientation=st.sampled_from([PANCREAS, STANDARD, (-1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0), (-1, 0, 0, 0, -1, 0)]),
    label_signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    marker=st.tuples(st.integers(0, 4), st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1)),
)
def test_a_marker_in_series_and_label_lands_on_the_predicted_pixel(tmp_path, orientation, label_signs, marker):
    """The label is a NIfTI volume, stored along axes of its own, with the marker at the same place in the patient."""
    number, row, column = marker
    for index in range(5):
        stored = np.full((ROWS, COLUMNS), -1000, dtype=np.int16)
        if index == number:
            stored[row, column] = 3000
        write_dicom(tmp_path / f"{index}.dcm", stored, slice_at(index, orientation=orientation))
    stack = open_stack(list(tmp_path.glob("*.dcm")))
    marked = next(image for image in stack.images if np.asarray(image).max() == 3000)
    where = place(marked, column, row)

    corners = np.array([place(image, c, r) for image in stack.images for c in (0, COLUMNS - 1) for r in (0, ROWS - 1)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    across_x = 0.5 if orientation[0] else 0.75
    sizes = np.array([across_x, 1.25 - across_x, STEP])
    counts = np.rint((high - low) / sizes).astype(int) + 1
    affine = np.diag([*(sizes * label_signs), 1.0])
    affine[:3, 3] = np.where(np.array(label_signs) > 0, low, high)
    label = np.zeros(counts, dtype=np.uint8)
    label[tuple(np.rint(np.abs(where - affine[:3, 3]) / sizes).astype(int))] = 1
    write_nifti(tmp_path / "label.nii.gz", label, affine)

    frame = upright(stack.grid)
    file = open_nifti(tmp_path / "label.nii.gz")
    masks = frame.upright(relate(stack.grid, file.grid).onto_image(read_labels(file)))
    pictures = [np.asarray(upright_image(image, frame)) for image in stack.images]
    rows_from_the_front = round((high[1] - where[1]) / sizes[1])
    columns_from_the_right = round((high[0] - where[0]) / sizes[0])
    wanted = (stack.images.index(marked), rows_from_the_front, columns_from_the_right)
    assert [tuple(at) for at in np.argwhere(np.stack(pictures) == 3000)] == [wanted]
    assert [tuple(at) for at in np.argwhere(masks)] == [wanted]
    assert in_plane_spacing(stack.grid, frame) == (sizes[1], sizes[0])


def test_a_pancreas_series_and_its_label_need_no_flip_but_the_rows(tmp_path):
    # raw-formats.md 2.4: mask_slice_k == label[:, :, k].T, and both are turned upright by reversing the rows.
    stack = open_stack(write_series(tmp_path))
    label = np.arange(COLUMNS * ROWS * 5, dtype=np.uint8).reshape(COLUMNS, ROWS, 5)
    write_nifti(tmp_path / "label.nii", label, stack.grid.affine, gzip=False)
    file = open_nifti(tmp_path / "label.nii")
    relation = relate(stack.grid, file.grid)
    assert relation.flags == ()
    frame = upright(stack.grid)
    masks = frame.upright(relation.onto_image(read_labels(file)))
    for number in range(5):
        assert np.array_equal(masks[number], label[:, :, number].T[::-1])
        assert np.array_equal(np.asarray(upright_image(stack.images[number], frame)), hu(number)[::-1])


def test_the_grid_is_where_simpleitk_puts_it(tmp_path):
    for name, orientation in (("pancreas", PANCREAS), ("standard", STANDARD)):
        paths = write_series(tmp_path / name, orientation=orientation)
        stack = open_stack(paths)
        theirs = SimpleITK.ReadImage([str(image.path) for image in stack.images])
        assert theirs.GetSize() == stack.grid.shape == (COLUMNS, ROWS, 5)
        assert np.array_equal(SimpleITK.GetArrayFromImage(theirs), pixels(stack))
        for index in [(0, 0, 0), (3, 2, 4), (COLUMNS - 1, ROWS - 1, 0)]:
            left, posterior, superior = theirs.TransformIndexToPhysicalPoint(index)
            assert (stack.grid.affine @ (*index, 1))[:3] == pytest.approx((-left, -posterior, superior))


@real_input
def test_the_real_series_lies_where_simpleitk_puts_it():
    files = [path for path in (REAL / "Pancreas-CT").rglob("CT.*") if path.is_file()]
    stack = open_stack(files)
    theirs = SimpleITK.ReadImage([str(image.path) for image in stack.images])
    values = SimpleITK.GetArrayFromImage(theirs)
    assert np.array_equal(values, pixels(stack))
    for index in [(0, 0, 0), (511, 100, 19)]:
        left, posterior, superior = theirs.TransformIndexToPhysicalPoint(index)
        assert (stack.grid.affine @ (*index, 1))[:3] == pytest.approx((-left, -posterior, superior))
    label = open_nifti(next((REAL / "TCIA_pancreas_labels-02-05-2017").glob("*.nii.gz")))
    frame, relation = upright(stack.grid), relate(stack.grid, label.grid)
    assert relation.flags == ("label_reoriented",)
    masks = frame.upright(relation.onto_image(read_labels(label)))
    assert np.flatnonzero(masks.any(axis=(1, 2))).tolist() == [0, 1, 2, 3], "counted from below"
    inside = frame.upright(values.transpose(2, 1, 0))[masks > 0]
    assert np.mean((inside > -50) & (inside < 250)) > 0.9, "the pancreas is not soft tissue"


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, RLE])
def test_slices_are_ordered_by_position_and_not_by_name(tmp_path, syntax):
    paths = write_series(tmp_path, syntax=syntax)
    assert [path.name for path in sorted(paths)] != [path.name for path in paths]
    for order in (paths, paths[::-1], sorted(paths)):
        stack = open_stack(order)
        assert [np.array_equal(found, hu(number)) for number, found in enumerate(pixels(stack))] == [True] * 5
        assert stack.flags == ()


def test_the_other_orientation_reverses_the_order_and_says_so(tmp_path):
    stack = open_stack(write_series(tmp_path, orientation=STANDARD))
    assert np.array_equal(np.stack(pixels(stack)), [hu(number) for number in range(4, -1, -1)])
    assert stack.flags == ("numbered_backwards",)


@pytest.mark.parametrize(("skip", "gap", "where"), [({2}, 1, -2.5), ({1, 2}, 2, 0.0)])
def test_a_missing_slice_is_named_by_its_place(tmp_path, skip, gap, where):
    paths = write_series(tmp_path, range(8), skip=skip)
    error = refusal(paths)
    assert error.code == "missing_slice"
    assert error.reason.startswith(f"missing slices ({gap})")
    assert f"(-100, 120, {where:g})" in error.reason
    assert error.file == paths[min(skip)]


def test_the_ends_may_be_missing(tmp_path):
    assert len(open_stack(write_series(tmp_path, range(2, 7))).images) == 5


def moved(number, distance):
    return {"position": (-100.0, 120.0, -STEP * number + distance)}


@pytest.mark.parametrize(
    ("distance", "flags"), [(0.009, ()), (0.02, ()), (0.03, ("uneven_spacing",)), (0.8, ("uneven_spacing",))]
)
def test_uneven_steps_are_noted(tmp_path, distance, flags):
    paths = write_series(tmp_path, range(6))
    write_dicom(paths[3], hu(3), slice_at(3, **moved(3, distance)))
    assert open_stack(paths).flags == flags


def test_a_gap_that_is_no_multiple_is_uneven_and_not_missing(tmp_path):
    paths = write_series(tmp_path, range(6))
    for number in (4, 5):
        write_dicom(paths[number], hu(number), slice_at(number, **moved(number, -0.5 * STEP)))
    assert open_stack(paths).flags == ("uneven_spacing",)


@pytest.mark.parametrize("same_uid", [True, False])
def test_a_slice_that_is_there_twice_is_dropped(tmp_path, same_uid):
    paths = write_series(tmp_path)
    again = tmp_path / "again.dcm"
    write_dicom(again, hu(2), slice_at(2, elements={} if same_uid else {"SOPInstanceUID": "1.2.3.99"}))
    stack = open_stack([*paths, again])
    assert stack.flags == ("duplicate_dropped",)
    assert np.array_equal(np.stack(pixels(stack)), [hu(number) for number in range(5)])


@pytest.mark.parametrize(("uid", "code"), [(None, "duplicate_uid"), ("1.2.3.99", "duplicate_position")])
def test_two_slices_of_one_place_with_other_pixels_are_refused(tmp_path, uid, code):
    paths = write_series(tmp_path)
    again = tmp_path / "zz.dcm"
    write_dicom(again, hu(2) + 1, slice_at(2, elements={"SOPInstanceUID": uid} if uid else {}))
    error = refusal([*paths, again])
    assert (error.code, error.file) == (code, again)
    assert "(-100, 120, -5)" in error.reason


def test_one_uid_for_two_places_is_refused(tmp_path):
    paths = write_series(tmp_path)
    uid = pydicom.dcmread(paths[0]).SOPInstanceUID
    write_dicom(paths[3], hu(3), slice_at(3, elements={"SOPInstanceUID": uid}))
    assert refusal(paths).code == "duplicate_uid"


def test_blank_uids_are_no_duplicates(tmp_path):
    # The real series of the tests was anonymised like this.
    paths = write_series(tmp_path, elements={"SOPInstanceUID": "", "SeriesInstanceUID": ""})
    assert len(open_stack(paths).images) == 5


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"series": "1.2.3.4"}, "mixed_series"),
        ({"spacing": (0.75, 0.51)}, "mixed_spacing"),
        ({"orientation": STANDARD}, "mixed_orientation"),
        ({"orientation": (0.9962, 0.0872, 0, 0.0872, -0.9962, 0)}, "mixed_orientation"),
        ({"orientation": (1, 0, 0, 0.5, 0.866, 0)}, "bad_orientation"),
        ({"orientation": (2, 0, 0, 0, 1, 0)}, "bad_orientation"),
        ({"spacing": (0.0, 0.5)}, "missing_spacing"),
        ({"elements": {"PixelSpacing": None}}, "missing_spacing"),
        ({"elements": {"ImageOrientationPatient": None}}, "missing_orientation"),
        ({"elements": {"ImagePositionPatient": None}}, "missing_position"),
        ({"elements": {"ImagePositionPatient": ""}}, "missing_position"),
        ({"elements": {"RescaleSlope": 0}}, "bad_rescale"),
        ({"elements": {"PhotometricInterpretation": "MONOCHROME1"}}, "not_monochrome2"),
        ({"elements": {"PixelData": None}}, "truncated_pixels"),
    ],
)
def test_one_slice_that_does_not_fit_is_named(tmp_path, changes, code):
    paths = write_series(tmp_path)
    write_dicom(paths[3], hu(3), slice_at(3, **changes))
    error = refusal(paths)
    assert error.code == code
    assert error.file in ([paths[3]] if not code.startswith("mixed") else paths)


def test_slices_of_two_sizes_are_refused(tmp_path):
    paths = write_series(tmp_path)
    write_dicom(paths[1], hu(1)[:-1], slice_at(1))
    error = refusal(paths)
    assert error.code == "mixed_sizes"
    assert {f"{ROWS}x{COLUMNS}", f"{ROWS - 1}x{COLUMNS}"} <= set(error.reason.split())


def test_a_truncated_slice_shows_before_anything_is_decoded(tmp_path):
    paths = write_series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    error = refusal(paths)
    assert (error.code, error.file) == ("truncated_pixels", paths[2])


def test_no_files_are_no_series():
    assert refusal([]).code == "no_slices"


@pytest.mark.parametrize("orientation", [PANCREAS, STANDARD])
def test_without_positions_the_instance_numbers_decide(tmp_path, orientation):
    paths = write_series(tmp_path, orientation=orientation, elements={"ImagePositionPatient": None})
    stack = open_stack(paths)
    assert stack.flags == ("order_from_instance_number",)
    assert np.array_equal(np.stack(pixels(stack)), [hu(number) for number in range(5)])
    assert stack.grid.spacing == pytest.approx((0.5, 0.75, STEP))
    assert refusal(paths[:2] + paths[3:]).code == "missing_slice"


@pytest.mark.parametrize("gone", [{"InstanceNumber": None}, {"InstanceNumber": 7}, {"SliceThickness": None}])
def test_without_positions_and_numbers_nothing_can_be_ordered(tmp_path, gone):
    paths = write_series(tmp_path, elements={"ImagePositionPatient": None, **gone})
    assert refusal(paths).code == "missing_position"


def test_instance_numbers_do_not_matter_otherwise(tmp_path):
    paths = write_series(tmp_path, elements={"InstanceNumber": None})
    assert open_stack(paths).flags == ()
    write_series(tmp_path, elements={"InstanceNumber": 4})
    stack = open_stack(paths)
    assert stack.flags == ("instance_number_repeated",)
    assert np.array_equal(np.stack(pixels(stack)), [hu(number) for number in range(5)])


def test_rescales_that_differ_are_applied_slice_by_slice(tmp_path):
    paths = write_series(tmp_path)
    write_dicom(paths[1], hu(1) * 2, slice_at(1, slope=0.5, intercept=0.0))
    write_dicom(paths[2], (hu(2) + 1024).astype(np.uint16), slice_at(2, intercept=-1024.0))
    stack = open_stack(paths)
    assert stack.flags == ("rescale_varies",)
    assert np.array_equal(np.stack(pixels(stack)), [hu(number) for number in range(5)])


def test_values_that_can_never_be_air_are_doubted(tmp_path):
    # PixelRepresentation 0 without an intercept: HU that were signed wrap around to 65535 (raw-formats.md, P22).
    stack = open_stack(write_series(tmp_path, elements={"PixelRepresentation": 0}))
    assert stack.flags == ("suspicious_intensity",)


def test_a_gantry_tilt_is_noted_and_kept_in_the_grid(tmp_path):
    paths = write_series(tmp_path)
    for number, path in enumerate(paths):
        position = (-100.0, 120.0 + 0.3 * number, -STEP * number)
        write_dicom(path, hu(number), slice_at(number, position=position))
    stack = open_stack(paths)
    assert stack.flags == ("gantry_tilt",)
    for number, image in enumerate(stack.images):
        assert (stack.grid.affine @ (3, 4, number, 1))[:3] == pytest.approx(place(image, 3, 4))


def test_a_slice_that_is_set_aside_is_noted(tmp_path):
    paths = write_series(tmp_path)
    write_dicom(paths[2], hu(2), slice_at(2, position=(-96.0, 120.0, -STEP * 2)))
    assert open_stack(paths).flags == ("shifted_slices",)


def test_a_scan_that_is_not_axial_is_refused_by_its_grid(tmp_path):
    stack = open_stack([*write_series(tmp_path / "a", [0], orientation=(0, 1, 0, 0, 0, -1))])
    with pytest.raises(CaseError) as caught:
        upright_image(stack.images[0], upright(stack.grid))
    assert caught.value.code == "not_axial"


def test_one_slice_is_a_stack(tmp_path):
    stack = open_stack(write_series(tmp_path, [0]))
    assert (stack.grid.shape, stack.flags) == ((COLUMNS, ROWS, 1), ())
    assert stack.grid.spacing == pytest.approx((0.5, 0.75, STEP))


def test_nothing_is_decoded_but_duplicates(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr("imagemask.volumes.dicom.images._from_file", lambda image: decoded.append(image.path) or hu(0))
    paths = write_series(tmp_path)
    open_stack(paths)
    assert decoded == []
    again = tmp_path / "again.dcm"
    write_dicom(again, hu(2), slice_at(2))
    open_stack([*paths, again])
    assert sorted(decoded) == sorted([paths[2], again])


def test_files_without_the_mark_are_noted(tmp_path):
    paths = write_series(tmp_path, preamble=False)
    assert open_stack(paths).flags == ("no_preamble",)
