"""The encoder of phantoms: what two decoders make of it, and that its bytes are those of every machine."""

import hashlib
import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from imagemask.generators.phantoms import jpeg
from PIL import Image

SHAPES = st.one_of(
    of_numpy.array_shapes(min_dims=2, max_dims=2, max_side=33),
    of_numpy.array_shapes(min_dims=2, max_dims=2, max_side=20).map(lambda shape: (*shape, 3)),
)


def decoded(data):
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return np.asarray(picture), picture.mode


@given(SHAPES.flatmap(lambda shape: of_numpy.arrays(np.uint8, shape)))
def test_any_picture_can_be_decoded_at_its_size(picture):
    data = jpeg.encode(picture)
    pixels, mode = decoded(data)
    assert pixels.shape == picture.shape
    assert mode == ("L" if picture.ndim == 2 else "RGB")
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs((other if picture.ndim == 2 else other[..., ::-1]).astype(int) - pixels).max() <= 2


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_flat_picture_keeps_its_colour(red, green, blue):
    pixels, _ = decoded(jpeg.encode(np.full((9, 17, 3), (red, green, blue), np.uint8)))
    assert np.abs(pixels.astype(int) - (red, green, blue)).max() <= 3


@pytest.mark.parametrize("colours", [1, 3])
def test_smooth_pictures_are_kept_within_a_few_levels(colours):
    y, x = np.mgrid[:57, :101]
    grey = np.clip(3 * x + 2 * y, 0, 255).astype(np.uint8)
    picture = grey if colours == 1 else np.stack([grey, 255 - grey, grey // 2], axis=2)
    pixels, _ = decoded(jpeg.encode(picture))
    difference = np.abs(pixels.astype(int) - picture)
    assert difference.mean() < 1
    assert difference.max() <= 6


def test_it_is_upright_and_not_mirrored():
    picture = np.zeros((16, 24), np.uint8)
    picture[:3, :5] = 255
    pixels, _ = decoded(jpeg.encode(picture))
    assert pixels[1, 2] > 230
    assert max(pixels[-2, 2], pixels[1, -2], pixels[-2, -2]) < 20


@pytest.mark.parametrize(
    ("shape", "digest"),
    [
        ((40, 30), "27735d9a5d7fd2a8"),
        ((40, 30, 3), "c112b9704a7f8036"),
    ],
)
def test_its_bytes_never_change(shape, digest):
    picture = (np.arange(np.prod(shape)).reshape(shape) * 7919 % 251).astype(np.uint8)
    assert hashlib.sha256(jpeg.encode(picture)).hexdigest()[:16] == digest
