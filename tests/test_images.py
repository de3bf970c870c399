import errno
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image, ImageCms, ImageOps

from imagemask import images
from imagemask.errors import CaseError, exhausted

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
RNG = np.random.default_rng(11)
COLOURS = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8), (9, 9), 0)
GREY = np.ascontiguousarray(COLOURS[..., 0])
DEEP = RNG.integers(0, 65536, (12, 20), dtype=np.uint16)
DEEP_COLOURS = RNG.integers(0, 65536, (12, 20, 3), dtype=np.uint16)
FORMATS = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "progressive": {"format": "JPEG", "progressive": True},
    "BMP": {},
    "TIFF": {},
    "LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
}
OURS = st.one_of(
    nps.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))),
    nps.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
)


def encoded(picture, kind, **options):
    """A picture (array or Pillow image) in a file of a kind, by Pillow."""
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    file = io.BytesIO()
    picture.save(file, **({"format": kind} | FORMATS.get(kind, {}) | options))
    return file.getvalue()


NO_HEADER = struct.pack(">IIBBBBB", 20, 20, 8, 0, 0, 0, 0)
NO_PIXELS = (b"no zlib at all", zlib.compress(bytes(21 * 10)), zlib.compress(b"\x09" * 420))
"""Of a PNG of 20 x 20 in grey: no stream, one that ends too early, one of rows that are filtered in no known way."""


