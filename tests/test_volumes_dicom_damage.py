"""DICOM files that cannot be trusted: what is cut short, damaged, or no slice of a CT at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from ct_series import BIG, EXPLICIT, IMPLICIT, RLE, hu, slice_at
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames

from imagemask.errors import CaseError, exhausted
from imagemask.volumes.dicom import images, open_stack, write_dicom
from imagemask.volumes.dicom.header import Tag, read_header
from imagemask.volumes.dicom.images import DicomImage, image_of

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
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


def shortened(path: Path, part: float, target: Path) -> None:
    """A sound file whose PixelData element is too short: of uncompressed pixels, or of the code stream."""
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[: int(len(frame) * part) // 2 * 2]])
    else:
        dataset.PixelData = dataset.PixelData[: int(len(dataset.PixelData) * part) // 2 * 2]
    dataset.save_as(target)


def end_of_pixels(path: Path) -> int:
    """The offset of the first byte after the pixels, or after the last fragment of compressed ones."""
    whole, (offset, length) = path.read_bytes(), read_header(path).pixels
    return whole.rindex(b"\xfe\xff\xdd\xe0") if length == 0xFFFFFFFF else offset + length


@pytest.mark.parametrize("missing", [1, 2, 9, 1000, 2000])
@pytest.mark.parametrize("name", [*COMPRESSED, "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_a_file_that_ends_early_is_never_padded(path, name, missing):
    path.write_bytes((SHIPPED / name).read_bytes()[: end_of_pixels(SHIPPED / name) - missing])
    error = refusal(lambda: image(path))
    assert (error.code, error.file) == ("truncated_pixels", path)


@pytest.mark.parametrize("part", [0.99, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"])
def test_uncompressed_pixels_that_are_too_few_are_never_padded(path, name, part):
    # SimpleITK's reader returns such a picture, filled up with whatever was in memory.
    shortened(SHIPPED / name, part, path)
    assert refusal(lambda: np.asarray(image(path))).code == "truncated_pixels"


@pytest.mark.parametrize("part", [0.97, 0.5, 0.1])
@pytest.mark.parametrize("name", COMPRESSED)
def test_a_code_stream_that_ends_early_is_never_padded(path, name, part):
    shortened(SHIPPED / name, part, path)
    error = refusal(lambda: np.asarray(image(path)))
    assert error.code in {"damaged_pixels", "truncated_pixels"}
    assert "0x" not in error.reason, "what ITK says about its memory differs from run to run"


def test_a_real_truncated_file():
    error = refusal(lambda: image(SHIPPED / "MR_truncated.dcm"))
    assert (error.code, error.reason) == ("truncated_pixels", "expected 8192 bytes of pixels, found 8130")


def test_a_file_that_shrinks_after_its_header_was_read(path):
    write_dicom(path, hu(0), slice_at(0))
    found = image(path)
    path.write_bytes(path.read_bytes()[:-2])
    assert refusal(lambda: np.asarray(found)).code == "truncated_pixels"
    path.unlink()
    assert refusal(lambda: np.asarray(found)).code == "missing_file"


def of_syntax(path: Path, syntax: str) -> None:
    """A slice that is said to be compressed in this way."""
    write_dicom(path, hu(0), slice_at(0, syntax=RLE))
    element = b"\x02\x00\x10\x00UI\x14\x00" + RLE.encode() + b"\x00"
    other = syntax.encode() + bytes(len(syntax) % 2)
    path.write_bytes(path.read_bytes().replace(element, element[:6] + bytes([len(other), 0]) + other))


@pytest.mark.parametrize("syntax", ["201", "202", "203"])
def test_a_syntax_that_a_plug_in_would_decode_is_named_with_what_to_install(path, syntax):
    of_syntax(path, f"1.2.840.10008.1.2.4.{syntax}")
    error = refusal(lambda: image(path))
    assert (error.code, error.file) == ("undecodable_syntax", path)
    assert error.reason == f"no decoder is installed for transfer syntax 1.2.840.10008.1.2.4.{syntax}"
    assert error.remedy.startswith("Try: pip install pylibjpeg pylibjpeg-openjpeg; or convert the files to")


@pytest.mark.parametrize("end", ["110", "111", "112", "92", "93", "100", "102", "53", "1"])
def test_for_a_syntax_that_nothing_decodes_nothing_is_to_be_installed(path, end):
    """JPEG XL, several components, MPEG, JPEG of old, nonsense."""
    of_syntax(path, f"1.2.840.10008.1.2.4.{end}")
    error = refusal(lambda: image(path))
    assert (error.code, error.file) == ("undecodable_syntax", path)
    assert error.reason == f"no decoder is known for transfer syntax 1.2.840.10008.1.2.4.{end}"
    assert error.remedy.startswith("Try: convert the files to an uncompressed syntax")


@pytest.mark.parametrize("syntax", ["1.2.3.4.5", "no such thing"])
def test_nor_for_one_that_does_not_exist(path, syntax):
    of_syntax(path, syntax)
    error = refusal(lambda: image(path))
    assert (error.code, "pip" in error.remedy) == ("undecodable_syntax", False)
    assert syntax in error.reason


def test_a_syntax_that_a_plug_in_decodes_is_rescaled_like_the_others(path, monkeypatch):
    # As if SimpleITK could not decode RLE: pydicom can.
    monkeypatch.setattr("imagemask.volumes.dicom.images.SIMPLEITK_DECODES", frozenset())
    write_dicom(path, hu(2), slice_at(2, slope=2.0, intercept=-1024.0, syntax=RLE))
    assert np.array_equal(np.asarray(image(path)), hu(2) * 2 - 1024)
    shortened(path, 0.5, path)
    assert refusal(lambda: np.asarray(image(path))).code == "damaged_pixels"


@pytest.mark.parametrize(
    ("elements", "code", "words"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not_monochrome2", "MONOCHROME1"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "not_monochrome2", "3 samples"),
        ({"PhotometricInterpretation": None}, "not_monochrome2", "no declared kind"),
        ({"NumberOfFrames": 20}, "multi_frame", "20 frames"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "multi_frame", "not supported"),
        ({"RescaleSlope": 0}, "bad_rescale", "RescaleSlope is 0"),
        ({"BitsAllocated": 12}, "pixel_format", "12 bits"),
        ({"BitsStored": 17}, "pixel_format", "17 of 16"),
        ({"HighBit": 11}, "pixel_format", "highest being 11"),
        ({"BitsAllocated": None}, "bad_dicom", "BitsAllocated is missing"),
        ({"Rows": None}, "bad_dicom", "Rows is missing"),
        ({"Columns": 0}, "bad_dicom", "9x0"),
        ({"Rows": 60}, "truncated_pixels", "expected 1320 bytes"),
        ({"PixelData": None}, "truncated_pixels", "no pixels"),
    ],
)
def test_headers_that_are_no_slice_of_a_ct(path, elements, code, words):
    write_dicom(path, hu(0), slice_at(0, elements=elements))
    error = refusal(lambda: image(path))
    assert (error.code, error.file) == (code, path)
    assert words in error.reason


@pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "rtdose.dcm", "examples_ybr_color.dcm"])
def test_real_multi_frame_files(name):
    assert refusal(lambda: image(SHIPPED / name)).code == "multi_frame"


@pytest.mark.parametrize("name", ["SC_rgb_jpeg.dcm", "examples_palette.dcm", "dicomdirtests/77654033/CR1/6154"])
def test_real_pictures_that_are_not_grey(name):
    assert refusal(lambda: image(SHIPPED / name)).code == "not_monochrome2"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"LICENSE\nThis is text" * 20, "not_dicom"),
        (bytes(500), "not_dicom"),
        (b"\x08\x00\x05\x00\x02\x00\x00\x00A ", "not_dicom"),  # begins like DICOM, but has no SOPClassUID
        (
            bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99" + b"not deflated",
            "truncated_pixels",
        ),
        (bytes(128) + b"DICM" + b"\x02\x00\x01\x00OB\x00\x00\x02", "bad_dicom"),
    ],
)
def test_files_that_are_no_dicom(path, content, code):
    path.write_bytes(content)
    error = refusal(lambda: read_header(path))
    assert (error.code, error.file) == (code, path)


def test_a_missing_file(path):
    assert refusal(lambda: read_header(path)).code == "missing_file"


def test_names_in_a_bad_character_set_do_no_harm(path):
    elements = {"PatientID": "PANCREAS_0007", "SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"}
    write_dicom(path, hu(0), slice_at(0, elements=elements))
    content = path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999")
    path.write_bytes(content.replace(b"PANCREAS_0007", b"PANCREAS_\xfc\xe9\xff7"))
    assert read_header(path).text(Tag.PatientID).startswith("PANCREAS_")
    assert np.array_equal(np.asarray(image(path)), hu(0))


@pytest.mark.parametrize("value", ["1.5\\x", "nan", "inf", "1\\2\\3"])
def test_numbers_that_are_none(path, value):
    write_dicom(path, hu(0), slice_at(0))
    padded = value + " " * (len(value) % 2)
    element = b"\x28\x00\x53\x10DS"
    new = element + bytes([len(padded), 0]) + padded.encode()
    path.write_bytes(path.read_bytes().replace(element + b"\x04\x001.0 ", new))
    error = refusal(lambda: image(path))
    assert (error.code, error.reason) == ("bad_dicom", f"RescaleSlope is {value!r}")


def with_pixels(path: Path, value: bytes, *, length: int, syntax: str = RLE) -> None:
    """A slice whose PixelData element is ``value`` to the byte, and declares ``length``."""
    write_dicom(path, hu(0), slice_at(0, syntax=syntax))
    offset = read_header(path).pixels[0]
    path.write_bytes(path.read_bytes()[: offset - 4] + length.to_bytes(4, "little") + value)


ITEM, END, UNDEFINED = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4), 0xFFFFFFFF


@pytest.mark.parametrize(
    ("value", "length", "words"),
    [
        (b"", UNDEFINED, "in item 1"),
        (ITEM + bytes(4), UNDEFINED, "in item 2"),
        (ITEM + bytes(4) + END, UNDEFINED, "no compressed pixels"),
        (ITEM + bytes(4) + ITEM + b"\x08\x00\x00\x00" + bytes(4), UNDEFINED, "in item 2"),
        (ITEM + bytes(4) + b"junk" + bytes(4) + END, UNDEFINED, "in item 2"),
        (ITEM + bytes(4) + ITEM + b"\x08\x00\x00\x00" + bytes(8), 20, "in item 2"),
    ],
)
def test_compressed_pixels_are_walked_to_their_end(path, value, length, words):
    with_pixels(path, value, length=length)
    error = refusal(lambda: image(path))
    assert error.code == "truncated_pixels"
    assert words in error.reason


def test_compressed_pixels_may_declare_their_length(path):
    value = ITEM + bytes(4) + ITEM + b"\x08\x00\x00\x00" + bytes(8)
    with_pixels(path, value, length=len(value))
    assert image(path).shape == hu(0).shape


def test_uncompressed_pixels_must_declare_theirs(path):
    with_pixels(path, hu(0).tobytes(), length=UNDEFINED, syntax=EXPLICIT)
    assert refusal(lambda: image(path)).code == "bad_dicom"


damages = st.lists(st.tuples(st.integers(128, 1100), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)


@settings(settings.get_profile("fixtures reused"), max_examples=300)
@given(damages=damages, cut=st.none() | st.integers(0, 1200), syntax=st.sampled_from([EXPLICIT, IMPLICIT, BIG, RLE]))
def test_no_damage_ends_in_anything_but_a_case_error(tmp_path, damages, cut, syntax):
    path = tmp_path / "1.dcm"
    write_dicom(path, hu(0), slice_at(0, syntax=syntax))
    content = bytearray(path.read_bytes())
    for place, junk in damages:
        content[place : place + len(junk)] = junk
    path.write_bytes(bytes(content[:cut]))
    with suppress(CaseError):
        np.asarray(open_stack([path]).images[0])


PRIVATE = "1.3.12.2.1107.5.9.1"


def of_private_class(path: Path, *, name: str, part: float = 1) -> None:
    """A file shipped with pydicom, of a SOP class that GDCM refuses to read; of its code stream only a ``part``."""
    dataset = pydicom.dcmread(SHIPPED / name)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = PRIVATE
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: int(len(frame) * part) // 2 * 2]])
    dataset.save_as(path)


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_what_simpleitk_refuses_and_pydicom_decodes_is_sound(path, name):
    of_private_class(path, name=name)
    assert np.array_equal(np.asarray(image(path)), np.asarray(image(SHIPPED / name)))


@settings(settings.get_profile("fixtures reused"), max_examples=20)
@given(part=st.floats(0.01, 0.995), name=st.sampled_from(["693_J2KI.dcm", "MR_small_RLE.dcm"]))
def test_what_simpleitk_refuses_is_never_padded_either(tmp_path, part, name):
    of_private_class(tmp_path / "1.dcm", name=name, part=part)
    assert refusal(lambda: np.asarray(image(tmp_path / "1.dcm"))).code == "damaged_pixels"


@settings(settings.get_profile("fixtures reused"), max_examples=30)
@given(seed=st.integers(0, 999), rows=st.integers(6, 12), columns=st.integers(6, 12), slope=st.sampled_from([1.0, 2.0]))
def test_a_tiny_compressed_picture_is_sound(tmp_path, seed, rows, columns, slope):
    stored = np.random.default_rng(seed).integers(0, 4000, (rows, columns)).astype(np.uint16)
    path = tmp_path / "1.dcm"
    write_dicom(path, stored, slice_at(0, slope=slope, intercept=-1024.0, syntax=RLE))
    assert np.array_equal(np.asarray(image(path)), stored * slope - 1024)


def test_a_run_that_is_too_long_is_damage_that_pydicom_only_remarks_on(path):
    of_private_class(path, name="MR_small_RLE.dcm")
    dataset = pydicom.dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    second = int.from_bytes(frame[8:12], "little")  # the offset of the second segment, and two zeros before its runs
    dataset.PixelData = encapsulate([frame[:second] + b"\xff\x00" + frame[second:]])
    dataset.save_as(path)
    error = refusal(lambda: np.asarray(image(path)))
    assert (error.code, error.file) == ("damaged_pixels", path)
    assert "GDCM" in error.reason, "the words of the decoder that was asked first"


def test_a_stream_that_claims_more_than_memory_is_damaged_and_stops_no_build(tmp_path, monkeypatch):
    def huge(_):
        raise MemoryError

    monkeypatch.setattr(pydicom, "dcmread", huge)
    with pytest.raises(CaseError) as caught:
        images._with_pydicom(SimpleNamespace(path=tmp_path / "1.dcm"))
    assert exhausted(caught.value) == ""
