"""NIH Pancreas-CT: what is found, how it is paired, and that every voxel lands on the pixel it should."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ct import (
    CODES,
    ORIGIN,
    REAL,
    SHAPE,
    SMALL,
    SPACING,
    affine,
    assert_marked,
    copy_of,
    failure,
    marked,
    only_case,
    outlined,
    per_example,
    places,
    read_all,
    real_input,
)
from hypothesis import given
from hypothesis import strategies as st
from imagemask.generators import pancreas
from imagemask.generators.phantoms import pancreas as pancreas_phantom

from imagemask import build, files, manifest, phantoms, registry
from imagemask.build import How
from imagemask.errors import CaseError, InputError
from imagemask.volumes.dicom import DicomSlice, write_dicom
from imagemask.volumes.dicom.images import DicomImage
from imagemask.volumes.nifti import write_nifti


def write_series(folder, image=None, *, towards="LA", drop=(), names=None, patient="PANCREAS_0001", **header):
    """A series of an upright (slices, rows, columns) image. ``towards``: where columns and rows of its files run."""
    image = marked("SPL", (1, 2, 3)) if image is None else image
    files.make_folder(folder)
    count, rows, columns = image.shape
    x, y = (1 if towards[0] == "L" else -1), (1 if towards[1] == "P" else -1)
    step_x, step_y, step_z = SPACING
    corner = (0 if x > 0 else (columns - 1) * step_x, 0 if y > 0 else (rows - 1) * step_y)
    heights = header.pop("heights", [plane * step_z for plane in range(count)])
    names = names or [f"1-{count - plane}.dcm" for plane in range(count)]
    slope, intercept = header.get("slope", 1.0), header.get("intercept", 0.0)
    for plane in sorted(set(range(count)) - set(drop)):
        stored = ((image[plane][::y, ::x] - intercept) / slope).astype(np.uint16 if intercept < 0 else np.int16)
        place = (ORIGIN[0] + corner[0], ORIGIN[1] + corner[1], ORIGIN[2] + heights[plane])
        head = {"orientation": (x, 0, 0, 0, y, 0), "spacing": (step_y, step_x), "thickness": step_z, **header}
        write_dicom(
            folder / names[plane], stored, DicomSlice(position=place, instance=count - plane, patient=patient, **head)
        )


def write_label(folder, label=None, *, codes="LAI", name="label0001.nii.gz", **quirks):
    files.make_folder(folder)
    label = outlined(codes, (1, 2, 3)) if label is None else label
    write_nifti(folder / name, label, lps_affine(codes), gzip=name.endswith("gz"), **quirks)


def lps_affine(codes, spacing=SPACING):
    """The affine of a label on the grid of ``write_series``, whose corner is ORIGIN in LPS millimetres."""
    right = -(ORIGIN[0] + (SHAPE[2] - 1) * SPACING[0])
    back = -(ORIGIN[1] + (SHAPE[1] - 1) * SPACING[1])
    return affine(codes, spacing=spacing, origin=(right, back, ORIGIN[2]))


@pytest.fixture(scope="module")
def belly(tmp_path_factory):
    """A healthy phantom. Copy it before changing it."""
    raw = tmp_path_factory.mktemp("pancreas") / "raw"
    pancreas.phantom(raw, faults=False, **SMALL)
    return raw


@per_example
@given(
    place=places,
    towards=st.sampled_from(["LA", "LP", "RA", "RP"]),
    codes=st.sampled_from(CODES),
    order=st.permutations(range(SHAPE[0])),
    rescale=st.sampled_from([(1.0, 0.0), (1.0, -1024.0), (2.0, -1000.0)]),
)
def test_a_pancreas_voxel_lands_on_its_pixel_in_image_and_mask(tmp_path_factory, place, towards, codes, order, rescale):
    """Whatever the orientation of the slices, their names' order, the rescale, and the axes of the label."""
    raw = tmp_path_factory.mktemp("one")
    names = [f"{number}.dcm" for number in order]
    slope, intercept = rescale
    image = marked("SPL", place)
    write_series(raw / "any" / "where", image, towards=towards, names=names, slope=slope, intercept=intercept)
    write_label(raw / "labels", outlined(codes, place), codes=codes)
    case, slices = only_case(pancreas, raw)
    assert (case.id, case.patient) == ("PANCREAS_0001", "PANCREAS_0001")
    assert_marked(slices, place, feet_first=towards in ("LP", "RA"))
    ours = towards[0] + towards[1] + ("S" if towards in ("LP", "RA") else "I")
    assert ("label_reoriented" in slices[0].flags) == (codes != ours)
    assert "origin_differs" not in slices[0].flags


