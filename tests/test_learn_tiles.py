"""Tiles: they cover, their weights sum to 1, and what is blended shows neither seams nor where a tile lay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.learn.tiles import Tiled, starts, weights

sides = st.integers(1, 40)
lengths = st.tuples(sides, st.integers(0, 200)).map(lambda pair: (pair[0] + pair[1], pair[0]))


@given(lengths)
def test_tiles_cover_and_neighbours_share_half(pair):
    length, side = pair
    found = starts(length, side)
    assert found[0] == 0
    assert found[-1] == length - side
    steps = np.diff(found)
    assert (steps > 0).all()
    assert (steps <= max(1, -(-side // 2))).all()  # a place is rounded to a pixel


@given(lengths)
def test_weights_are_positive_and_sum_to_one(pair):
    length, side = pair
    total = np.zeros(length)
    for start, weight in zip(starts(length, side), weights(length, side), strict=True):
        assert (weight > 0).all()
        total[start : start + side] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def blended(picture, side, answer, background=0):
    view = Tiled(picture, *side, background=background)
    tiles = list(view.inputs())
    assert len(tiles) == view.count
    for tile in tiles:
        assert tile.shape[:2] == side
        view.add(answer(tile))
    return view.result()


def by_value(tile):
    """A network that looks at nothing but the pixel itself."""
    return np.stack([tile[..., 0] / 255, 1 - tile[..., 0] / 255], -1).astype(np.float32)


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(2, 24), st.integers(2, 24)),
    st.integers(0, 2**32 - 1),
)
def test_what_each_pixel_says_comes_back_to_its_place(shape, side, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*shape, 1), np.uint8)
    found = blended(picture, side, by_value)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_value(picture), atol=2e-6)


@given(st.floats(0, 1, width=32), st.integers(16, 90), st.integers(16, 90))
def test_what_is_constant_stays_constant(value, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    found = blended(picture, (16, 16), lambda tile: np.full((*tile.shape[:2], 1), value, np.float32))
    np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-7)
    assert found.max() <= 1


@given(st.integers(0, 2**32 - 1))
def test_tiles_that_disagree_blend_without_a_seam(seed):
    """Each tile is sure of something else, the worst that can be: still no step between pixels is a visible one."""
    rng, side = np.random.default_rng(seed), 32
    found = blended(
        np.zeros((75, 110, 1), np.uint8),
        (side, side),
        lambda tile: np.full((side, side, 1), rng.integers(0, 2), np.float32),
    )
    steepest = 2 * np.pi / side  # sin^2 over half a tile changes by pi / side a pixel at most; halves may be shorter
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() <= steepest


def test_what_tiles_get_wrong_at_their_edges_is_hardly_seen():
    """A network that knows the truth but at the edge of its input: blended, it is nearly right all over the middle."""
    side = 32
    y, x = np.mgrid[:96, :128]
    truth = (0.5 + 0.5 * np.sin(x / 9) * np.cos(y / 11)).astype(np.float32)
    places = [(top, left) for top in starts(96, side) for left in starts(128, side)]

    def answer(_tile):
        top, left = places.pop(0)
        found = truth[top : top + side, left : left + side].copy()
        found[[0, -1]] = found[:, [0, -1]] = 0
        return found[..., None]

    found = blended(np.zeros((96, 128, 1), np.uint8), (side, side), answer)[..., 0]
    assert np.abs(found - truth)[2:-2, 2:-2].max() < 0.02


@pytest.mark.parametrize("shape", [(16, 24), (9, 24), (16, 5), (3, 3)])
def test_a_tile_that_is_alone_counts_whole(shape):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*shape, 3), np.uint8)
    answer = rng.random((16, 24, 4), np.float32)
    view = Tiled(picture, 16, 24, background=77)
    (tile,) = view.inputs()
    top, left = (16 - shape[0]) // 2, (24 - shape[1]) // 2
    inside = slice(top, top + shape[0]), slice(left, left + shape[1])
    assert np.array_equal(tile[inside], picture)
    assert (np.delete(tile.reshape(-1, 3), np.ravel_multi_index(np.mgrid[inside], (16, 24)).ravel(), 0) == 77).all()
    view.add(answer)
    assert np.array_equal(view.result(), answer[inside])


def test_a_result_before_its_time_is_refused():
    view = Tiled(np.zeros((20, 20, 1), np.uint8), 16, 16, background=0)
    view.add(np.zeros((16, 16, 1), np.float32))
    with pytest.raises(ValueError, match=r"3 of 4 tiles"):
        view.result()