def chunk(name, content):
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(header, pixels):
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def put(tmp_path):
    """Writes bytes to a file whose name says nothing about them."""

    def write(data, name="a file"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refused(call, *args, **options):
    """The code of the CaseError that a call raises; its message names the file."""
    with pytest.raises(CaseError) as caught:
        call(*args, **options)
    if isinstance(args[0], Path):
        assert caught.value.file == args[0]
        assert args[0].name in caught.value.reason
    return caught.value.code


# Images


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("picture", [GREY, COLOURS], ids=["grey", "colours"])
def test_what_a_file_is_its_first_bytes_say(put, kind, picture):
    path = put(encoded(picture, kind), "scan.jpg.png.dat")
    pixels = images.read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == picture.shape
    slack = 40 if "JPEG" in (kind, FORMATS[kind].get("format")) else 0
    assert np.abs(pixels.astype(int) - picture).max() <= slack
    assert images.image_size(path) == picture.shape[:2]
    assert images.read(path).orientation == 1
    assert images.is_jpeg(path) == (slack > 0)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("picture", [DEEP, DEEP_COLOURS], ids=["grey", "colours"])
def test_sixteen_bits_stay_sixteen_bits(put, suffix, picture):
    stored = picture if picture.ndim == 2 else picture[..., ::-1]
    path = put(cv2.imencode(suffix, stored)[1].tobytes())
    np.testing.assert_array_equal(images.read_image(path), picture)
    assert images.read_image(path).dtype == np.uint16


def test_big_endian_sixteen_bits_are_swapped(put):
    values = np.array([[1, 256, 65535]], np.uint16)
    tags = [(256, 4, 3), (257, 4, 1), (258, 3, 16 << 16), (262, 3, 1 << 16), (273, 4, 110), (278, 4, 1), (279, 4, 6)]
    table = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + table + bytes(4)
    path = put(head.ljust(110, b"\0") + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(images.read_image(path), values)
    assert images.read_image(path).dtype == np.dtype("=u2")


TALL = st.tuples(st.sampled_from([1, 2, 9, 31, 32, 33, 65]), st.integers(1, 9), st.just(3))


@given(pixels=TALL.flatmap(lambda shape: nps.arrays(np.uint8, shape)), more=st.binary())
def test_a_bmp_of_24_bits_is_what_pillow_makes_of_it_whichever_row_comes_first(tmp_path_factory, pixels, more):
    path = tmp_path_factory.mktemp("bmp") / "a.bmp"
    upwards = bytearray(encoded(pixels, "BMP"))
    rows = np.frombuffer(upwards, np.uint8)[54:].reshape(len(pixels), -1)  # each filled up to a multiple of 4 bytes
    downwards = upwards[:22] + struct.pack("<i", -len(pixels)) + upwards[26:54] + rows[::-1].tobytes()
    for data in (upwards, downwards):
        path.write_bytes(data + more)
        np.testing.assert_array_equal(images.read_image(path), pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
        path.write_bytes(data[: -rows.shape[1]])
        assert refused(images.read_image, path) == "damaged_image"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_palettes_become_colours(put, kind):
    palette = Image.fromarray(COLOURS).quantize(16)
    np.testing.assert_array_equal(images.read_image(put(encoded(palette, kind))), palette.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white_as_an_image_and_0_and_1_as_a_mask(put, kind):
    bits = GREY > 128
    path = put(encoded(Image.fromarray(bits), kind))
    np.testing.assert_array_equal(images.read_image(path), bits * 255)
    np.testing.assert_array_equal(images.read_mask(path), bits * 1)


def test_adobes_inverted_cmyk_becomes_rgb(put):
    """Pillow writes CMYK JPEGs inverted, with Adobe's marker, as Photoshop does."""
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = images.read_image(put(encoded(flat, "JPEG", quality=100)))
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_alpha_channel_that_hides_nothing_is_dropped(put, mode):
    picture = Image.fromarray(COLOURS).convert(mode)
    pixels = images.read_image(put(encoded(picture, "PNG")))
    np.testing.assert_array_equal(pixels, np.asarray(picture.convert(mode[:-1])))
    picture.putpixel((3, 4), (*picture.getpixel((3, 4))[:-1], 254))
    for read in (images.read_image, images.read_mask):
        assert refused(read, put(encoded(picture, "PNG"))) == "transparent_image"


def test_a_palette_with_transparency_is_refused_only_where_it_is_used(put):
    palette = Image.fromarray(GREY).quantize(8)
    path = put(encoded(palette, "PNG", transparency=3))
    assert refused(images.read_image, path) == "transparent_image"
    np.testing.assert_array_equal(images.read_mask(path), np.asarray(palette))


def test_sixteen_bit_alpha_counts_too(put):
    full = np.dstack([DEEP_COLOURS, np.full((12, 20), 65535, np.uint16)])
    np.testing.assert_array_equal(
        images.read_image(put(cv2.imencode(".png", full)[1].tobytes())), DEEP_COLOURS[..., ::-1]
    )
    full[0, 0, 3] = 255
    assert refused(images.read_image, put(cv2.imencode(".png", full)[1].tobytes())) == "transparent_image"


def test_gamma_and_profiles_are_ignored(put):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(COLOURS, "PNG", icc_profile=profile)
    gamma = struct.pack(">I", 20_000)
    chunk = struct.pack(">I", 4) + b"gAMA" + gamma + struct.pack(">I", zlib.crc32(b"gAMA" + gamma))
    np.testing.assert_array_equal(images.read_image(put(data[:33] + chunk + data[33:])), COLOURS)


SAID = {b"gAMA": struct.pack(">I", 100_000), b"pHYs": bytes(9), b"sRGB": b"\0", b"tIME": bytes(7)}
TOLD = {b"tRNS": bytes(6), b"tEXt": b"Title\0a"}


@given(OURS, st.sampled_from([0, 1, 6, 9]), st.sets(st.sampled_from([*SAID, *TOLD])))
@example(np.zeros((2, 3, 3), np.uint8), 1, {b"tRNS"})
def test_a_png_is_what_pillow_makes_of_it_whatever_else_it_says(tmp_path_factory, array, level, names):
    """Those that are plain OpenCV decodes, which would make an alpha channel of tRNS."""
    data = images.encode_png(array, level=level)
    short = 2 * (array.ndim == 2) or None  # a transparent grey, for a colour
    said = b"".join(chunk(name, (SAID | TOLD)[name][: short if name == b"tRNS" else None]) for name in sorted(names))
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(data[:33] + said + data[33:])
    with Image.open(path) as picture:
        np.testing.assert_array_equal(images.read_image(path), np.asarray(picture))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(put, kind):
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    path = put(encoded(first, kind, save_all=True, append_images=[second]))
    np.testing.assert_array_equal(images.read_image(path), GREY)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_images_of_32_bits_are_refused(put, kind):
    path = put(encoded(Image.fromarray(GREY.astype(kind)), "TIFF"))
    assert refused(images.read_image, path) == "unsupported_image"


def test_colours_of_other_kinds(put):
    flat = Image.new("CMYK", (5, 4), (0, 255, 255, 0))
    np.testing.assert_array_equal(images.read_image(put(encoded(flat, "TIFF"))), np.full((4, 5, 3), (255, 0, 0)))
    assert refused(images.read_image, put(encoded(Image.new("LAB", (5, 4)), "TIFF"))) == "unsupported_image"


# EXIF


def with_orientation(kind, orientation, picture=COLOURS):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if "TIFF" in (kind, FORMATS[kind].get("format")) else {"exif": exif}
    return encoded(picture, kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "LZW"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_masks_size_decides_about_the_exif_orientation(put, kind, orientation):
    path = put(with_orientation(kind, orientation))
    stored = images.read_image(path, like=COLOURS.shape[:2])
    assert np.abs(stored.astype(int) - COLOURS).max() <= (40 if kind == "JPEG" else 0)
    assert images.read(path).orientation == orientation
    assert images.image_size(path) == COLOURS.shape[:2]

    tagged = Image.fromarray(stored)
    tagged.getexif()[0x0112] = orientation
    displayed = np.asarray(ImageOps.exif_transpose(tagged))
    np.testing.assert_array_equal(images.read_image(path), displayed)
    if orientation >= 5:
        np.testing.assert_array_equal(images.read_image(path, like=COLOURS.shape[1::-1]), displayed)
    np.testing.assert_array_equal(images.read_image(path, like=(5, 5)), displayed)


EXIF = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # orientation 6
RAW = b"\nexif\n%8d\n%b\n" % (len(EXIF) + 6, (b"Exif\0\0" + EXIF).hex().encode())
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"eXIf", EXIF),
        (b"tEXt", b"Raw profile type exif\0" + RAW),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    ],
    ids=["eXIf", "tEXt", "zTXt", "iTXt"],
)
def test_a_png_says_its_orientation_in_four_ways(put, name, content, behind):
    data, place = encoded(COLOURS, "PNG"), -12 if behind else 33  # an end mark has 12 bytes, what comes first 33
    path = put(data[:place] + chunk(name, content) + data[place:])
    np.testing.assert_array_equal(images.read_image(path), np.rot90(COLOURS, -1))


def test_of_a_png_that_moves_the_default_picture_is_not_its_first_frame(put):
    """Pillow, and so we, take the first frame; OpenCV may take the other."""
    frames = [Image.fromarray(one) for one in (COLOURS, COLOURS[::-1], COLOURS[:, ::-1])]
    path = put(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True))
    with Image.open(path) as picture:
        np.testing.assert_array_equal(images.read_image(path), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "LZW"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_never_turned(put, kind, orientation):
    """Grey and uncompressed, a TIFF is a case of its own: given a path, Pillow 13 garbles it where it is turned."""
    path = put(with_orientation(kind, orientation, GREY))
    np.testing.assert_array_equal(images.read_mask(path), GREY)
    np.testing.assert_array_equal(images.read_image(path, like=GREY.shape), GREY)


def deep_tiff(orientation):
    """16-bit colours in a TIFF, by hand, for Pillow writes no such."""
    height, width = DEEP_COLOURS.shape[:2]
    data = DEEP_COLOURS.astype("<u2").tobytes()
    sizes = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 200),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 210),
    ]
    tags = [*sizes, (274, 3, 1, orientation), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data))]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return head.ljust(200, b"\0") + struct.pack("<HHH", 16, 16, 16).ljust(10, b"\0") + data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bit_colours_are_turned_by_the_same_rule(put, orientation):
    path = put(deep_tiff(orientation))
    np.testing.assert_array_equal(images.read_image(path, like=DEEP_COLOURS.shape[:2]), DEEP_COLOURS)
    tagged = Image.fromarray((DEEP_COLOURS >> 8).astype(np.uint8))
    tagged.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(images.read_image(path) >> 8, np.asarray(ImageOps.exif_transpose(tagged)))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_is_upright(put, orientation):
    path = put(with_orientation("JPEG", orientation))
    assert images.read(path).orientation == 1
    assert images.read_image(path).shape == COLOURS.shape


