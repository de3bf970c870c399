import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from imagemask import resample
from imagemask.errors import CaseError

SIDES = st.integers(1, 40)
KINDS = st.sampled_from([np.uint8, np.int16, np.uint16, np.int64])
ANGLES = st.one_of(st.sampled_from([0, 5, -5, 90, 180, -270, 45]), st.floats(-360, 360).map(lambda x: round(x, 2)))
Y, X = np.mgrid[:128, :128]


@st.composite
def masks(draw, values=(0, 1, 2, 7)):
    shape = draw(SIDES), draw(SIDES)
    return draw(nps.arrays(draw(KINDS), shape, elements=st.sampled_from(values)))


@st.composite
def kernels(draw):
    """A resize or a rotation, as a function of an image."""
    if draw(st.booleans()):
        height, width = draw(SIDES), draw(SIDES)
        return lambda image: resample.resize(image, height, width)
    degrees = draw(ANGLES)
    return lambda image: resample.rotate(image, degrees, background=0)


def vote(mask, kernel):
    """The rule in its own words, a pixel at a time."""
    values = [0, *sorted({int(value) for value in np.unique(mask)} - {0})]
    coverage = [kernel((mask == value).astype(np.uint8) * 255).astype(int) for value in values[1:]]
    out = np.zeros(kernel(mask.astype(np.uint8)).shape, mask.dtype)
    for place in np.ndindex(out.shape):
        shares = [one[place] for one in coverage]
        background = 255 - sum(shares)
        if shares and max(shares) >= background:
            out[place] = values[1 + shares.index(max(shares))]
    return out


@given(masks(), kernels())
def test_by_coverage_is_a_vote(mask, kernel):
    out = resample.by_coverage(mask, kernel)
    assert out.dtype == mask.dtype
    np.testing.assert_array_equal(out, vote(mask, kernel))


@given(masks(values=(0, 255)), SIDES, SIDES)
def test_a_picture_of_its_mask_stays_aligned_when_resized(mask, height, width):
    image = mask.astype(np.uint8)
    resized = resample.resize(image, height, width)
    np.testing.assert_array_equal(resized > 127, resample.resize_labels(mask, height, width) == 255)


@given(masks(values=(0, 1)), ANGLES)
def test_a_picture_of_its_mask_stays_aligned_when_rotated(mask, degrees):
    turned = resample.rotate(mask.astype(np.uint8) * np.uint8(255), degrees, background=0)
    np.testing.assert_array_equal(turned > 127, resample.rotate_labels(mask, degrees) == 1)


def test_a_tie_goes_to_the_foreground_and_among_foregrounds_to_the_lowest():
    half = np.array([[0, 3], [0, 3]], np.uint8)
    assert resample.resize_labels(half, 1, 1)[0, 0] == 3
    quarters = np.array([[5, 2], [2, 5]], np.int16)
    assert resample.resize_labels(quarters, 1, 1)[0, 0] == 2
    thirds = np.array([[0, 4, 2, 0]] * 4, np.uint8)[:, :3]
    assert resample.resize_labels(thirds, 4, 1)[0, 0] == 2


def test_a_minority_loses():
    assert resample.resize_labels(np.array([[1, 0], [0, 0]], np.uint8), 1, 1)[0, 0] == 0


