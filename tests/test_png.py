"""What a PNG says before it is decoded. What comes of it, test_images.py tests."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.errors import CaseError
from imagemask.images import png

TIME = (b"tIME", bytes(7))
END = (b"IEND", b"")


def header(depth=8, colour=png.GREY, width=3, height=2):
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def file(*parts):
    packed = (
        struct.pack(">I", len(one)) + name + one + struct.pack(">I", zlib.crc32(name + one)) for name, one in parts
    )
    return png.SIGNATURE + b"".join(packed)


def reason(data):
    with pytest.raises(CaseError) as caught:
        png.check(data)
    assert caught.value.code == "damaged_image"
    return caught.value.reason


@given(st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 6), st.integers(1, 2**31), st.integers(1, 2**31))
def test_what_the_header_says(depth, colour, width, height):
    found = png.check(file(header(depth, colour, width, height), TIME, END))
    assert found[:4] == (width, height, depth, colour)
    assert found.chunks == {b"IHDR", b"tIME", b"IEND"}
    assert found.plain == (depth == 8 and colour in (0, 2))


@given(st.binary(min_size=4, max_size=4))
def test_only_what_is_known_to_change_no_pixel_is_plain(name):
    known = {b"IHDR", b"IDAT", b"gAMA", b"pHYs", b"sRGB", b"tIME"}
    assert png.check(file(header(), (name, b"content"), END)).plain == (name in known) or name == b"IEND"


def test_what_is_no_whole_png_is_refused():
    whole = file(header(), TIME, END)
    assert "does not begin" in reason(whole[1:])
    assert "header" in reason(file(TIME, END))
    assert "header" in reason(file((b"IHDR", b"short"), END))
    for length in range(len(png.SIGNATURE), len(whole)):
        assert "cut short" in reason(whole[:length])
    for place in range(len(png.SIGNATURE) + 4, len(png.SIGNATURE) + 4 + 17):  # the header's name and content
        damaged = bytearray(whole)
        damaged[place] ^= 1
        assert "checksum" in reason(bytes(damaged))
