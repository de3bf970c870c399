"""One DICOM slice: what is decoded, against SimpleITK and pydicom; and what is refused."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel.testing
import numpy as np
import pydicom
import pytest
import SimpleITK
from ct_series import BIG, DEFLATED, EXPLICIT, IMPLICIT, RLE, hu, slice_at
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask.errors import CaseError
from imagemask.volumes.dicom import open_stack, upright_image, write_dicom
from imagemask.volumes.dicom.header import Tag, read_header
from imagemask.volumes.dicom.images import DicomImage, image_of
from imagemask.volumes.geometry import Frame

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "real" / "volumes" / "pancreas" / "Pancreas-CT"
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
GREY = [
    *(
        f"{name}.dcm"
        for name in (
            "693_J2KI",  # JPEG 2000, signed, 14 of 16 bits, intercept -1024
            "CT_small",
            "J2K_pixelrep_mismatch",
            "JPEG-lossy",
            "JPEG2000",
            "JPEGLSNearLossless_08",
            "JPEGLSNearLossless_16",
            "MR_small",
            "MR_small_RLE",
            "MR_small_bigendian",
            "MR_small_expb",
            "MR_small_implicit",
            "MR_small_jp2klossless",
            "MR_small_jpeg_ls_lossless",
            "MR_small_padded",
            "examples_overlay",
            "image_dfl",
        )
    ),
    "dicomdirtests/77654033/CT2/17106",
    "dicomdirtests/98892003/MR1/15820",
]
PYDICOM_DECODES = [name for name in GREY if "LS" not in name and "jpeg_ls" not in name and "JPEG-lossy" not in name]
COMPRESSED = ["693_J2KI.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG-lossy.dcm"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1-001.dcm"


def image(path: Path) -> DicomImage:
    return image_of(read_header(path))


def refusal(act) -> CaseError:
    with pytest.raises(CaseError) as caught:
        act()
    assert caught.value.reason
    return caught.value


def with_simpleitk(path: Path) -> np.ndarray:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return SimpleITK.GetArrayFromImage(reader.Execute())[0]


def with_pydicom(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files with deliberate oddities
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
    return stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


@pytest.mark.parametrize("name", GREY)
def test_real_slices_decode_as_simpleitk_decodes_them(name):
    found = image(SHIPPED / name)
    assert np.asarray(found).shape == found.shape
    assert np.array_equal(np.asarray(found), with_simpleitk(SHIPPED / name))


@pytest.mark.parametrize("name", PYDICOM_DECODES)
def test_real_slices_decode_as_pydicom_decodes_them(name):
    assert np.array_equal(np.asarray(image(SHIPPED / name)), with_pydicom(SHIPPED / name))


@pytest.mark.parametrize("name", ["0.dcm", "1.dcm"])
def test_the_slices_in_nibabel(name):
    path = Path(nibabel.testing.data_path) / name
    assert np.array_equal(np.asarray(image(path)), with_simpleitk(path))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not here")
def test_the_real_series_decodes_as_both_decode_it():
    for found in open_stack([path for path in REAL.rglob("CT.*") if path.is_file()]).images[::7]:
        assert found.dtype == np.int16
        assert np.array_equal(np.asarray(found), with_simpleitk(found.path))
        assert np.array_equal(np.asarray(found), with_pydicom(found.path))


@settings(settings.get_profile("fixtures reused"), max_examples=80)
@given(
    kind=st.sampled_from(["int16", "uint16", "int8", "uint8"]),
    slope=st.sampled_from([1.0, 2.0, -1.0, 0.5, 1.37]),
    intercept=st.sampled_from([0.0, -1024.0, 0.25]),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE]),
    preamble=st.booleans(),
)
def test_the_rescale_is_applied_exactly_once(tmp_path, kind, slope, intercept, syntax, preamble):
    path = tmp_path / "1.dcm"
    bounds = np.iinfo(kind)
    stored = np.resize(np.array([0, 1, 7, bounds.min, bounds.max], dtype=kind), (9, 11))
    mark = preamble or syntax in {DEFLATED, RLE}  # which say what they are in the meta information
    write_dicom(path, stored, slice_at(0, slope=slope, intercept=intercept, syntax=syntax, preamble=mark))
    found = image(path)
    wanted = stored.astype(np.float64) * slope + intercept
    whole = slope.is_integer() and intercept.is_integer()
    assert found.dtype.kind == ("i" if whole else "f")
    assert found.dtype != np.float64
    assert np.asarray(found).dtype == found.dtype
    assert np.asarray(found) == pytest.approx(wanted, rel=0 if whole else 1e-6, abs=0 if whole else 1e-3)
    if mark:
        assert with_simpleitk(path) == pytest.approx(wanted, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (2, -1024), (0.5, -1024), (1.37, 0.25)])
def test_the_rescale_of_compressed_slices_is_applied_exactly_once(path, compressor, slope, intercept):
    stored = np.random.default_rng(1).integers(0, 4000, (1, 32, 24)).astype(np.uint16)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(SimpleITK.GetImageFromArray(stored))
    dataset = pydicom.dcmread(path)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.save_as(path)
    found = image(path)
    assert found.syntax.startswith("1.2.840.10008.1.2.4.")
    assert np.asarray(found) == pytest.approx(stored[0] * float(slope) + intercept, rel=1e-6)
    assert np.asarray(found).dtype == found.dtype


def test_a_missing_rescale_means_none(path):
    write_dicom(path, hu(3), slice_at(3, elements={"RescaleSlope": None, "RescaleIntercept": None}))
    assert np.array_equal(np.asarray(image(path)), hu(3))


@pytest.mark.parametrize("signed", [True, False])
def test_bits_above_the_stored_ones_are_dropped(path, signed):
    stored = np.array([[0x0FFF, 0x0001], [0x0800, 0x07FF]], dtype=np.uint16)
    littered = stored | 0xA000  # an overlay, as old files keep it
    elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    write_dicom(path, littered, slice_at(0, elements=elements))
    wanted = [[-1, 1], [-2048, 2047]] if signed else [[4095, 1], [2048, 2047]]
    assert np.asarray(image(path)).tolist() == wanted
    assert with_simpleitk(path).tolist() == wanted


def test_arrays_are_made_as_they_are_asked_for(path):
    write_dicom(path, hu(1), slice_at(1))
    found = image(path)
    assert np.asarray(found, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="without making an array"):
        np.asarray(found, copy=False)
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(found))), hu(1))


@pytest.mark.parametrize(
    ("frame", "turned"),
    [
        (Frame((2, 1, 0), (True, False)), lambda pixels: pixels[::-1]),
        (Frame((2, 1, 0), (False, True)), lambda pixels: pixels[:, ::-1]),
        (Frame((2, 0, 1), (False, True)), lambda pixels: pixels.T[:, ::-1]),
    ],
)
def test_a_slice_is_turned_when_it_is_decoded(path, frame, turned):
    write_dicom(path, hu(1), slice_at(1))
    deferred = upright_image(image(path), frame)
    path.rename(path.with_suffix(".away"))
    assert deferred.shape == turned(hu(1)).shape
    path.with_suffix(".away").rename(path)
    assert np.array_equal(np.asarray(deferred), turned(hu(1)))


def test_a_sagittal_series_has_no_axial_slices(path):
    write_dicom(path, hu(1), slice_at(1))
    assert refusal(lambda: upright_image(image(path), Frame((0, 2, 1), (False, False)))).code == "not_axial"


def test_a_header_without_a_preamble_is_read(path):
    for syntax in (EXPLICIT, IMPLICIT, BIG):
        write_dicom(path, hu(4), slice_at(4, syntax=syntax, preamble=False))
        header = read_header(path)
        assert (header.preamble, header.syntax, header.text(Tag.PatientID)) == (False, syntax, "PANCREAS_0001")
        assert np.array_equal(np.asarray(image(path)), hu(4))
    assert read_header(SHIPPED / "ExplVR_BigEndNoMeta.dcm").syntax == BIG
    assert read_header(SHIPPED / "rtstruct.dcm").syntax == IMPLICIT


def test_the_same_slice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_dicom(tmp_path / name, hu(0), slice_at(0, elements={"PatientSex": "F"}))
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert pydicom.__version__.encode() not in content
    assert b"PYDICOM" not in content
    dataset = pydicom.dcmread(tmp_path / "a")
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.SOPInstanceUID.startswith("1.2.826.0.1.3680043.2.1125.")
    assert replace(slice_at(0), instance=2).instance == 2