def test_bool_masks_and_negative_labels_are_labels_too():
    flags = np.array([[True, True], [True, False]])
    assert resample.resize_labels(flags, 1, 1).tolist() == [[True]]
    negative = np.full((4, 4), -1, np.int8)
    assert resample.resize_labels(negative, 2, 2).tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_by_a_whole_factor_is_the_mean_of_blocks(factor, channels):
    image = np.random.default_rng(factor).integers(0, 256, (24, 36, *channels), dtype=np.uint8)
    blocks = image.reshape(24 // factor, factor, 36 // factor, factor, *channels).mean(axis=(1, 3))
    shrunk = resample.resize(image, 24 // factor, 36 // factor)
    assert np.abs(shrunk - blocks).max() <= 0.5 + 1e-6


def test_growing_puts_pixel_centres_where_they_belong():
    """Doubling: new centres lie a quarter of a pixel from the old ones, so values mix 3 to 1."""
    grown = resample.resize(np.array([[0, 100, 200]], np.uint8), 1, 6)
    assert grown.tolist() == [[0, 25, 75, 125, 175, 200]]


@given(nps.arrays(np.uint8, st.tuples(SIDES, SIDES)), SIDES, SIDES)
def test_where_one_axis_shrinks_and_one_grows_area_comes_first(image, height, width):
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    two_steps = resample.resize(resample.resize(image, *smaller), height, width)
    np.testing.assert_array_equal(resample.resize(image, height, width), two_steps)
    flat = np.full_like(image, 77)
    assert (resample.resize(flat, height, width) == 77).all()


def test_a_shrunk_axis_is_averaged_even_when_the_other_grows():
    stripes = np.tile(np.array([0, 200], np.uint8), (4, 8))
    assert (resample.resize(stripes, 8, 8) == 100).all()


@pytest.mark.parametrize("call", [lambda a: resample.resize(a, 2, 2), lambda a: resample.rotate(a, 5, background=0)])
def test_hounsfield_units_are_refused(call):
    with pytest.raises(TypeError, match="int16"):
        call(np.zeros((4, 4), np.int16))


def test_a_positive_angle_turns_counter_clockwise_as_displayed():
    image = np.zeros((65, 65), np.uint8)
    image[30:35, 55:60] = 255  # at the right
    upper_right = resample.rotate(image, 45, background=0)
    assert upper_right[:32, 33:].sum() > 0.99 * upper_right.sum() > 0
    top = resample.rotate(image, 90, background=0)
    assert top[5:10, 30:35].all()
    assert np.count_nonzero(top) == 25


@given(nps.arrays(np.uint8, st.tuples(SIDES, SIDES)), st.integers(-4, 4))
def test_quarter_turns_move_pixels_and_change_none(image, turns):
    turned = resample.rotate(image, 90 * turns, background=9)
    np.testing.assert_array_equal(turned, np.rot90(image, turns))
    np.testing.assert_array_equal(resample.rotate(turned, -90 * turns, background=9), image)


@given(nps.arrays(np.uint8, st.tuples(SIDES, SIDES)), st.integers(-359, 359).filter(lambda x: x % 90))
def test_an_angle_and_its_full_turn_give_the_same_bytes(image, degrees):
    once = resample.rotate(image, degrees, background=3)
    assert once.shape == image.shape
    np.testing.assert_array_equal(once, resample.rotate(image, degrees + 360, background=3))


def test_rotation_agrees_with_interpolation_in_float64():
    """Against plain bilinear sampling at the exact places: within what 1/32 of a pixel can change on a smooth image."""
    image = (127 + 60 * np.sin(X / 9) + 60 * np.cos(Y / 7)).astype(np.uint8)
    angle = np.radians(20)
    dx, dy = X - 63.5, Y - 63.5
    x, y = 63.5 + dx * np.cos(angle) - dy * np.sin(angle), 63.5 + dx * np.sin(angle) + dy * np.cos(angle)
    inside = (x > 0) & (x < 126.9) & (y > 0) & (y < 126.9)
    x, y = x.clip(0, 126.9), y.clip(0, 126.9)
    i, j = y.astype(int), x.astype(int)
    v, u = y - i, x - j
    exact = (image[i, j] * (1 - u) + image[i, j + 1] * u) * (1 - v)
    exact += (image[i + 1, j] * (1 - u) + image[i + 1, j + 1] * u) * v
    turned = resample.rotate(image, 20, background=0)
    assert np.abs(turned - exact)[inside].max() < 1.5


def test_what_a_rotation_brings_in_is_background():
    turned = resample.rotate(np.full((40, 40, 3), 200, np.uint8), 45, background=31)
    assert (turned[0, 0] == 31).all()
    assert (turned[20, 20] == 200).all()
    assert resample.rotate_labels(np.ones((40, 40), np.uint8), 45)[0, 0] == 0


def test_a_picture_too_large_for_fixed_point_is_refused_for_odd_angles_only():
    wide = np.zeros((1, resample.LARGEST_SIDE + 1), np.uint8)
    with pytest.raises(CaseError, match="20001") as caught:
        resample.rotate(wide, 5, background=0)
    assert caught.value.code == "picture_too_large"
    assert resample.rotate(wide, 90, background=0).shape == wide.shape[::-1]


@pytest.mark.parametrize("shape", [(64, 64), (31, 50), (3, resample.LARGEST_SIDE), (resample.LARGEST_SIDE, 2)])
@pytest.mark.parametrize("degrees", [0.3, 45.0, 133.7, 359.0])
def test_fixed_point_places_are_within_a_64th_of_the_exact_ones(shape, degrees):
    places, fractions = resample._new_maps(*shape, degrees)
    down, across = np.indices(shape) - (np.array(shape).reshape(2, 1, 1) - 1) / 2
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x = across * cosine - down * sine + (shape[1] - 1) / 2
    y = across * sine + down * cosine + (shape[0] - 1) / 2
    # Cosine and sine are within 2^-21, which a half side of 10 000 pixels makes 0.005 each.
    slack = 1 / 64 + max(shape) / 2**21
    assert np.abs(places[..., 0] + (fractions & 31) / 32 - x).max() <= slack
    assert np.abs(places[..., 1] + (fractions >> 5) / 32 - y).max() <= slack


def test_the_corners_of_the_largest_square_fit_int16():
    side = resample.LARGEST_SIDE
    assert (side + np.hypot(side, side)) / 2 < np.iinfo(np.int16).max - 1


def test_a_large_picture_rotates_without_the_cache():
    image = np.zeros((1100, 1000), np.uint8)
    image[540:560, 100:120] = 255
    before = resample._cached_maps.cache_info().currsize
    turned = resample.rotate(image, 180.5, background=0)
    assert resample._cached_maps.cache_info().currsize == before
    assert turned[540:560, 870:900].any()


@pytest.mark.parametrize("radius", [6.3, 11.0, 20.4])
@pytest.mark.parametrize("centre", [(60.2, 70.9), (63.5, 63.5), (41.0, 88.3)])
def test_a_shrunk_disc_is_at_least_as_good_as_nearest_neighbour(centre, radius):
    disc = ((Y - centre[0]) ** 2 + (X - centre[1]) ** 2 <= radius**2).astype(np.uint8)
    small_y, small_x = (np.mgrid[:64, :64] + 0.5) * 2 - 0.5
    truth = (small_y - centre[0]) ** 2 + (small_x - centre[1]) ** 2 <= radius**2
    nearest = cv2.resize(disc, (64, 64), interpolation=cv2.INTER_NEAREST)
    ours = resample.resize_labels(disc, 64, 64)
    assert dice(ours, truth) >= dice(nearest, truth)
    assert dice(ours, truth) > 0.9


def dice(a, b):
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))