def test_the_pancreas_phantom_is_read_as_it_was_painted(belly):
    """Through every quirk: three layouts, either orientation, unsigned pixels, labels in other axes."""
    found = read_all(pancreas, belly)
    numbers = pancreas_phantom._numbers(7)
    assert numbers == [1, 2, 63, 3, 4, 5, 6]
    assert {key: what for key, what in found.items() if isinstance(what, str)} == {
        "PANCREAS_0025": "missing_image",
        "PANCREAS_0070": "missing_image",
    }
    for position, number in enumerate(numbers):
        slices = found[f"PANCREAS_{number:04d}"]
        count = len(slices)
        body = phantoms.abdomen((count, 48, 48), seed=(4, number))
        for one in slices:
            image, mask = body.plane(one.index if position == 2 else count - 1 - one.index)
            assert np.array_equal(np.asarray(one.image), image)
            assert np.array_equal(one.mask, mask)
            assert one.spacing == pytest.approx((7.5, 7.5))


def test_the_pancreas_phantom_has_the_quirks_of_the_real_source(belly):
    cases = {case.id: case for case in pancreas.discover(belly, pancreas.Options())}
    flags = {
        key: {flag for one in pancreas.read(case, pancreas.Options()) for flag in one.flags}
        for key, case in cases.items()
        if case.images
    }
    assert flags == {
        "PANCREAS_0001": set(),
        "PANCREAS_0002": {"label_reoriented"},
        "PANCREAS_0063": {"label_reoriented", "numbered_backwards"},
        "PANCREAS_0003": {"origin_differs"},
        "PANCREAS_0004": set(),
        "PANCREAS_0005": set(),
        "PANCREAS_0006": set(),
    }
    assert {key: case.flags for key, case in cases.items() if case.flags} == {"PANCREAS_0003": ("patient_from_folder",)}
    folders = {key: case.images[0].relative_to(belly).parts[0] for key, case in cases.items() if case.images}
    assert len(set(folders.values())) > 3
    assert sum(len(case.images) > 0 for case in cases.values()) == 7
    assert len(list((belly / pancreas_phantom.LABELS).iterdir())) == 9
    assert {path.suffix for case in cases.values() for path in case.masks} == {".gz", ".nii"}
    assert len(list(belly.rglob("LICENSE"))) == 7
    table = (belly / "metadata.csv").read_text().splitlines()
    assert len(table) == 8
    for line in table[1:]:
        assert (belly / line.split(",")[-1]).is_dir()


def test_withdrawn_cases_are_yielded_for_the_build_to_exclude(belly):
    excluded = registry.source("pancreas").excluded
    ids = {case.id for case in pancreas.discover(belly, pancreas.Options())}
    assert set(excluded) == {"PANCREAS_0025", "PANCREAS_0070"} <= ids
    for case in pancreas.discover(belly, pancreas.Options()):
        assert {path.name[:9] for path in case.masks} == {f"label{case.id[-4:]}"}


def test_one_patient_has_no_withdrawn_neighbours(tmp_path):
    pancreas.phantom(tmp_path / "raw", faults=False, **{**SMALL, "patients": 1})
    assert only_case(pancreas, tmp_path / "raw")[0].id == "PANCREAS_0001"


def test_series_and_labels_are_paired_by_name_whatever_their_times(belly, tmp_path):
    raw = copy_of(tmp_path, belly)
    expected = pancreas.discover(raw, pancreas.Options())
    for age, path in enumerate(sorted(raw.rglob("*.*"), key=lambda path: path.name[::-1])):
        os.utime(path, (10**9 + 7919 * age % 1013, 10**9 + 7919 * age % 1013))
    assert pancreas.discover(raw, pancreas.Options()) == expected


def test_a_dropped_slice_is_never_decoded(tmp_path):
    write_series(tmp_path / "series")
    write_label(tmp_path)
    _, slices = only_case(pancreas, tmp_path)
    shutil.rmtree(tmp_path / "series")
    empty = [one for one in slices if not one.mask.any()]
    assert len(empty) == 3
    for one in empty:
        assert one.image.shape == one.mask.shape == SHAPE[1:]
        with pytest.raises(CaseError) as caught:
            np.asarray(one.image)
        assert caught.value.file == one.source
    (kept,) = (one for one in slices if one.mask.any())
    assert np.asarray(kept.image).shape == SHAPE[1:], "what the content check decoded is not decoded again"


