from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from imagemask import augment, manifest, pixels
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import Slice

SIDES = st.integers(1, 24)
WHOLE = (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)


@st.composite
def pairs(draw, values=(0, 1, 2, 3)):
    """A pair of any small size whose image is a function of its mask, so that one shows what became of the other."""
    shape = draw(SIDES), draw(SIDES)
    mask = draw(nps.arrays(np.uint8, shape, elements=st.sampled_from(values)))
    return Slice(0, mask * np.uint8(80), mask, (0.5, 0.75))


def pair(image, mask=None, **fields):
    image = np.asarray(image)
    return Slice(4, image, np.zeros(image.shape[:2], np.uint8) if mask is None else mask, **fields)


def value(number, low, high):
    """The documented rule in exact arithmetic: Fraction's round is half to even."""
    clipped = min(max(Fraction(number), Fraction(low)), Fraction(high))
    return round((clipped - Fraction(low)) * 255 / (Fraction(high) - Fraction(low)))


# Windows


@pytest.mark.parametrize(("text", "bounds"), [*pixels.PRESETS.items(), ("-10:20", (-10, 20)), ("0.5:1e3", (0.5, 1000))])
def test_a_window_is_a_preset_or_two_numbers(text, bounds):
    assert pixels.parse_window(text) == bounds


@pytest.mark.parametrize(
    "text", ["", "lungs", "5", "5:5", "7:3", "a:b", "0:nan", "-inf:0", "1:", "1:2:3", "0:2e9", "1e9:inf"]
)
def test_any_other_window_is_refused_with_its_text(text):
    with pytest.raises(UsageError) as caught:
        pixels.parse_window(text)
    assert repr(text) in str(caught.value)
    assert caught.value.remedy


def test_a_misspelt_preset_is_guessed():
    with pytest.raises(UsageError, match="Did you mean mediastinum"):
        pixels.parse_window("mediastinun")


def test_two_bounds_that_float32_cannot_tell_apart_are_an_empty_window():
    with pytest.raises(UsageError, match="empty"):
        pixels.parse_window("100000000:100000001")


@given(st.lists(st.integers(-2000, 4000), min_size=1), st.integers(-1500, 1000), st.integers(1, 3000))
def test_a_window_is_exact_arithmetic_rounded_half_to_even(numbers, low, width):
    image = np.array([numbers], np.int16)
    windowed = pixels.window(pair(image), [(low, low + width)])
    assert windowed.image.dtype == np.uint8
    assert windowed.image.tolist() == [[value(number, low, low + width) for number in numbers]]


@given(st.lists(st.integers(0, 255), min_size=1), st.sampled_from(WHOLE), st.sampled_from([(0, 100), (3.5, 201.25)]))
def test_the_same_numbers_of_any_type_give_the_same_bytes(numbers, kind, bounds):
    expected = pixels.window(pair(np.array([numbers], np.int16)), [bounds]).image
    np.testing.assert_array_equal(pixels.window(pair(np.array([numbers], kind)), [bounds]).image, expected)


@pytest.mark.parametrize(
    "layout",
    [
        *(np.asarray, np.transpose, np.flipud, np.fliplr),
        *(lambda grey: np.flipud(grey.T), lambda grey: np.fliplr(grey.T), lambda grey: grey[::-1, ::-1]),
        *(lambda grey: grey.T[::-1, ::-1], lambda grey: grey[::2, ::-1].repeat(2, 0)),
        lambda grey: np.dstack([grey] * 3),
        lambda grey: np.dstack([grey] * 3).swapaxes(0, 1),
    ],
)
@pytest.mark.parametrize("bounds", [(-1350.0, 150.0), (0.5, 3000.25), (-1e9, 1e9), (40000.0, 65536.0)])
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", ">u2"])
def test_a_large_image_of_16_bits_gives_the_bytes_of_float32(kind, bounds, layout):
    """Every value of the type: where it can, OpenCV looks them up."""
    pixels._table.cache_clear()
    image = layout(np.arange(1 << 16, dtype=np.uint16).view(kind).reshape(256, 256))
    windowed = pixels.window(pair(image), [bounds]).image
    assert windowed.flags.c_contiguous
    assert pixels._table.cache_info().currsize == pixels._looks_up()
    np.testing.assert_array_equal(windowed, pixels.window(pair(image.astype(np.float32)), [bounds]).image)


