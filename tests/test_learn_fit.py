"""Pictures into a network's input and back: nothing moves, nothing is squashed, nothing changes that need not."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from imagemask import resample
from imagemask.errors import UsageError
from imagemask.learn import fit

SIDES = st.integers(1, 90)


def blob(height, width, *, y, x, radius):
    """A smooth round blob, float64 0..1, and its centroid within the picture."""
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))


def centroid(weights):
    weights = np.asarray(weights, np.float64)
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_picture_lies_in_the_middle_and_keeps_its_aspect_ratio(rows, columns, height, width):
    y0, x0, y1, x1 = fit.place((rows, columns), height, width).box
    assert 0 <= y0 < y1 <= height
    assert 0 <= x0 < x1 <= width
    assert (height - y1) - y0 in (0, 1)
    assert (width - x1) - x0 in (0, 1)
    kept = (y1 - y0, x1 - x0) == (rows, columns)
    assert kept or y1 - y0 == height or x1 - x0 == width
    scale = min(height / rows, width / columns)
    if not kept:
        assert abs((y1 - y0) - max(1, rows * scale)) <= 0.5
        assert abs((x1 - x0) - max(1, columns * scale)) <= 0.5


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_picture_that_fits_keeps_its_pixels_until_it_could_be_a_quarter_larger(rows, columns, height, width):
    y0, x0, y1, x1 = fit.place((rows, columns), height, width).box
    kept = (y1 - y0, x1 - x0) == (rows, columns)
    # In whole numbers: 4 * height <= 5 * rows says that it could grow by a quarter at most.
    fits = rows <= height and columns <= width
    little = 4 * height <= 5 * rows or 4 * width <= 5 * columns
    rounded = max(rows, columns) < 3  # enlarged or not, a side of 1 or 2 may come to the same
    assert rounded or kept == (fits and little)


@pytest.mark.parametrize(
    ("source", "height", "width", "box"),
    [
        ((130, 130), 144, 144, (7, 7, 137, 137)),
        ((512, 512), 256, 256, (0, 0, 256, 256)),
        ((100, 50), 200, 200, (0, 50, 200, 150)),
        ((300, 600), 256, 256, (64, 0, 192, 256)),
        ((64, 64), 80, 96, (8, 16, 72, 80)),
        ((63, 63), 80, 96, (0, 8, 80, 88)),
        ((1, 1000), 10, 10, (4, 0, 5, 10)),
    ],
)
def test_where_pictures_lie(source, height, width, box):
    assert fit.place(source, height, width) == fit.Placement(source, (0, 0, *source), box)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (1,), (3,)]), st.integers(0, 2**32 - 1))
def test_nothing_is_touched_where_sizes_agree(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)
    mask = rng.integers(0, 4, (height, width), dtype=np.uint8)
    probabilities = rng.random((height, width, 2), dtype=np.float32)
    fitted, placement = fit.fit(image, height, width, background=7)
    assert fitted.shape == image.shape
    np.testing.assert_array_equal(fitted, image)
    np.testing.assert_array_equal(fit.fit_labels(mask, height, width), mask)
    np.testing.assert_array_equal(fit.restore(probabilities, placement), probabilities)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([(), (1,), (3,)]))
def test_a_constant_picture_stays_constant_on_its_background(rows, columns, height, width, channels):
    image = np.full((rows, columns, *channels), 200, np.uint8)
    fitted, placement = fit.fit(image, height, width, background=13)
    assert fitted.shape == (height, width, *channels)
    assert fitted.dtype == np.uint8
    y0, x0, y1, x1 = placement.box
    inside = np.zeros((height, width), bool)
    inside[y0:y1, x0:x1] = True
    assert (fitted[inside] == 200).all()
    assert (fitted[~inside] == 13).all()
    labels = fit.fit_labels(np.full((rows, columns), 3, np.uint8), height, width)
    np.testing.assert_array_equal(labels, inside * 3)


@given(SIDES, SIDES, SIDES, SIDES, st.floats(0, 1, width=32))
@example(1, 1, 90, 90, 0.1)
def test_constant_probabilities_stay_what_they_are(rows, columns, height, width, value):
    placement = fit.place((rows, columns), height, width)
    found = fit.restore(np.full((height, width, 2), value, np.float32), placement)
    assert found.shape == (rows, columns, 2)
    assert found.dtype == np.float32
    assert (found == np.float32(value)).all()


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_restored_probabilities_stay_between_those_of_the_network(rows, columns, height, width, seed):
    rng = np.random.default_rng(seed)
    raw = rng.random((height, width, 1), dtype=np.float32) ** rng.choice([0.01, 1, 100])
    placement = fit.place((rows, columns), height, width)
    y0, x0, y1, x1 = placement.box
    inner = raw[y0:y1, x0:x1]
    found = fit.restore(raw, placement)
    assert inner.min() <= found.min()
    assert found.max() <= inner.max()


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_what_the_network_says_outside_the_picture_has_no_effect(rows, columns, height, width, seed):
    rng = np.random.default_rng(seed)
    inside, outside = rng.random((2, height, width, 1), dtype=np.float32)
    placement = fit.place((rows, columns), height, width)
    y0, x0, y1, x1 = placement.box
    outside[y0:y1, x0:x1] = inside[y0:y1, x0:x1]
    np.testing.assert_array_equal(fit.restore(inside, placement), fit.restore(outside, placement))


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4))
def test_linear_ramps_stay_linear_between_the_outermost_centres(rows, columns, factor):
    """The pixel-centre convention, in closed form: output i lies at (i + 0.5) * in / out - 0.5."""
    height, width = rows * factor, columns * factor
    ramp = np.mgrid[:rows, :columns].astype(np.float32)
    placement = fit.Placement((height, width), (0, 0, height, width), (0, 0, rows, columns))
    found = fit.restore(np.moveaxis(ramp, 0, -1), placement)
    for axis, (have, want) in enumerate([(rows, height), (columns, width)]):
        expected = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
        wanted = np.broadcast_to(expected[:, None] if axis == 0 else expected, (height, width))
        np.testing.assert_allclose(found[..., axis], wanted, atol=1e-5)


@given(
    st.integers(40, 160),
    st.integers(40, 160),
    st.sampled_from([(64, 64), (96, 64), (144, 144), (48, 160)]),
    st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
)
def test_there_and_back_a_centroid_stays_within_a_tenth_of_a_pixel(rows, columns, shape, offset):
    assume(min(shape[0] / rows, shape[1] / columns) > 0.35)
    y, x = ((side - 1) / 2 + share * side for side, share in zip((rows, columns), offset, strict=True))
    image = np.rint(255 * blob(rows, columns, y=y, x=x, radius=min(rows, columns) / 14)).astype(np.uint8)
    fitted, placement = fit.fit(image, *shape, background=0)
    back = fit.restore((fitted[..., None] / np.float32(255)).astype(np.float32), placement)
    assert back.shape[:2] == image.shape
    np.testing.assert_allclose(centroid(back[..., 0]), centroid(image), atol=0.1)


@given(st.integers(40, 160), st.integers(40, 160), st.sampled_from([(64, 64), (144, 144), (48, 160)]))
def test_image_and_mask_move_together(rows, columns, shape):
    y, x = 0.45 * rows, 0.55 * columns
    radius = min(rows, columns) / 4
    inside = ((np.mgrid[:rows, :columns] - np.array([y, x])[:, None, None]) ** 2).sum(0) <= radius**2
    image = inside.astype(np.uint8) * 255
    fitted, _ = fit.fit(image, *shape, background=0)
    labels = fit.fit_labels(inside.astype(np.uint8), *shape)
    np.testing.assert_array_equal(labels, fitted >= 128)
    assert 0 < labels.sum() < labels.size


def test_classes_of_a_mask_are_never_mixed():
    mask = np.zeros((50, 70), np.uint8)
    mask[10:40, 10:30], mask[10:40, 30:60] = 1, 3
    assert set(np.unique(fit.fit_labels(mask, 32, 32))) == {0, 1, 3}
    assert fit.fit_labels(mask, 32, 32).dtype == np.uint8


def test_the_inner_picture_is_what_a_build_makes():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    fitted, placement = fit.fit(image, 48, 48, background=255)
    y0, x0, y1, x1 = placement.box
    np.testing.assert_array_equal(fitted[y0:y1, x0:x1], resample.resize(image, 32, 48))


def test_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colour = np.stack([grey, grey + 1, grey + 2], -1)
    np.testing.assert_array_equal(fit.in_channels(grey, 1), grey[..., None])
    np.testing.assert_array_equal(fit.in_channels(grey, 3), np.stack([grey] * 3, -1))
    assert fit.in_channels(colour, 3) is colour
    with pytest.raises(UsageError, match="3 channels, and the network takes 1"):
        fit.in_channels(colour, 1)


CROPS = st.floats(0, 0.45)


@given(SIDES, SIDES, CROPS)
def test_a_crop_leaves_the_centre(rows, columns, crop):
    y0, x0, y1, x1 = fit.centre((rows, columns), crop)
    assert (rows - y1, columns - x1) == (y0, x0)
    for side, margin in ((rows, y0), (columns, x0)):
        assert side - 2 * margin >= 1
        assert abs(margin - side * crop) <= 0.5 or side - 2 * margin <= 2
    assert fit.centre((rows, columns), 0.0) == (0, 0, rows, columns)


@given(SIDES, SIDES, SIDES, SIDES, CROPS, st.integers(0, 2**32 - 1))
def test_a_cropped_picture_is_seen_as_its_centre_alone_would_be(rows, columns, height, width, crop, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    mask = rng.integers(0, 4, (rows, columns), np.uint8)
    y0, x0, y1, x1 = fit.centre((rows, columns), crop)
    fitted, placement = fit.fit(image, height, width, background=13, crop=crop)
    alone, inner = fit.fit(image[y0:y1, x0:x1], height, width, background=13)
    np.testing.assert_array_equal(fitted, alone)
    labels = fit.fit_labels(mask, height, width, crop=crop)
    np.testing.assert_array_equal(labels, fit.fit_labels(mask[y0:y1, x0:x1], height, width))
    raw = rng.random((height, width, 3), dtype=np.float32)
    found = fit.restore(raw, placement)
    assert found.shape == (rows, columns, 3)
    np.testing.assert_array_equal(found[y0:y1, x0:x1], fit.restore(raw, inner))


@given(SIDES, SIDES, CROPS, st.sampled_from([1, 2, 4]))
def test_outside_a_crop_there_is_background_for_sure(rows, columns, crop, classes):
    placement = fit.place((rows, columns), 16, 24, crop=crop)
    found = fit.restore(np.full((16, 24, classes), 0.25, np.float32), placement)
    outside = np.ones((rows, columns), bool)
    y0, x0, y1, x1 = placement.centre
    outside[y0:y1, x0:x1] = False
    expected = np.zeros(classes) if classes == 1 else np.eye(classes)[0]
    assert (found[outside] == expected).all()
    assert (found[~outside] == 0.25).all()