@pytest.mark.parametrize("keep_empty", [False, True])
def test_a_build_decodes_each_slice_that_it_writes_once_and_no_other(belly, tmp_path, monkeypatch, keep_empty):
    real, decoded = DicomImage.__array__, []

    def counted(image, *args, **kwargs):
        decoded.append(image.path.relative_to(belly).as_posix())
        return real(image, *args, **kwargs)

    monkeypatch.setattr(DicomImage, "__array__", counted)
    job = build.prepare("pancreas", raw=belly, out=tmp_path, recipe={"keep_empty": keep_empty}, options={})
    counts = build.run(job, How(workers=1), started=lambda _: None, progress=lambda _: None).merged.counts
    assert sorted(decoded) == sorted(manifest.read(tmp_path)["source"])
    assert len(decoded) == counts.pairs == (counts.slices_read if keep_empty else counts.slices_kept)
    assert bool(counts.slices_empty) != keep_empty


def test_a_slice_knows_its_file(tmp_path):
    write_series(tmp_path / "series", names=["d.dcm", "a.dcm", "c.dcm", "b.dcm"])
    write_label(tmp_path)
    _, slices = only_case(pancreas, tmp_path)
    assert [one.source.name for one in slices] == ["b.dcm", "c.dcm", "a.dcm", "d.dcm"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("PANCREAS_0001/11-24-2015-PANCREAS0001-Pancreas-18957/Pancreas-99667", "PANCREAS_0001"),
        ("Pancreas-CT/PANCREAS_0012/x/Pancreas-9966", "PANCREAS_0012"),
        ("manifest-1599750808610/Pancreas-CT/PANCREAS-0007", "PANCREAS_0007"),
        ("pancreas_0003/x", "PANCREAS_0003"),
        ("Pancreas_0003/x", "PANCREAS_0003"),
        ("Pancreas0003", "PANCREAS_0003"),
        ("pancreas-0003", "PANCREAS_0003"),
        ("Pancreas-0003", ""),
        ("1.2.826.0.1/Pancreas-9966", ""),
        ("Pancreas-CT", ""),
        (".", ""),
    ],
)
def test_a_patient_is_parsed_from_the_outermost_folder_of_that_name(path, expected):
    assert pancreas._folder_id(Path("raw"), Path("raw") / path) == expected


@pytest.mark.parametrize("folder", ["PANCREAS_0001/study/series", "1.2.3", "."])
def test_any_layout_will_do(tmp_path, folder):
    raw = tmp_path / "raw"
    write_series(raw / folder)
    write_label(raw / "a" / "b", name="LABEL_1.nii")
    (raw / "LICENSE").write_text("CC BY 3.0")
    (raw / "metadata.csv").write_text("Series UID")
    (raw / "._1-1.dcm").write_bytes(phantoms.apple_double())
    case, slices = only_case(pancreas, raw)
    assert (case.id, len(case.images), len(slices)) == ("PANCREAS_0001", 4, 4)
    assert case.bytes == sum(path.stat().st_size for path in case.images)


def test_a_blank_patient_is_named_by_the_folder(tmp_path):
    write_series(tmp_path / "PANCREAS_0001" / "study" / "Pancreas-1234", patient="")
    write_label(tmp_path)
    case, _ = only_case(pancreas, tmp_path)
    assert (case.id, case.flags) == ("PANCREAS_0001", ("patient_from_folder",))


@pytest.mark.parametrize("name", ["PANCREAS_000{}", "Pancreas_000{}", "pancreas_000{}"])
def test_patients_whose_series_lie_in_folders_of_one_name_are_told_apart(tmp_path, name):
    for number in (1, 2, 3):
        write_series(tmp_path / name.format(number) / "s", patient="", series=f"1.2.{number}")
        write_label(tmp_path, name=f"label000{number}.nii.gz")
    found = read_all(pancreas, tmp_path)
    assert {case: len(slices) for case, slices in found.items()} == {f"PANCREAS_000{number}": 4 for number in (1, 2, 3)}


def test_a_patient_of_another_name_is_a_case_without_a_label(tmp_path):
    write_series(tmp_path / "scan", patient="ANON/7")
    write_label(tmp_path)
    cases = pancreas.discover(tmp_path, pancreas.Options())
    assert [case.id for case in cases] == ["ANON=2F7", "PANCREAS_0001"]
    assert read_all(pancreas, tmp_path) == {"ANON=2F7": "missing_label", "PANCREAS_0001": "missing_image"}