def test_an_opencv_that_looks_up_no_16_bits_gives_the_same_bytes(monkeypatch):
    image = np.arange(1 << 16, dtype=np.uint16).view(np.int16).reshape(256, 256)
    looked_up = pixels.window(pair(image), [pixels.PRESETS["lung"]]).image
    monkeypatch.setattr(pixels, "_looks_up", lambda: False)
    np.testing.assert_array_equal(pixels.window(pair(image), [pixels.PRESETS["lung"]]).image, looked_up)


@pytest.mark.parametrize(
    "turned",
    [
        *(np.asarray, np.transpose, np.flipud, np.fliplr, lambda a: a[::-1, ::-1], lambda a: a[::2, ::-2]),
        lambda a: a[:, ::2],
        *(lambda a: np.flipud(a.T), lambda a: np.fliplr(a.T), lambda a: a.T[::-1, ::-1]),
    ],
)
def test_labels_that_are_class_ids_come_out_straight_whichever_way_they_lie(turned):
    mask = turned(np.arange(24, dtype=np.uint8).reshape(4, 6) % 3)
    ids = pixels.labels(pair(np.zeros(mask.shape, np.uint8), mask), {1: "a", 2: "b"}).mask
    assert ids.flags.c_contiguous
    np.testing.assert_array_equal(ids, mask)


@pytest.mark.parametrize("name", pixels.PRESETS)
def test_a_preset_spans_the_whole_range(name):
    low, high = pixels.PRESETS[name]
    image = np.array([[low - 1000, low, (low + high) / 2, high, high + 1000]])
    assert pixels.window(pair(image), [(low, high)]).image.tolist() == [[0, 0, 128, 255, 255]]


def test_hounsfield_units_map_to_distinct_grey_values():
    """Air, lung, soft tissue and metal in the lung window; clipped at 0..255 instead they were 0, 0, 40 and 255."""
    image = np.array([[-1000, -600, 40, 3071]], np.int16)
    assert pixels.window(pair(image), [pixels.PRESETS["lung"]]).image.tolist() == [[60, 128, 236, 255]]


def test_three_windows_are_red_green_and_blue():
    image = np.arange(-1000, 1000, 10, dtype=np.int16).reshape(10, 20)
    bounds = [pixels.PRESETS[name] for name in ("lung", "mediastinum", "bone")]
    colours = pixels.window(pair(image), bounds).image
    assert colours.shape == (10, 20, 3)
    for channel, one in enumerate(bounds):
        np.testing.assert_array_equal(colours[..., channel], pixels.window(pair(image), [one]).image)


def test_a_window_applies_to_each_channel_of_a_colour_picture():
    image = np.dstack([np.full((2, 2), grey, np.uint8) for grey in (0, 50, 100)])
    assert pixels.window(pair(image), [(0, 100)]).image[0, 0].tolist() == [0, 128, 255]


def test_eight_bits_need_no_window_and_stay():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    plain = pixels.window(pair(image, flags=("noted",)), [])
    np.testing.assert_array_equal(plain.image, image)
    assert plain.flags == ("noted",)


def test_sixteen_bits_without_a_window_are_divided_by_257_and_flagged():
    image = np.array([[0, 128, 129, 257, 385, 386, 65535]], np.uint16)
    reduced = pixels.window(pair(image, flags=("noted",)), [])
    assert reduced.image.tolist() == [[round(Fraction(int(one), 257)) for one in image[0]]]
    assert reduced.flags == ("noted", "depth_reduced")


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, bool])
def test_other_images_need_a_window(kind):
    with pytest.raises(CaseError) as caught:
        pixels.window(pair(np.zeros((2, 2), kind)), [])
    assert caught.value.code == "window_needed"
    assert caught.value.stage == "pixels"
    assert "--window" in caught.value.remedy


def test_what_is_not_a_number_is_refused_with_its_count():
    image = np.array([[1.0, np.nan], [np.nan, np.inf]])
    with pytest.raises(CaseError, match="slice 4: 2 pixels") as caught:
        pixels.window(pair(image), [(0, 1)])
    assert caught.value.code == "nan_voxels"
    assert pixels.window(pair(np.array([[-np.inf, np.inf]])), [(0, 1)]).image.tolist() == [[0, 255]]


