"""JPEGs: what is whole, and that they are read as Pillow reads them, by whatever decoder."""

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from imagemask import images
from imagemask.errors import CaseError
from imagemask.images import decoding, jpeg

NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (61, 83, 3), np.uint8), (0, 0), 1.5)
WRITTEN = {
    "colours": {},
    "no subsampling": {"subsampling": 0},
    "half the columns": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "own tables": {"optimize": True, "quality": 30},
    "a comment": {"comment": b"\xff\xd9 is no end here"},
    "a thumbnail": {"exif": b"Exif\0\0" + b"\xff\xd8\xff\xd9" * 9},
}


def encoded(pixels=NOISE, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data):
    """Pixels, or None where Pillow refuses."""
    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))
    except Exception:  # noqa: BLE001  a decoder fed with damaged bytes raises almost anything
        return None


def read(path):
    """Pixels, or None where they are refused with the code of a CaseError."""
    try:
        return images.read(path).pixels
    except CaseError:
        return None


@pytest.fixture
def decoded(monkeypatch):
    """How often OpenCV decoded."""
    calls = []
    really = decoding.by_opencv
    monkeypatch.setattr(decoding, "by_opencv", lambda *a, **b: calls.append(a) or really(*a, **b))
    return calls


@pytest.mark.parametrize("pixels", [NOISE, NOISE[..., 0]], ids=["colours", "grey"])
@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN)
def test_opencv_decodes_what_is_whole_to_what_pillow_makes_of_it(tmp_path, decoded, pixels, options):
    path = tmp_path / "a.jpg"
    for side in (slice(None), slice(1, None), slice(8)):
        data = encoded(pixels[side, side], **options)
        assert jpeg.check(data)
        for more in (b"", b"\0\0 what a camera adds"):
            path.write_bytes(data + more)
            np.testing.assert_array_equal(images.read(path).pixels, by_pillow(data))
    assert len(decoded) == 6


@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN)
def test_what_is_cut_short_is_not_whole(options):
    data = encoded(**options)
    assert not any(jpeg.check(data[:kept]) for kept in range(len(data) - 1))


def test_of_a_plain_jpeg_pillow_is_not_asked(tmp_path, monkeypatch):
    asked = []
    really = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **b: asked.append(a) or really(*a, **b))
    path = tmp_path / "a.jpg"
    plain = {name for name in WRITTEN if name not in ("progressive", "a thumbnail")}
    for name, options in WRITTEN.items():
        for pixels in (NOISE, NOISE[..., 0]):
            path.write_bytes(encoded(pixels, **options))
            found = images.read(path)
            assert (found.kind, found.mode) == ("JPEG", "L" if pixels.ndim == 2 else "RGB")
            assert (found.orientation, found.frames) == (1, 1)
            assert bool(asked) == (name not in plain)
            asked.clear()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_says_how_it_is_to_be_turned_is_not_plain(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(exif=exif.tobytes()))
    assert images.read(path).orientation == orientation


@pytest.mark.parametrize("size", [(0xFFFF, 0xFFFF), (0, 83), (61, 0)], ids=["huge", "no rows", "no columns"])
def test_a_size_that_cannot_be_is_refused_before_anything_is_decoded(tmp_path, decoded, size):
    data = encoded()
    place = data.index(b"\xff\xc0") + 5
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:place] + struct.pack(">HH", *size) + data[place + 4 :])
    with pytest.raises(CaseError) as refused:
        images.read(path)
    assert refused.value.code == ("image_bomb" if all(size) else "damaged_image")
    assert refused.value.file == path
    assert not decoded


def test_a_marker_may_have_filling_before_it():
    data = encoded()
    start = data.index(b"\xff\xdb")
    assert jpeg.check(data[:start] + b"\xff\xff" + data[start:-2] + b"\xff\xff" + data[-2:])


@given(st.binary(max_size=60))
def test_rubbish_is_not_whole_and_ends(rubbish):
    assert jpeg.check(jpeg.SIGNATURE + rubbish.replace(b"\xda", b"")) is None


@pytest.mark.parametrize("adobe", [True, False])
def test_what_a_printer_needs_is_left_to_pillow(tmp_path, decoded, adobe):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).convert("CMYK").save(path, "JPEG")
    data = path.read_bytes()
    if not adobe:
        start = data.index(b"\xff\xee")
        path.write_bytes(data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :])
    np.testing.assert_array_equal(images.read(path).pixels, np.asarray(Image.open(path).convert("RGB")))
    assert not decoded


@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("again", ["all but the mark", "the tables", "the scan"])
def test_a_download_that_was_begun_anew_in_the_middle_is_refused(tmp_path, options, again):
    data = encoded(**options)
    start = {"all but the mark": 2, "the tables": data.index(b"\xff\xc4"), "the scan": data.rindex(b"\xff\xda")}[again]
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: len(data) * 2 // 3] + data[start:])
    if options.get("progressive"):  # scan after scan is what it is made of
        assert (read(path) is None) == (by_pillow(path.read_bytes()) is None)
    else:
        assert read(path) is None


def test_tables_that_make_no_sense_behind_the_last_row_are_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded()[:-2] + b"\xff\xc4\x00\x05\x00\xff\xff\xff\xd9")
    assert read(path) is None


def test_colours_that_were_stored_as_they_are_are_read_so(tmp_path):
    path = tmp_path / "a.jpg"
    data = encoded(keep_rgb=True, quality=100, subsampling=0)
    path.write_bytes(data)
    np.testing.assert_array_equal(images.read(path).pixels, by_pillow(data))
    assert np.abs(images.read(path).pixels.astype(int) - NOISE).max() < 10


@settings(max_examples=300)
@given(st.sampled_from([*WRITTEN]), st.data())
def test_a_damaged_jpeg_is_refused_or_read_as_pillow_reads_it(tmp_path_factory, name, data):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    whole = bytearray(encoded(**WRITTEN[name]))
    places = st.integers(3, len(whole) - 1)
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(places)] = data.draw(st.integers(0, 255))
    kept = data.draw(st.just(len(whole)) | places)
    damaged = bytes(whole[:kept] + whole[data.draw(st.just(len(whole)) | places) :])
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    path.write_bytes(damaged)
    ours, theirs = read(path), by_pillow(damaged)
    if ours is None or theirs is None:
        assert ours is None
        return
    np.testing.assert_array_equal(ours, theirs if theirs.ndim == 2 or theirs.shape[2] == 3 else ours)
