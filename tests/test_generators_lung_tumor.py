"""MSD Task06_Lung: what is found, how it is paired, and that every voxel lands on the pixel it should."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from ct import (
    CODES,
    MARK,
    REAL,
    SMALL,
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
from imagemask.generators import lung_tumor
from imagemask.generators.phantoms import lung_tumor as lung_phantom
from pydantic import ValidationError

from imagemask import files, manifest, phantoms, registry
from imagemask.cli import main
from imagemask.errors import InputError
from imagemask.volumes import content
from imagemask.volumes.nifti import write_nifti


def write_lung(root, name="lung_001", *, image=None, label=None, suffix=".nii.gz", codes="LAS", **quirks):
    """One case; ``image`` and ``label`` are stored arrays, or the marked ones."""
    image = marked(codes, (1, 2, 3)) if image is None else image
    label = outlined(codes, (1, 2, 3)) if label is None else label
    for folder, array in (("imagesTr", image), ("labelsTr", label)):
        files.make_folder(root / folder)
        write_nifti(root / folder / (name + suffix), array, affine(codes), gzip=suffix.endswith("gz"), **quirks)


def write_list(root, training, test=(), **more):
    entries = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in training]
    content = {"training": entries, "test": [f"./imagesTs/{name}.nii.gz" for name in test], **more}
    (root / "dataset.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def lung(tmp_path_factory):
    """A healthy phantom. Copy it before changing it."""
    raw = tmp_path_factory.mktemp("lung") / "raw"
    lung_tumor.phantom(raw, faults=False, **SMALL)
    return raw


@per_example
@given(place=places, codes=st.sampled_from(CODES), label_codes=st.sampled_from(CODES))
def test_a_lung_voxel_lands_on_its_pixel_in_image_and_mask(tmp_path_factory, place, codes, label_codes):
    root = tmp_path_factory.mktemp("one")
    write_lung(root, image=marked(codes, place), codes=codes)
    label = outlined(label_codes, place)
    write_nifti(root / "labelsTr" / "lung_001.nii.gz", label, affine(label_codes))
    case, slices = only_case(lung_tumor, root)
    assert (case.id, case.patient) == ("lung_001", "lung_001")
    assert_marked(slices, place, feet_first="S" in codes)
    assert ("label_reoriented" in slices[0].flags) == (codes != label_codes)


def test_the_lung_phantom_is_read_as_it_was_painted(lung):
    """Through every quirk: axes, scaling, float labels, plain files."""
    found = read_all(lung_tumor, lung)
    assert sorted(found) == list(found) == sorted(f"lung_{number:03d}" for number in lung_phantom.ORDER[:7])
    for position, number in enumerate(lung_phantom.ORDER[:7]):
        slices = found[f"lung_{number:03d}"]
        shape = (len(slices), 48, 48)
        quirk = lung_phantom._QUIRKS[position] if position < 6 else lung_phantom._Quirk()
        body = phantoms.chest(shape, seed=(4, number), planes=quirk.planes)
        for one in slices:
            image, mask = body.plane(one.index)
            assert np.array_equal(one.image, image)
            assert np.array_equal(one.mask, mask)
            assert one.mask.dtype == np.uint8
            assert one.flags == ()
            assert one.spacing == pytest.approx((0.785, 0.785))


def test_the_lung_phantom_has_the_quirks_of_the_real_source(lung):
    root = lung / "Task06_Lung"
    listed = json.loads((root / "dataset.json").read_text())
    names = [entry["image"] for entry in listed["training"]]
    assert names[:3] == [f"./imagesTr/lung_{number}.nii.gz" for number in ("053", "022", "041")]
    assert names != sorted(names)
    assert (listed["numTraining"], listed["numTest"]) == (7, 2)
    assert listed["test"] == ["./imagesTs/lung_002.nii.gz", "./imagesTs/lung_007.nii.gz"]
    listing = files.walk(lung)
    assert len(listing.junk) == len(listing.files) - 1, "a ._ twin for each file but the marker"
    stored = sorted(path.name for path in (root / "imagesTr").glob("lung*"))
    assert sum(name.endswith(".nii") for name in stored) == 1
    depths = [len(slices) for slices in read_all(lung_tumor, lung).values()]
    assert len(set(depths[:6])) > 3, "cases differ in depth, so a wrong pairing cannot pass"


def test_some_slices_of_each_lung_case_have_a_tumour(lung):
    for slices in read_all(lung_tumor, lung).values():
        assert 0.05 < sum(bool(one.mask.any()) for one in slices) / len(slices) <= 0.45


def test_more_lung_patients_than_are_real_go_on_counting():
    numbers = lung_phantom._numbers(70)
    assert numbers[:63] == list(lung_phantom.ORDER)
    assert numbers[63:] == [97, 98, 99, 100, 101, 102, 103]
    assert not set(numbers) & set(lung_phantom.TESTS)
    assert len(set(lung_phantom.ORDER)) == 63


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_lung_source_is_found_however_it_is_nested(lung, tmp_path, depth):
    raw = tmp_path.joinpath("raw", *["Task06_Lung"] * depth)
    shutil.copytree(lung / "Task06_Lung", raw)
    expected = [case.id for case in lung_tumor.discover(lung, lung_tumor.Options())]
    assert [case.id for case in lung_tumor.discover(tmp_path / "raw", lung_tumor.Options())] == expected


def test_a_deeper_or_a_foreign_folder_is_not_this_source(lung, tmp_path):
    shutil.copytree(lung / "Task06_Lung", tmp_path / "a" / "b" / "c")
    with pytest.raises(InputError, match=r"not recognised. It holds: a/, a/b/.*Accepted: .*imagesTr"):
        lung_tumor.discover(tmp_path, lung_tumor.Options())


def test_two_copies_are_named(lung, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(lung / "Task06_Lung", tmp_path / name)
    with pytest.raises(InputError, match=rf"2 copies.*{tmp_path}/one, {tmp_path}/two.*--raw"):
        lung_tumor.discover(tmp_path, lung_tumor.Options())


@pytest.mark.parametrize(
    ("name", "words"), [("absent", "is not there"), ("file", "is not a folder"), ("empty", "nothing")]
)
def test_what_is_no_folder_of_cases_is_refused(tmp_path, name, words):
    (tmp_path / "file").write_text("")
    files.make_folder(tmp_path / "empty" / "imagesTr")
    with pytest.raises(InputError, match=words if name != "empty" else "not recognised"):
        lung_tumor.discover(tmp_path / name, lung_tumor.Options())


def test_a_copy_behind_a_link_is_not_followed(lung, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "linked").symlink_to(lung / "Task06_Lung")
    with pytest.raises(InputError, match="It holds: linked/"):
        lung_tumor.discover(tmp_path / "raw", lung_tumor.Options())


def test_pairing_does_not_depend_on_times_or_on_the_order_of_the_folder(lung, tmp_path):
    raw = copy_of(tmp_path, lung)
    expected = lung_tumor.discover(raw, lung_tumor.Options())
    paths = sorted((raw / "Task06_Lung").rglob("lung*"), key=lambda path: hash((path.name, path.parent.name[::-1])))
    for age, path in enumerate(paths):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, (10**9 + 7919 * age % 1013, 10**9 + 7919 * age % 1013))
    assert lung_tumor.discover(raw, lung_tumor.Options()) == expected
    for case in expected:
        assert {path.name.split(".")[0] for path in (*case.images, *case.masks)} == {case.id}


def test_what_macos_left_behind_changes_nothing(lung, tmp_path):
    raw = copy_of(tmp_path, lung)
    expected = lung_tumor.discover(raw, lung_tumor.Options())
    for path in files.walk(raw).junk:
        path.unlink()
    assert lung_tumor.discover(raw, lung_tumor.Options()) == expected


def test_a_case_is_as_large_as_its_voxels_not_as_its_file(tmp_path):
    write_lung(tmp_path)
    case, _ = only_case(lung_tumor, tmp_path)
    assert case.bytes == 4 * 7 * 5 * 2 != case.images[0].stat().st_size
    case.images[0].write_bytes(b"not a volume")
    assert next(iter(lung_tumor.discover(tmp_path, lung_tumor.Options()))).bytes == 12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lung_001.nii.gz", "lung_001"),
        ("lung_001.nii", "lung_001"),
        ("LUNG_001.NII.GZ", "lung_001"),
        ("lung-1.nii", "lung_001"),
        ("lung_001_0000.nii.gz", "lung_001"),
        ("lung_1234.nii", "lung_1234"),
        ("patient 7.nii.gz", "patient 7"),
        ("Mu\u0308ller.nii", "M\u00fcller"),
        ("a~b%c\n.nii", "a=7Eb=25c=0A"),
        ("dataset.json", ""),
        ("lung_001.nii.gz.part", ""),
        (".nii", ""),
    ],
)
def test_an_id_is_parsed_from_the_name(name, expected):
    assert lung_tumor._id(name) == expected


def test_an_unknown_name_is_a_case_of_its_own(tmp_path):
    write_lung(tmp_path, "patient 7")
    write_lung(tmp_path, "lung_001_0000")
    assert [case.id for case in lung_tumor.discover(tmp_path, lung_tumor.Options())] == ["lung_001", "patient 7"]
    assert all(isinstance(what, list) for what in read_all(lung_tumor, tmp_path).values())


def test_test_images_are_no_cases(tmp_path):
    write_lung(tmp_path)
    write_nifti(tmp_path / "imagesTr" / "lung_003.nii.gz", marked("LAS", (0, 0, 0)), affine("LAS"))
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "imagesTr" / "lung_003.nii.gz").rename(tmp_path / "imagesTs" / "lung_003.nii.gz")
    assert only_case(lung_tumor, tmp_path)[0].id == "lung_001"


@pytest.mark.parametrize("lost", ["image", "label", "both"])
def test_what_is_missing_is_a_case_that_says_so(tmp_path, lost):
    write_lung(tmp_path)
    write_lung(tmp_path, "lung_003")
    write_list(tmp_path, ["lung_003", "lung_001"])
    paths = {"image": tmp_path / "imagesTr" / "lung_003.nii.gz", "label": tmp_path / "labelsTr" / "lung_003.nii.gz"}
    for kind, path in paths.items():
        if lost in (kind, "both"):
            path.unlink()
    error = failure(lung_tumor, tmp_path)
    assert error.code == ("listed_missing" if lost == "both" else f"missing_{lost}")
    assert error.file == (Path("imagesTr/lung_003.nii.gz") if lost == "both" else paths[lost])
    assert "lung_003" in error.reason
    assert error.remedy


def test_equal_twins_are_noted_and_different_ones_refused(tmp_path):
    write_lung(tmp_path)
    write_lung(tmp_path, suffix=".nii")
    case, slices = only_case(lung_tumor, tmp_path)
    assert [path.name for path in case.images] == ["lung_001.nii", "lung_001.nii.gz"]
    assert "twin_dropped" in slices[0].flags
    write_nifti(tmp_path / "labelsTr" / "lung_001.nii", outlined("LAS", (0, 0, 0)), affine("LAS"), gzip=False)
    error = failure(lung_tumor, tmp_path)
    assert (error.code, error.file) == ("twins_differ", tmp_path / "labelsTr" / "lung_001.nii.gz")


@pytest.mark.parametrize(("content", "flag"), [(None, "dataset_json_missing"), (b"{}", "dataset_json_unreadable")])
def test_without_a_usable_list_the_disk_decides(tmp_path, content, flag):
    write_lung(tmp_path)
    if content is not None:
        (tmp_path / "dataset.json").write_bytes(content)
    case, slices = only_case(lung_tumor, tmp_path)
    assert case.flags == (flag,)
    assert len(slices) == 4


def test_the_list_and_the_disk_are_compared(tmp_path):
    for name in ("lung_001", "lung_003", "lung_004"):
        write_lung(tmp_path, name)
    write_list(tmp_path, ["lung_003", "lung_003", "lung_004"], ["lung_002"])
    flags = {case.id: case.flags for case in lung_tumor.discover(tmp_path, lung_tumor.Options())}
    assert flags == {"lung_001": ("not_listed",), "lung_003": ("listed_twice",), "lung_004": ()}


def test_a_header_without_axes_needs_a_word_from_the_user(tmp_path):
    write_lung(tmp_path, sform_code=0, qform_code=0)
    error = failure(lung_tumor, tmp_path)
    assert (error.code, error.file.name) == ("bad_affine", "lung_001.nii.gz")
    _, slices = only_case(lung_tumor, tmp_path, lung_tumor.Options(assume_orientation="LAS"))
    assert np.argwhere(slices[1].image == MARK).tolist() == [[2, 3]]
    assert "orientation_assumed" in slices[0].flags
    _, slices = only_case(lung_tumor, tmp_path, lung_tumor.Options(assume_orientation="RPS"))
    assert np.argwhere(slices[1].mask).tolist() == [[4, 1]]


def test_labels_of_another_value_are_built_where_that_is_said(tmp_path):
    write_lung(tmp_path)
    _, expected = only_case(lung_tumor, tmp_path)
    for value in (2, 255):
        write_lung(tmp_path, label=outlined("LAS", (1, 2, 3)) * np.uint8(value))
        assert failure(lung_tumor, tmp_path).code == "label_values"
        assert failure(lung_tumor, tmp_path, lung_tumor.Options(label_value=3)).code == "label_values"
        _, slices = only_case(lung_tumor, tmp_path, lung_tumor.Options(label_value=value))
        assert [piece.mask.tolist() for piece in slices] == [(piece.mask * value).tolist() for piece in expected]


@pytest.mark.parametrize("generator", ["lung-tumor", "pancreas"])
def test_what_is_built_of_such_labels_says_so(tmp_path, generator):
    registry.load(generator).phantom(tmp_path / "raw", patients=2, size=32, slices=12, seed=3, faults=False)
    for path in (tmp_path / "raw").rglob("*.nii*"):
        if "label" in f"{path.parent.name}{path.name}" and not path.name.startswith("._"):
            file = nib.load(path)
            stored = np.asarray(file.dataobj).astype(np.uint8) * np.uint8(255)
            nib.save(nib.Nifti1Image(stored, file.affine, dtype=np.uint8), path)
    words = ["build", generator, "--raw", str(tmp_path / "raw"), "--out"]
    done = CliRunner().invoke(main, [*words, str(tmp_path / "without")])
    assert done.exit_code == 4
    assert "label_values" in done.stderr
    done = CliRunner().invoke(main, [*words, str(tmp_path / "with"), "--label-value", "255"])
    assert done.exit_code == 0, done.stderr
    (label,) = manifest.read_dataset(tmp_path / "with")["labels"]
    assert (label["source_value"], label["mask_value"]) == (255, 255)


def test_voxels_that_are_no_number_are_filled_where_a_value_is_given(tmp_path):
    image = marked("LAS", (1, 2, 3)).astype(np.float32)
    image[0, 0, 1], image[1, 2, 2] = np.nan, -np.inf
    write_lung(tmp_path, image=image)
    assert failure(lung_tumor, tmp_path).code == "nan_voxels"
    _, slices = only_case(lung_tumor, tmp_path, lung_tumor.Options(nan_fill=-750.5))
    assert ["nan_filled" in piece.flags for piece in slices] == [False, True, True, False]
    assert [float(piece.image.min()) for piece in slices] == [-500, -750.5, -750.5, -500]
    assert sum(int((piece.image == -750.5).sum()) for piece in slices) == 2
    for wrong in (np.nan, np.inf, 1e300):
        with pytest.raises(ValidationError, match="nan_fill"):
            lung_tumor.Options(nan_fill=wrong)


def test_what_is_filled_does_not_pass_for_air(tmp_path):
    image = np.full(marked("LAS", (1, 2, 3)).shape, 40, np.float32)
    image[0, 0, 1], image[..., 2] = np.nan, np.nan
    write_lung(tmp_path, image=image)
    _, slices = only_case(lung_tumor, tmp_path, lung_tumor.Options(nan_fill=-1000))
    assert [piece.image.min() for piece in slices] == [40, -1000, -1000, 40]
    assert all("suspicious_intensity" in piece.flags for piece in slices)


def test_a_label_on_another_grid_is_named(tmp_path):
    write_lung(tmp_path)
    path = tmp_path / "labelsTr" / "lung_001.nii.gz"
    write_nifti(path, outlined("LAS", (1, 2, 3)), affine("LAS", spacing=(0.7, 0.8, 3.0)))
    error = failure(lung_tumor, tmp_path)
    assert (error.code, error.file) == ("grid_mismatch", path)
    assert "1.5 mm" in error.reason
    assert "3 mm" in error.reason


def test_an_oblique_image_is_named(tmp_path):
    write_lung(tmp_path)
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    path = tmp_path / "imagesTr" / "lung_001.nii.gz"
    write_nifti(path, marked("LAS", (1, 2, 3)), turn @ affine("LAS"))
    error = failure(lung_tumor, tmp_path)
    assert (error.code, error.file) == ("oblique", path)


def test_pictures_that_are_not_in_hounsfield_units_are_flagged(tmp_path):
    write_lung(tmp_path, image=np.maximum(marked("LAS", (1, 2, 3)), 0))
    assert {one.flags for one in only_case(lung_tumor, tmp_path)[1]} == {("suspicious_intensity",)}
    write_lung(tmp_path, image=np.full_like(marked("LAS", (1, 2, 3)), -1024))
    assert {one.flags for one in only_case(lung_tumor, tmp_path)[1]} == {("suspicious_intensity",)}


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_a_slice_with_air_anywhere_is_in_hounsfield_units(axes):
    """Be it in a few columns or rows alone, between those that are looked at first."""
    slices = np.zeros((2, 40, 40), np.int16)
    slices[0, 3, 35:], slices[1, 3, 35:] = -1, 40
    slices[0, 8], slices[1, 8] = 40, 7
    air, none = (content.doubts(one.transpose(axes)) for one in slices)
    assert (air, none) == ((), ("suspicious_intensity",))


def test_a_label_without_a_tumour_is_flagged_and_read(tmp_path):
    write_lung(tmp_path, label=np.zeros((5, 7, 4), np.uint8))
    assert all("empty_label" in one.flags for one in only_case(lung_tumor, tmp_path)[1])


@real_input
def test_a_real_ct_comes_out_upright_with_its_spleen_low_on_the_right():
    case, slices = only_case(lung_tumor, REAL / "lung-tumor")
    assert (case.id, case.flags, len(slices)) == ("lung_001", ("dataset_json_missing",), 30)
    assert_spleen_on_the_viewers_right(slices)


def assert_spleen_on_the_viewers_right(slices):
    rows, columns = np.nonzero(np.sum([one.mask for one in slices], axis=0))
    height, width = slices[0].image.shape
    assert rows.mean() > 0.5 * height
    assert columns.mean() > 0.55 * width
    inside = np.concatenate([np.asarray(one.image)[one.mask > 0] for one in slices])
    assert ((inside > -50) & (inside < 250)).mean() > 0.95