@pytest.mark.parametrize(("shape", "count"), [((2, 2, 3), 3), ((2, 2, 4), 1), ((2, 2, 4), 0), ((2, 2, 2), 0)])
def test_channels_that_no_window_fits_are_refused(shape, count):
    with pytest.raises(CaseError) as caught:
        pixels.window(pair(np.zeros(shape, np.uint8)), [(0, 1)] * count)
    assert caught.value.code == "image_channels"


def test_two_windows_are_a_usage_error():
    with pytest.raises(UsageError, match="2 windows"):
        pixels.window(pair(np.zeros((2, 2), np.uint8)), [(0, 1), (0, 2)])


def test_complex_numbers_are_no_image():
    with pytest.raises(CaseError) as caught:
        pixels.window(pair(np.zeros((2, 2), complex)), [(0, 1)])
    assert caught.value.code == "image_type"


def test_a_deferred_image_is_decoded_by_the_window_and_not_before():
    class Deferred:
        shape = (2, 3)
        decoded = 0

        def __array__(self, dtype=None, copy=None):
            self.decoded += 1
            return np.full(self.shape, 50, np.int16)

    image = Deferred()
    with_labels = pixels.labels(Slice(0, image, np.ones((2, 3), np.uint8)), {1: "a"})
    assert image.decoded == 0
    assert pixels.window(with_labels, [(0, 100)]).image.tolist() == [[128] * 3] * 2
    assert image.decoded == 1


# Labels


@given(st.sampled_from([np.uint8, np.int16, np.int64]), st.data())
def test_labels_are_numbered_by_source_value_and_written_by_the_manifests_rule(kind, data):
    in_a_row = st.integers(1, 6).map(lambda most: list(range(1, most + 1)))
    values = data.draw(in_a_row | st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True))
    names = {one: f"class {one}" for one in values}
    mask = data.draw(nps.arrays(kind, (5, 6), elements=st.sampled_from([0, *values])))
    classes = pixels.labels(pair(np.zeros((5, 6)), mask), names).mask
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(np.array([0, *sorted(values)])[classes], mask)
    written = pixels.to_mask(classes, manifest.mask_values(names))
    declared = {"labels": [{"mask_value": one} for one in manifest.mask_values(names).values()]}
    np.testing.assert_array_equal(manifest.to_labels(written, declared), classes)


def test_one_class_is_written_as_255():
    classes = np.array([[0, 1]], np.uint8)
    assert pixels.to_mask(classes, {7: 255}).tolist() == [[0, 255]]


