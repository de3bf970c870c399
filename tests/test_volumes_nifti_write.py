"""Labels and values on the grid of an image: whatever its header says of its place, theirs says the same."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK
from ct import CODES
from hypothesis import given
from hypothesis import strategies as st

from imagemask import phantoms
from imagemask.errors import CaseError
from imagemask.volumes.geometry import Grid
from imagemask.volumes.nifti import open_nifti, read_labels, write_labels, write_nifti, write_values

SHAPE = (3, 4, 5)
KEPT = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "pixdim")
TILTED = np.array([[0.7, 0.02, 0, 10], [-0.02, 0.8, 0.1, 20], [0, -0.1, 1.5, -30], [0, 0, 0, 1]])


def labels_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


@given(
    st.sampled_from(CODES),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([(), (1,), (1, 1)]),
    st.tuples(st.integers(0, 4), st.integers(1, 4)),
)
def test_the_header_of_the_image_is_kept(tmp_path_factory, codes, version, big_endian, more, form_codes):
    here = tmp_path_factory.mktemp("a")
    affine = phantoms.affine_of(SHAPE, codes, (0.7, 0.8, 1.5), (-30, 40, 9))
    shape = [SHAPE[phantoms._AXIS[code]] for code in codes]
    image = np.zeros((*shape, *more), np.int16)
    options = {"version": version, "big_endian": big_endian, "qform_code": form_codes[0], "sform_code": form_codes[1]}
    more_fields = {"cal_max": 5, "descrip": b"an image", "intent_code": 5, "intent_p1": 3}
    write_nifti(here / "image.nii", image, affine, gzip=False, slope=0.5, inter=-9, fields=more_fields, **options)
    labels = labels_of(shape)
    write_labels(here / "labels.nii.gz", labels, like=open_nifti(here / "image.nii"))
    one, other = nibabel.load(here / "image.nii"), nibabel.load(here / "labels.nii.gz")
    assert one.shape == other.shape
    assert type(one) is type(other)
    assert np.array_equal(one.affine, other.affine)
    for name in (*KEPT, "xyzt_units"):
        assert np.array_equal(one.header[name], other.header[name]), name
    assert other.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(other.dataobj).reshape(shape), labels)
    assert [int(other.header[name]) for name in ("intent_code", "intent_p1", "cal_max")] == [1002, 0, 0]
    assert not bytes(other.header["descrip"]).strip(b"\0")
    again = open_nifti(here / "labels.nii.gz")
    assert np.array_equal(read_labels(again), labels)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_values_may_be_several_a_voxel(tmp_path, name):
    write_nifti(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16), TILTED)
    values = np.random.default_rng(0).random((*SHAPE, 3), np.float32)
    write_values(tmp_path / name, values, like=open_nifti(tmp_path / "image.nii.gz"))
    found = nibabel.load(tmp_path / name)
    assert found.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(found.dataobj), values)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize("codes", CODES[::5])
def test_a_grid_of_another_format_becomes_scanner_coordinates(tmp_path, codes):
    affine = phantoms.affine_of(SHAPE, codes, (0.7, 0.8, 1.5), (-30, 40, 9))
    labels = labels_of([SHAPE[phantoms._AXIS[code]] for code in codes])
    write_labels(tmp_path / "a.nii.gz", labels, like=Grid(labels.shape, affine))
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, labels)
    corner = np.array(image.TransformIndexToPhysicalPoint([size - 1 for size in labels.shape]))
    np.testing.assert_allclose(corner * [-1, -1, 1], (affine @ [*np.subtract(labels.shape, 1), 1])[:3], atol=1e-4)
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert [int(header[name]) for name in ("sform_code", "qform_code")] == [1, 1]
    assert open_nifti(tmp_path / "a.nii.gz").flags == ()


def test_a_sheared_grid_has_no_qform(tmp_path):
    write_labels(tmp_path / "a.nii.gz", labels_of(SHAPE), like=Grid(SHAPE, TILTED))
    found = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(found.affine, TILTED, atol=1e-5)
    assert int(found.header["qform_code"]) == 0
    assert open_nifti(tmp_path / "a.nii.gz").flags == ()


def test_the_same_labels_are_the_same_bytes(tmp_path):
    write_nifti(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16), TILTED)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(tmp_path / name, labels_of(SHAPE), like=open_nifti(tmp_path / "image.nii.gz"))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:4] == (348).to_bytes(4, "little")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    write_nifti(tmp_path / "image.nii", np.zeros(SHAPE, np.int16), TILTED, gzip=False)
    file = open_nifti(tmp_path / "image.nii")
    with pytest.raises(FileNotFoundError):
        write_labels(tmp_path / "nowhere" / "a.nii", labels_of(SHAPE), like=file)
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(IsADirectoryError):
        write_labels(tmp_path / "b.nii", labels_of(SHAPE), like=file)
    (tmp_path / "image.nii").unlink()
    with pytest.raises(CaseError) as caught:
        write_labels(tmp_path / "a.nii", labels_of(SHAPE), like=file)
    assert caught.value.code == "missing_file"
    assert [path.name for path in tmp_path.iterdir()] == ["b.nii"]