# Masks


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_mask_is_its_indices(put, bits):
    indices = (RNG.integers(0, 2**bits, (9, 14))).astype(np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tobytes())
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(images.read_mask(put(encoded(picture, kind))), indices)
    np.testing.assert_array_equal(images.read_mask(put(encoded(picture, "PNG", bits=bits))), indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_mask_of_few_bits_keeps_its_numbers(put, bits):
    """A PNG of few bits by hand: Pillow and OpenCV would stretch 0..3 to 0..255."""
    labels = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
    unpacked = np.unpackbits(labels[..., np.newaxis], axis=2)[..., 8 - bits :].reshape(2, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in unpacked)
    data = png(struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0), zlib.compress(rows))
    np.testing.assert_array_equal(images.read_mask(put(data)), labels)
    np.testing.assert_array_equal(images.read_image(put(data)), labels * (255 // (2**bits - 1)))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_whole_numbers_of_any_type_are_labels(put, kind):
    labels = (GREY // 64).astype(kind) * 300
    mask = images.read_mask(put(encoded(Image.fromarray(labels), "TIFF")))
    assert mask.dtype.kind in "iu"
    np.testing.assert_array_equal(mask, labels)


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, 3e10])
def test_fractions_are_no_labels(put, bad):
    labels = np.zeros((4, 5), np.float32)
    labels[2, 2] = bad
    assert refused(images.read_mask, put(encoded(Image.fromarray(labels), "TIFF"))) == "label_type"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_equal_channels_are_one_mask_and_others_none(put, mode):
    picture = Image.fromarray(GREY).convert(mode)
    np.testing.assert_array_equal(images.read_mask(put(encoded(picture, "PNG"))), GREY)
    picture.putpixel((0, 0), (1, 2, 3, 255)[: len(mode)])
    assert refused(images.read_mask, put(encoded(picture, "PNG"))) == "colour_mask"


def test_of_a_coloured_jpeg_mask_the_brightest_channel_counts(put):
    """Blue is as much foreground as green is, though a luminance would make it 29 of 255."""
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[8:24, 8:24] = (0, 0, 255)
    values = images.read_mask(put(encoded(mask, "JPEG", quality=95, subsampling=0)))
    np.testing.assert_array_equal(values > 127, mask[..., 2] > 0)
    grey = encoded(mask[..., 2], "JPEG", quality=95)
    np.testing.assert_array_equal(images.read_mask(put(grey)), np.asarray(Image.open(io.BytesIO(grey))))


# What is refused


@pytest.mark.parametrize("call", [images.read_image, images.read_mask, images.image_size, images.is_jpeg])
def test_files_that_are_not_there_or_hold_nothing(put, tmp_path, call):
    assert refused(call, put(b"")) == "empty_file"
    assert refused(call, tmp_path / "none.png") == "missing_file"
    assert refused(call, tmp_path) == "unreadable_file"
    assert refused(call, put(b"GIF89a, for instance")) == "unknown_format"
    assert refused(call, put(b"B")) == "unknown_format"


class FailingDisk(io.RawIOBase):
    """A file of which the second half cannot be read."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def readable(self):
        return True

    seekable = readable

    def seek(self, offset, whence=io.SEEK_SET):
        self.place = offset + (0, self.place, len(self.data))[whence]
        return self.place

    def readinto(self, buffer):
        if self.place + 1 > len(self.data) // 2:
            raise OSError(errno.EIO, "Input/output error")
        piece = self.data[self.place : min(self.place + len(buffer), len(self.data) // 2)]
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_disk_that_fails_is_no_damaged_picture(put, monkeypatch, kind):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    path = put(data := encoded(noise, kind))
    monkeypatch.setattr(type(path), "open", lambda *_: io.BufferedReader(FailingDisk(data)))
    assert refused(images.read_image, path) == "unreadable_file"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 1.0])
def test_a_file_that_is_cut_short_is_refused(put, kind, share):
    data = encoded(COLOURS, kind)
    path = put(data[: min(int(len(data) * share), len(data) - 3)])
    assert refused(images.read_image, path) == "damaged_image"
    assert refused(images.read_mask, path) == "damaged_image"


def test_sixteen_bit_pixels_that_are_no_pixels_are_refused(put):
    assert refused(images.read_image, put(deep_tiff(1)[:-100])) == "damaged_image"
    broken = png(struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0), b"no zlib at all")
    assert refused(images.read_image, put(broken)) == "damaged_image"


def test_a_png_whose_pixels_are_none_is_refused_whatever_its_checksums_say(put):
    for pixels in NO_PIXELS:
        for call in (images.read_image, images.read_mask):
            assert refused(call, put(png(NO_HEADER, pixels))) == "damaged_image"


def test_a_png_that_is_too_long_for_opencv_is_read(put):
    """libpng takes no more than a million pixels a row."""
    wide = np.arange(1_000_001, dtype=np.uint8)[None]
    np.testing.assert_array_equal(images.read_image(put(encoded(wide, "PNG"))), wide)


def test_running_out_of_memory_is_not_the_files_fault(put, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(MemoryError):
        images.read_image(put(encoded(GREY, "BMP")))


@pytest.mark.parametrize("call", [images.read_image, images.read_mask, images.read_png])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
def test_nor_is_it_where_opencv_runs_out_of_it(put, monkeypatch, call, kind):
    def full(*_, **__):
        raise cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes")

    monkeypatch.setattr(cv2, "imdecode", full)
    monkeypatch.setattr(cv2, "cvtColor", full)
    if kind == "PNG" or call is not images.read_png:
        with pytest.raises(cv2.error, match="Insufficient memory"):
            call(put(encoded(COLOURS, kind)))


@pytest.mark.parametrize("call", [images.read_image, images.read_mask, images.read_png])
def test_a_machine_at_its_end_shows_in_what_is_raised(put, monkeypatch, call):
    path = put(encoded(COLOURS, "PNG"))

    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(type(path), "open", full)
    with pytest.raises(CaseError) as caught:
        call(path)
    assert exhausted(caught.value) == "Too many open files"


@given(st.data())
def test_a_png_with_any_byte_changed_is_refused(tmp_path_factory, data):
    whole = bytearray(encoded(GREY, "PNG"))
    place = data.draw(st.integers(8, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(whole)
    assert refused(images.read_image, path) in ("damaged_image", "image_bomb")


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*"]), st.binary(max_size=200))
def test_rubbish_behind_a_magic_number_is_a_case_error(tmp_path_factory, magic, rubbish):
    path = tmp_path_factory.mktemp("rubbish") / "a.png"
    path.write_bytes(magic + rubbish)
    for call in (images.read_image, images.read_mask, images.image_size, images.read, images.read_png):
        assert refused(call, path) in ("damaged_image", "image_bomb", "unsupported_image", "unknown_format")


def test_a_bomb_is_refused_by_its_header(put):
    """Each says that it holds more pixels than anyone draws; none is decoded."""
    many = 60_000
    bombs = [
        png(struct.pack(">IIBBBBB", many, many, 8, 0, 0, 0, 0), zlib.compress(bytes(1000))),
        png(struct.pack(">IIBBBBB", many, many, 16, 2, 0, 0, 0), zlib.compress(bytes(1000))),
        with_size(encoded(COLOURS, "BMP"), 18, "<ii", (64, 48), many),
        with_size(encoded(COLOURS, "JPEG"), None, ">HH", (48, 64), many),
        # Just above the limit, which Pillow only warns of.
        png(struct.pack(">IIBBBBB", 10_000, 8_948, 8, 0, 0, 0, 0), zlib.compress(bytes(1000))),
    ]
    for data in bombs:
        for call in (images.read_image, images.read_mask, images.image_size):
            assert refused(call, put(data)) == "image_bomb"
    assert refused(images.decode_png, bombs[0]) == "image_bomb"


def with_size(data, place, form, old, new):
    """A file whose header says ``new`` x ``new``."""
    known = struct.pack(form, *old)
    place = data.index(known) if place is None else place
    assert data[place : place + len(known)] == known
    return data[:place] + struct.pack(form, new, new) + data[place + len(known) :]


# PNGs of ours


@given(OURS, st.sampled_from([images.IMAGE_LEVEL, images.MASK_LEVEL, 0, 9]))
def test_a_png_gives_back_its_pixels(array, level):
    data = images.encode_png(array, level=level)
    np.testing.assert_array_equal(images.decode_png(data), array)
    assert images.encode_png(array.copy(), level=level) == data
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), array)


def test_colours_are_red_green_blue(put):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    path = put(images.encode_png(red, level=images.IMAGE_LEVEL))
    assert Image.open(path).getpixel((0, 0)) == (255, 0, 0)
    assert images.read_png(path)[0, 0].tolist() == [255, 0, 0]


def test_views_are_encoded_as_they_look():
    for view in (GREY[:, ::-1], GREY.T, COLOURS[::2, ::3], COLOURS.transpose(1, 0, 2)):
        np.testing.assert_array_equal(images.decode_png(images.encode_png(view, level=1)), view)


def test_a_mask_compresses_well():
    y, x = np.mgrid[:512, :512]
    mask = (((y - 200) ** 2 + (x - 300) ** 2 < 900) * 255).astype(np.uint8)
    assert len(images.encode_png(mask, level=images.MASK_LEVEL)) < 1500


def test_only_bytes_are_encoded():
    with pytest.raises(TypeError, match="int16"):
        images.encode_png(np.zeros((3, 3), np.int16), level=1)


@pytest.mark.parametrize("mode", ["P", "1", "LA", "RGBA", "I;16"])
def test_a_png_that_is_not_ours_is_refused(put, mode):
    picture = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(COLOURS).convert(mode)
    assert refused(images.read_png, put(encoded(picture, "PNG"))) == "unsupported_image"


def test_a_png_of_ours_may_hold_text_and_no_transparent_colour(put):
    """Matplotlib writes what it is called into the pictures of ours that it draws."""
    data = images.encode_png(COLOURS, level=1)
    for name, content in TOLD.items():
        path = put(data[:33] + chunk(name, content) + data[33:])
        if name == b"tRNS":
            assert refused(images.read_png, path) == "unsupported_image"
        else:
            np.testing.assert_array_equal(images.read_png(path), COLOURS)


@pytest.mark.parametrize(("name", "content"), [(b"eXIf", b"II*\0"), (b"acTL", bytes(8)), (b"fcTL", bytes(26))])
def test_a_png_that_others_show_turned_or_moving_is_not_ours(put, name, content):
    data = images.encode_png(COLOURS, level=1)
    assert refused(images.read_png, put(data[:33] + chunk(name, content) + data[33:])) == "unsupported_image"


def test_read_png_names_its_file(put, tmp_path):
    assert refused(images.read_png, put(b"")) == "empty_file"
    assert refused(images.read_png, tmp_path / "none.png") == "missing_file"
    assert refused(images.read_png, put(encoded(GREY, "JPEG"))) == "damaged_image"
    assert refused(images.decode_png, b"") == "empty_file"


@given(OURS, st.data())
def test_no_part_of_a_png_of_ours_may_be_missing(array, data):
    whole = images.encode_png(array, level=1)
    kept = data.draw(st.integers(1, len(whole) - 1))
    assert refused(images.decode_png, whole[:kept]) == "damaged_image"


def test_a_png_whose_checksums_hold_and_whose_pixels_do_not_is_refused():
    for pixels in NO_PIXELS:
        assert refused(images.decode_png, png(NO_HEADER, pixels)) == "damaged_image"
    assert refused(images.decode_png, png(NO_HEADER[:9], zlib.compress(bytes(420)))) == "damaged_image"


# Contact sheets


def tile(side=100, value=255, caption="a caption", grey=90):
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = value
    return images.Tile(np.full((side, side), grey, np.uint8), mask, caption)


def coloured(picture):
    """Where a picture is not grey."""
    return np.ptp(picture.astype(int), axis=2) > 30


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 3), (6, 3), (3, 6)])
def test_a_sheet_holds_every_tile_in_rows(count, columns):
    sheet = images.contact_sheet([tile()] * count, columns=columns, side=128)
    one = images.contact_sheet([tile()], columns=1, side=128)
    outlines = cv2.connectedComponents(coloured(sheet).astype(np.uint8))[0] - 1
    assert outlines == count
    assert coloured(sheet).sum() == count * coloured(one).sum()
    assert sheet.dtype == np.uint8
    assert sheet[0, 0].tolist() == sheet[-1, -1].tolist() == [250, 250, 250]


def test_an_outline_follows_the_masks_edge_and_leaves_its_inside_alone():
    sheet = images.contact_sheet([tile(100)], columns=1, side=200)
    rows, columns = np.nonzero(coloured(sheet))
    assert np.abs(np.array([rows.min(), columns.min()]) - (12 + 50)).max() <= 2
    assert np.abs(np.array([rows.max(), columns.max()]) - (12 + 100)).max() <= 2
    assert sheet[12 + 75, 12 + 75].tolist() == [90, 90, 90]


def test_an_empty_mask_has_no_outline():
    assert not coloured(images.contact_sheet([tile(value=0)], columns=1, side=128)).any()


def test_a_lesion_of_one_pixel_is_outlined_in_a_small_tile():
    mask = np.zeros((512, 512), np.uint8)
    mask[200, 300] = 255
    sheet = images.contact_sheet([images.Tile(np.full_like(mask, 60), mask, "")], columns=1, side=128)
    rows, columns = np.nonzero(coloured(sheet))
    assert abs(rows.mean() - 12 - 50) < 2
    assert abs(columns.mean() - 12 - 75) < 2


def test_a_lesion_that_is_less_than_a_level_of_grey_is_outlined_alone():
    """One pixel of 1024 in a tile of 16 is 1/4096 of a pixel there: less than 8 bits tell from none at all."""
    mask = np.zeros((1024, 1024), np.uint8)
    mask[500, 300] = 255
    shown = images.outlined(images.Tile(np.full_like(mask, 60), mask, ""), 16)
    assert np.argwhere(coloured(shown)).tolist() == [[500 // 64, 300 // 64]]


def test_each_class_has_a_colour_of_its_own_in_every_tile():
    def colours(value):
        sheet = images.contact_sheet([tile(value=value)], columns=1, side=100)
        return {tuple(one) for one in sheet[coloured(sheet)].tolist()}

    own = [max(colours(value), key=np.ptp) for value in range(1, 8)]
    assert len(set(own)) == 7
    assert colours(255) == colours(1)
    both = tile(value=1)
    both.mask[60:80, 60:80] = 2
    sheet = images.contact_sheet([both], columns=1, side=100)
    found = {tuple(one) for one in sheet[coloured(sheet)].tolist()}
    assert {own[0], own[1]} <= found


def test_a_picture_keeps_its_aspect_ratio_and_its_colours():
    picture = np.full((40, 80, 3), (200, 30, 30), np.uint8)
    sheet = images.contact_sheet([images.Tile(picture, np.zeros((40, 80), np.uint8), "")], columns=1, side=160)
    red = (sheet == (200, 30, 30)).all(axis=2)
    assert red.sum() == 80 * 160
    assert red[12 + 40 : 12 + 120, 12 : 12 + 160].all()


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=120))
def test_a_caption_stays_below_its_own_tile(text):
    sheet = images.contact_sheet([tile(20, caption=text), tile(20, caption="")], columns=2, side=96)
    ink = (sheet < 200).any(axis=2)
    ink[12 : 12 + 96] = False  # the pictures
    assert not ink[:, 12 + 96 + 3 :].any()
    assert not ink[:12].any()
    assert not ink[-2:].any()


def test_a_long_caption_keeps_its_beginning_and_its_end():
    assert images.sheet._shortened("lung_001-0153 train", 1000) == "lung_001-0153 train"
    short = images.sheet._shortened("lung_001-0153~crop40+fliph+rot-5 valid", 160)
    assert short.startswith("lung_0")
    assert short.endswith(" valid")
    assert "..." in short
    assert images.sheet._shortened("anything", 1) == "..."


def test_a_sheet_of_nothing_is_paper():
    assert (images.contact_sheet([], columns=3, side=50) == 250).all()


# Real files


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures are not here")
def test_real_pairs_are_read():
    for folder, jpeg in (("pancreas", True), ("cervical-cancer", True), ("lung-tumor", False)):
        paths = sorted((REAL / folder / "images").iterdir())[:3]
        assert paths
        for path in paths:
            image, mask = images.read_image(path), images.read_mask(REAL / folder / "masks" / path.name)
            assert image.shape[:2] == mask.shape == images.image_size(path)
            assert images.is_jpeg(path) == jpeg
            assert (len(np.unique(mask)) > 2) == jpeg
            assert 0 < np.count_nonzero(mask > 127) < mask.size / 2