def test_bool_masks_are_labels():
    mask = np.array([[True, False]])
    assert pixels.labels(pair(np.zeros((1, 2)), mask), {1: "a"}).mask.tolist() == [[1, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_an_undeclared_label_is_refused_with_the_histogram(kind):
    mask = np.array([[0, 1, 1], [3, 3, 3]], kind)
    with pytest.raises(CaseError, match="0: 1, 1: 2, 3: 3") as caught:
        pixels.labels(pair(np.zeros((2, 3)), mask), {1: "a", 2: "b"})
    assert caught.value.code == "label_values"
    assert caught.value.stage == "pixels"
    assert "1, 2" in caught.value.reason


def test_a_grey_ramp_is_refused_in_a_line():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with pytest.raises(CaseError, match="and 248 more"):
        pixels.labels(pair(np.zeros((16, 16)), ramp), {255: "a"})


# Crop, resize, fit


@given(pairs(), st.integers(0, 14))
def test_a_crop_is_the_box_or_an_error(piece, margin):
    height, width = piece.mask.shape
    if 2 * margin >= min(height, width):
        with pytest.raises(CaseError) as caught:
            pixels.crop(piece, margin)
        assert caught.value.code == "crop_too_large"
        return
    cropped = pixels.crop(piece, margin)
    np.testing.assert_array_equal(cropped.mask, piece.mask[margin : height - margin, margin : width - margin])
    np.testing.assert_array_equal(cropped.image, cropped.mask * 80)
    assert cropped.spacing == piece.spacing


def test_a_negative_margin_is_refused():
    with pytest.raises(CaseError, match="-1"):
        pixels.crop(pair(np.zeros((9, 9))), -1)


@given(pairs(), SIDES, SIDES)
def test_a_resize_keeps_the_extent_and_declares_no_new_value(piece, height, width):
    resized = pixels.resize(piece, height, width)
    assert resized.mask.shape == resized.image.shape == (height, width)
    assert set(np.unique(resized.mask)) <= set(np.unique(piece.mask)) | {0}
    extent = np.array(piece.mask.shape) * piece.spacing
    np.testing.assert_allclose(np.array(resized.mask.shape) * resized.spacing, extent)


def test_a_resize_to_the_same_size_takes_any_image():
    image = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(pixels.resize(pair(image), 2, 3).image, image)
    with pytest.raises(TypeError):
        pixels.resize(pair(image), 4, 6)


@given(pairs(), st.integers(8, 40), st.integers(0, 255))
def test_fit_keeps_the_aspect_ratio_in_the_middle_of_a_square(piece, size, background):
    fitted, (top, left, bottom, right) = pixels.fit(piece, size, stretch=False, background=background)
    assert fitted.image.shape == fitted.mask.shape == (size, size)
    assert bottom - top in (0, 1)
    assert right - left in (0, 1)
    height, width = size - top - bottom, size - left - right
    assert max(height, width) == size
    exact = np.array(piece.mask.shape) * size / max(piece.mask.shape)
    assert np.abs(np.maximum(exact, 1) - (height, width)).max() <= 0.5
    inside = np.zeros((size, size), bool)
    inside[top : size - bottom, left : size - right] = True
    assert (fitted.image[~inside] == background).all()
    assert not fitted.mask[~inside].any()
    np.testing.assert_array_equal(fitted.mask[inside], pixels.resize(piece, height, width).mask.ravel())


@given(pairs(), st.integers(8, 40))
def test_stretch_fills_the_square(piece, size):
    stretched, pad = pixels.fit(piece, size, stretch=True, background=9)
    assert pad == (0, 0, 0, 0)
    np.testing.assert_array_equal(stretched.mask, pixels.resize(piece, size, size).mask)
    np.testing.assert_array_equal(stretched.image, pixels.resize(piece, size, size).image)


def test_colours_are_padded_in_every_channel():
    colours = np.full((4, 8, 3), 7, np.uint8)
    fitted, pad = pixels.fit(pair(colours), 8, stretch=False, background=200)
    assert pad == (2, 0, 2, 0)
    assert fitted.image[0, 0].tolist() == [200, 200, 200]
    assert fitted.image[4, 4].tolist() == [7, 7, 7]


# There and back

EXACT = st.builds(
    augment.Variant, flip=st.sampled_from(["", "h", "v"]), rotation=st.sampled_from([0.0, 90.0, -90.0, 180.0, 270.0])
)


@given(pairs(values=(0, 1, 5, 255)), EXACT, st.booleans())
def test_restore_inverts_a_build_at_native_size(piece, variant, padded):
    """Any mask, any exact variant, with the padding that --size brings when it is the longer side."""
    height, width = piece.mask.shape
    size = max(height, width)
    view, pad = pixels.fit(piece, size, stretch=False, background=3) if padded else (piece, (0, 0, 0, 0))
    view = augment.apply(view, variant, background=3)
    back = pixels.restore(view.mask, source=(height, width), box=(0, 0, height, width), pad=pad, variant=variant.name)
    assert back.dtype == piece.mask.dtype
    np.testing.assert_array_equal(back, piece.mask)


@given(pairs(values=(0, 1, 2, 5)), st.integers(0, 11), st.integers(1, 4), EXACT)
def test_restore_inverts_crops_that_grow_by_a_whole_factor(piece, margin, factor, variant):
    """What the crop kept comes back exactly; what it cut away is 0."""
    height, width = piece.mask.shape
    if 2 * margin >= min(height, width):
        margin = 0
    variant = augment.Variant(margin, variant.flip, variant.rotation)
    box = (margin, margin, height - margin, width - margin)
    view = pixels.crop(piece, margin)
    view = pixels.resize(view, factor * view.mask.shape[0], factor * view.mask.shape[1])
    view = augment.apply(view, variant, background=0)
    back = pixels.restore(view.mask, source=(height, width), box=box, pad=(0, 0, 0, 0), variant=variant.name)
    expected = np.zeros_like(piece.mask)
    expected[margin : height - margin, margin : width - margin] = pixels.crop(piece, margin).mask
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("name", ["rot5", "crop20+fliph+rot-13.5"])
def test_restore_inverts_an_odd_angle_up_to_the_outline(name):
    y, x = np.mgrid[:200, :160]
    piece = pair(np.zeros((200, 160), np.uint8), (((y - 90) / 50) ** 2 + ((x - 70) / 30) ** 2 < 1).astype(np.uint8))
    variant = augment.parse(name)
    margin = variant.crop
    view, pad = pixels.fit(pixels.crop(piece, margin), 256, stretch=False, background=0)
    view = augment.apply(view, variant, background=0)
    box = (margin, margin, 200 - margin, 160 - margin)
    back = pixels.restore(view.mask, source=(200, 160), box=box, pad=pad, variant=name)
    assert 2 * np.count_nonzero(back & piece.mask) / (back.sum() + piece.mask.sum()) > 0.98


@pytest.mark.parametrize(
    ("box", "pad"),
    [
        ((0, 0, 5, 4), (0, 0, 0, 0)),
        ((2, 0, 2, 4), (0, 0, 0, 0)),
        ((0, 0, 4, 4), (2, 0, 2, 0)),
        ((0, 0, 4, 4), (-1, 0, 0, 0)),
    ],
)
def test_a_box_or_pad_that_does_not_fit_is_a_damaged_manifest(box, pad):
    with pytest.raises(InputError, match="do not fit"):
        pixels.restore(np.zeros((4, 4), np.uint8), source=(4, 4), box=box, pad=pad, variant="")


# What moves, moves together

SIZES = (96, 100, 171, 200, 224, 300)
CROPS = (0, 13, 20)
TURNS = ("", "rot5", "rot-5", "rot13.7", "rot45", "rot90", "rot133", "rot270", "fliph", "flipv", "fliph+rot5")


@pytest.fixture(scope="module")
def blobs():
    """Lobed shapes anywhere in a picture of 200 x 160, so that their outlines fall on pixels in every phase."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:200, :160]
    shapes = []
    for _ in range(20):
        down, across = y - 100 - rng.uniform(-30, 30), x - 80 - rng.uniform(-20, 20)
        lobes = 3 * np.sin(3 * np.arctan2(down, across) + rng.uniform(0, 6))
        shapes.append((np.hypot(down, across) < rng.uniform(18, 26) + lobes).astype(np.uint8))
    return shapes


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("margin", CROPS)
@pytest.mark.parametrize("size", SIZES)
def test_masks_and_images_go_where_geometry_puts_them(blobs, size, margin, name):
    """Against the exact place: the image's centroid to 0.1 source pixel, and so the masks', on average.

    A single mask is finer than that only by luck: its outline follows whole pixels before and after, which alone moves
    its centroid. That is no drift: it has no direction, and stays below half a pixel of the coarser grid.
    """
    variant = augment.parse(name)
    shifts = []
    for blob in blobs:
        view, pad = pixels.fit(pixels.crop(pair(blob * np.uint8(255), blob), margin), size, stretch=False, background=0)
        view = augment.apply(view, variant, background=0)
        scale = np.array([size - pad[0] - pad[2], size - pad[1] - pad[3]]) / (200 - 2 * margin, 160 - 2 * margin)
        exact = turned((centroid(blob) - margin + 0.5) * scale - 0.5 + pad[:2], size, variant)
        assert np.abs((centroid(view.image) - exact) / scale).max() < 0.1
        shifts.append((centroid(view.mask) - exact) / scale)
        assert np.abs(shifts[-1]).max() * min(1, *scale) < 0.5
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1


def test_nearest_neighbour_would_fail_the_test_above(blobs):
    """The measure is sharp enough: halving by nearest neighbour moves every mask by half a source pixel."""
    shifts = [(centroid(blob[::2, ::2]) - ((centroid(blob) + 0.5) / 2 - 0.5)) * 2 for blob in blobs]
    assert np.abs(np.mean(shifts, axis=0)).min() > 0.4


def centroid(weights):
    weights = weights.astype(np.float64)
    y, x = np.indices(weights.shape)
    return np.array([(weights * y).sum(), (weights * x).sum()]) / weights.sum()


def turned(place, size, variant):
    """A place (y, x) in a square, after the flip and the counter-clockwise rotation."""
    y, x = place - (size - 1) / 2
    x = -x if variant.flip == "h" else x
    y = -y if variant.flip == "v" else y
    angle = np.radians(variant.rotation)
    return np.array([y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle)]) + (size - 1) / 2