def test_a_patient_who_disagrees_with_the_folder_is_named(tmp_path):
    write_series(tmp_path / "PANCREAS_0001" / "scan", patient="PANCREAS_0002")
    write_label(tmp_path)
    error = failure(pancreas, tmp_path)
    assert error.code == "patient_disagrees"
    assert "PatientID is PANCREAS_0002 in the folder PANCREAS_0001/scan" in error.reason


def test_the_one_series_that_fits_the_label_is_used(tmp_path):
    write_series(tmp_path / "scan")
    write_series(tmp_path / "scout", drop=[3], series="1.2.3")
    write_label(tmp_path)
    case, slices = only_case(pancreas, tmp_path)
    assert case.flags == ("other_series",)
    assert {path.parent.name for path in case.images} == {"scan"}
    assert len(slices) == 4


@pytest.mark.parametrize("drop", [[], [3]])
def test_series_that_the_label_cannot_tell_apart_are_counted(tmp_path, drop):
    write_series(tmp_path / "scan", drop=drop)
    write_series(tmp_path / "again", drop=drop, series="1.2.3")
    write_label(tmp_path)
    error = failure(pancreas, tmp_path)
    count = 4 - len(drop)
    assert error.code == "ambiguous_series"
    assert f"2 series of {count} and {count} slices, its label 4" in error.reason


@pytest.mark.parametrize("label", ["missing", "damaged"])
def test_series_cannot_be_told_apart_without_a_sound_label(tmp_path, label):
    write_series(tmp_path / "scan")
    write_series(tmp_path / "scout", drop=[3], series="1.2.3")
    if label == "damaged":
        (tmp_path / "label0001.nii.gz").write_bytes(b"no volume")
    error = failure(pancreas, tmp_path)
    assert error.code == "ambiguous_series"
    assert "its label none" in error.reason


def test_an_incomplete_copy_is_told_with_both_numbers(tmp_path):
    write_series(tmp_path / "scan", drop=[0])
    write_label(tmp_path)
    error = failure(pancreas, tmp_path)
    assert (error.code, error.file) == ("label_depth", tmp_path / "label0001.nii.gz")
    assert "3 slices, its label 4 (an incomplete copy?)" in error.reason


@pytest.mark.parametrize("codes", ["LAI", "RAS", "SPL"])
def test_the_depth_is_counted_along_the_labels_own_axis(tmp_path, codes):
    write_series(tmp_path / "scan", drop=[0])
    write_label(tmp_path, codes=codes)
    assert "3 slices, its label 4" in failure(pancreas, tmp_path).reason


def test_unevenly_spaced_slices_are_used_where_there_are_as_many_as_the_label_has(tmp_path):
    write_series(tmp_path / "scan", heights=[0, 1.5, 3.0, 5.0])
    write_label(tmp_path)
    _, slices = only_case(pancreas, tmp_path)
    assert "uneven_spacing" in slices[0].flags
    assert np.argwhere(slices[2].mask).tolist() == [[2, 3]]


def test_a_label_that_does_not_say_how_it_lies_is_taken_as_published(tmp_path):
    write_series(tmp_path / "scan")
    write_label(tmp_path, sform_code=0, qform_code=0)
    _, slices = only_case(pancreas, tmp_path)
    assert "orientation_default" in slices[0].flags
    assert "orientation_assumed" not in slices[0].flags
    assert_marked(slices, (1, 2, 3), feet_first=False)
    assert failure(pancreas, tmp_path, pancreas.Options(label_orientation="none")).code == "bad_affine"


def test_another_default_may_be_given(tmp_path):
    write_series(tmp_path / "scan")
    write_label(tmp_path, codes="RPS", sform_code=0, qform_code=0)
    _, slices = only_case(pancreas, tmp_path, pancreas.Options(label_orientation="RPS"))
    assert_marked(slices, (1, 2, 3), feet_first=False)


@pytest.mark.parametrize(
    ("axes", "words"), [((0,), "slices"), ((1,), "rows"), ((2,), "columns"), ((0, 2), "slices and columns")]
)
def test_a_label_that_fits_when_mirrored_is_suspected(tmp_path, axes, words):
    """The header is plausible, and wrong: only the content shows it."""
    place = (0, 1, 1)
    image = np.full(SHAPE, -900, np.int16)
    image[place] = 100
    there = tuple(SHAPE[axis] - 1 - at if axis in axes else at for axis, at in enumerate(place))
    write_series(tmp_path / "scan", image)
    write_label(tmp_path, outlined("LAI", there))
    error = failure(pancreas, tmp_path)
    assert (error.code, error.file) == ("orientation_suspect", tmp_path / "label0001.nii.gz")
    assert f"0% of the sampled label lies on -50 to 250 HU, 100% would with its {words} reversed" in error.reason


def test_a_label_on_something_odd_is_only_flagged(tmp_path):
    write_series(tmp_path / "scan", np.full(SHAPE, -900, np.int16))
    write_label(tmp_path)
    assert "label_off_range" in only_case(pancreas, tmp_path)[1][0].flags


def test_a_label_without_a_pancreas_is_flagged_and_read(tmp_path):
    write_series(tmp_path / "scan")
    write_label(tmp_path, np.zeros((5, 7, 4), np.uint8))
    _, slices = only_case(pancreas, tmp_path)
    assert "empty_label" in slices[0].flags
    assert len(slices) == 4


@pytest.mark.parametrize("alone", [False, True])
def test_an_empty_slice_is_the_fault_of_its_file(tmp_path, alone):
    """Also where it is all that is left of a patient."""
    folder = tmp_path / "PANCREAS_0001" / "scan"
    write_series(folder)
    write_label(tmp_path)
    for path in list(folder.iterdir())[1 if alone else 4 :]:
        path.unlink()
    (broken := sorted(folder.iterdir())[0]).write_bytes(b"")
    error = failure(pancreas, tmp_path)
    assert (error.code, error.file) == ("empty_file", broken)


def test_equal_labels_are_noted_and_different_ones_refused(tmp_path):
    write_series(tmp_path / "scan")
    write_label(tmp_path)
    write_label(tmp_path / "again", name="label0001.nii")
    assert "twin_dropped" in only_case(pancreas, tmp_path)[1][0].flags
    write_label(tmp_path / "again", outlined("LAI", (0, 0, 0)), name="label0001.nii")
    assert failure(pancreas, tmp_path).code == "twins_differ"


def test_a_sagittal_series_is_refused(tmp_path):
    write_series(tmp_path / "scan", np.full((4, 7, 5), 30, np.int16), orientation=(0, 1, 0, 0, 0, -1))
    for index, path in enumerate(sorted((tmp_path / "scan").iterdir())):
        head = DicomSlice(position=(1.5 * index, 0, 0), instance=index, orientation=(0, 1, 0, 0, 0, -1))
        write_dicom(path, np.full((7, 5), 30, np.int16), head)
    write_label(tmp_path, np.zeros((4, 5, 7), np.uint8), codes="LPI")
    assert failure(pancreas, tmp_path).code == "not_axial"


def test_a_folder_without_series_and_labels_is_not_this_source(tmp_path):
    (tmp_path / "raw" / "notes").mkdir(parents=True)
    (tmp_path / "raw" / "notes" / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"not recognised. It holds: notes/, notes/a.txt. Accepted: .*label0001"):
        pancreas.discover(tmp_path / "raw", pancreas.Options())
    with pytest.raises(InputError, match="is not there"):
        pancreas.discover(tmp_path / "absent", pancreas.Options())


@real_input
def test_a_real_series_comes_out_upright_with_the_outline_on_the_pancreas():
    case, slices = only_case(pancreas, REAL / "pancreas")
    assert (case.id, len(slices)) == ("PANCREAS_0001", 20)
    assert case.flags == ("patient_from_folder", "series_from_folder")
    assert [one.index for one in slices if one.mask.any()] == [0, 1, 2, 3]
    rows, columns = np.nonzero(slices[0].mask)
    assert 0.4 < rows.mean() / 512 < 0.6
    assert 0.5 < columns.mean() / 512 < 0.7
    inside = np.concatenate([np.asarray(one.image)[one.mask > 0] for one in slices[:4]])
    assert ((inside > -50) & (inside < 250)).mean() > 0.8
    spine = np.asarray(slices[0].image)[300:340, 230:262]
    assert spine.mean() > 150


@pytest.mark.parametrize(
    ("folder", "patient"),
    [
        *[("PANCREAS_0001", "PANCREAS_0001"), ("Pancreas_0001", "PANCREAS_0001"), ("pancreas0082", "PANCREAS_0082")],
        *[("PANCREAS-1234", "PANCREAS_1234"), ("Pancreas_2020", ""), ("Pancreas-0001", ""), ("Pancreas-CT", "")],
    ],
)
def test_a_folder_names_a_patient_where_its_number_is_one(folder, patient):
    raw = Path("raw")
    assert pancreas._folder_id(raw, raw / folder / "1.dcm") == patient
