"""Augmentation: image and mask move as one, within the limits asked for, and the same way for the same seeds.

Runs on the backend that Keras picks; test_learn_backends.py runs it on the other.

Where a pixel comes from is read off an image whose first channel is the row of a pixel, the second its column, and the
third 255: linear interpolation keeps both, and the third tells which pixels nothing from outside has touched.
"""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

keras = pytest.importorskip("keras")
ndimage = pytest.importorskip("scipy.ndimage")

from imagemask import images
from imagemask.errors import InputError, UsageError
from imagemask.learn import augmentation, augmentation_sheet
from imagemask.learn.augmentation import Augmenter
from imagemask.learn.settings import Augmentation

NOTHING = {
    **dict.fromkeys(("flip_horizontal", "flip_vertical"), False),
    **dict.fromkeys(("rotation", "translation", "zoom_out", "zoom_in", "shear", "elastic"), 0.0),
    **dict.fromkeys(("contrast", "brightness", "noise"), 0.0),
}
GEOMETRY = {"flip_horizontal": True, "flip_vertical": True, "rotation": 40.0, "translation": 0.2, "zoom_out": 0.3}
GEOMETRY |= {"zoom_in": 0.3, "shear": 0.2, "elastic": 0.03}
WARPS = [{name: value} for name, value in GEOMETRY.items()]
HEIGHT, WIDTH, BATCH = 24, 40, 64
EACH_WARP = pytest.mark.parametrize("only", [*WARPS, GEOMETRY], ids=[*GEOMETRY, "all"])


def augmenter(classes=1, background=0, **asked):
    return Augmenter(Augmentation(**{**NOTHING, **asked}), classes=classes, background=background)


def altered(augment, pictures, labels, seeds=(0, 0, 0)):
    """As numpy."""
    return tuple(keras.ops.convert_to_numpy(one) for one in augment(pictures, labels, seeds))


def blobs(classes, batch=16, seed=0):
    """Labels with regions of every class, touching each other and the border."""
    noise = np.random.default_rng(seed).normal(size=(batch, classes, HEIGHT, WIDTH))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2.5, 2.5))
    return smooth.argmax(axis=1).astype(np.uint8)


def ramps(batch=BATCH, height=HEIGHT, width=WIDTH):
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    one = np.stack([rows, columns, np.full_like(rows, 255)], axis=-1).astype(np.float32)
    return np.broadcast_to(one, (batch, *one.shape)).copy()


def places(augment, seeds=(0, 0, 0), size=(HEIGHT, WIDTH)):
    """Where pixels come from (BxHxWx2: row and column), and which of them (BxHxW) come from inside."""
    found, _ = altered(augment, ramps(BATCH, *size), np.zeros((BATCH, *size), np.uint8), seeds)
    return found[..., :2], found[..., 2] > 254.99


def maps(augment, steps=4, size=(HEIGHT, WIDTH)):
    """The affine map of every image, Nx2x3: from (row, column, 1), about the centre, to the source, about the centre.

    Fitted; what does not fit is no affine map.
    """
    middle = (np.array(size) - 1) / 2
    fitted = []
    for step in range(steps):
        source, inside = places(augment, (7, 1, step), size)
        for image, sound in zip(source, inside, strict=True):
            here = np.c_[np.argwhere(sound) - middle, np.ones(sound.sum())]
            solution, *_ = np.linalg.lstsq(here, image[sound] - middle, rcond=None)
            assert np.abs(here @ solution - (image[sound] - middle)).max() < 0.01
            fitted.append(solution.T)
    return np.array(fitted)


def assert_fills(values, low, high):
    """All from ``low`` to ``high``, and near both."""
    room = (high - low) * 0.05
    assert low - 1e-3 <= values.min() < low + room
    assert high - room < values.max() <= high + 1e-3


# --- image and mask ---


@EACH_WARP
@pytest.mark.parametrize("background", [0, 200])
def test_a_mask_moves_with_its_image(only, background):
    labels = blobs(2)
    pictures = np.where(labels, 120, background).astype(np.uint8)[..., None]
    augment = augmenter(**only, background=background)
    for step in range(3):
        moved, masks = altered(augment, pictures, labels, (0, 0, step))
        coverage = (moved[..., 0] - background) / (120.0 - background)
        certain = abs(coverage - 0.5) > 1e-3
        assert certain.mean() > 0.99
        assert ((coverage > 0.5) == masks)[certain].all()
        assert 0.02 < masks.mean() < 0.9
        assert (masks != labels).any()


@EACH_WARP
def test_several_classes_move_with_their_image(only):
    labels = blobs(4)
    pictures = 255 * (labels[..., None] == np.arange(1, 4)).astype(np.float32)
    moved, masks = altered(augmenter(**only, classes=4), pictures, labels)
    parts = np.concatenate([255 - moved.sum(axis=-1, keepdims=True), moved], axis=-1)
    first, second = np.sort(parts, axis=-1)[..., ::-1][..., :2].transpose(3, 0, 1, 2)
    certain = first - second > 0.1
    assert certain.mean() > 0.99
    assert (parts.argmax(axis=-1) == masks)[certain].all()
    assert set(np.unique(masks)) == {0, 1, 2, 3}


def test_a_mask_holds_no_value_that_was_not_there():
    labels = np.where(blobs(2) == 1, 3, 1).astype(np.uint8)
    _, masks = altered(augmenter(**GEOMETRY, classes=4), np.zeros((*labels.shape, 1), np.uint8), labels)
    assert set(np.unique(masks)) == {0, 1, 3}


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.int64, (1, 2, 3, 3), elements=st.integers(0, 8)))
def test_what_covers_most_wins_and_a_tie_goes_to_the_first_class_then_the_background(eighths):
    eighths = np.where(eighths.sum(axis=-1, keepdims=True) <= 8, eighths, eighths // 3)
    found = keras.ops.convert_to_numpy(augmentation._most((eighths / 8).astype(np.float32)))
    ranked = np.concatenate([eighths, 8 - eighths.sum(axis=-1, keepdims=True)], axis=-1)
    expected = np.array([1, 2, 3, 0])[ranked.argmax(axis=-1)]
    assert (found == expected).all()


def test_pixels_are_interpolated_as_scipy_does():
    rng = np.random.default_rng(0)
    stack = rng.normal(size=(2, 9, 13, 3)).astype(np.float32)
    y, x = rng.uniform(-4, 12, (2, 9, 13)), rng.uniform(-4, 16, (2, 9, 13))
    y[0, 0], x[0, 0] = np.round(y[0, 0]), np.round(x[0, 0])
    found = keras.ops.convert_to_numpy(augmentation._sampled(stack, y.astype(np.float32), x.astype(np.float32)))
    for image in range(2):
        for channel in range(3):
            expected = ndimage.map_coordinates(
                stack[image, ..., channel], [y[image], x[image]], order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(found[image, ..., channel], expected, atol=1e-5)


@EACH_WARP
def test_what_enters_is_background(only):
    white = np.full((BATCH, HEIGHT, WIDTH, 1), 90, np.uint8)
    even, _ = altered(augmenter(**only, background=90), white, np.zeros(white.shape[:3], np.uint8))
    assert (even == 90).all()
    moved, masks = altered(augmenter(**only, background=10), white, np.ones(white.shape[:3], np.uint8))
    assert moved.min() >= 10
    assert moved.max() <= 90 + 1e-4
    assert (moved[masks == 0] < 50.01).all()
    if only in ({"translation": 0.2}, {"zoom_out": 0.3}, GEOMETRY):
        assert (moved == 10).any()


# --- limits ---


def test_flips_move_pixels_exactly_each_way_for_itself():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
    pictures, labels = np.stack([one] * BATCH), np.stack([mask] * BATCH)
    for ways in ((), (0,), (1,), (0, 1)):
        augment = augmenter(flip_vertical=0 in ways, flip_horizontal=1 in ways, classes=3)
        moved, masks = altered(augment, pictures, labels)
        expected = {
            (np.flip(one, some).astype(np.float32).tobytes(), np.flip(mask, some).tobytes())
            for some in {(), ways, ways[:1], ways[1:]}
        }
        assert {(a.tobytes(), b.tobytes()) for a, b in zip(moved, masks, strict=True)} == expected
        assert len(expected) == 2 ** len(ways)


@pytest.mark.parametrize("limit", [15.0, 180.0])
def test_rotation(limit):
    found = maps(augmenter(rotation=limit))
    angles = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    assert_fills(angles, -limit, limit)
    np.testing.assert_allclose(
        found[:, :, :2] @ found[:, :, :2].transpose(0, 2, 1), [np.eye(2)] * len(found), atol=2e-3
    )
    np.testing.assert_allclose(found[:, :, 2], 0, atol=0.01)


def test_translation_is_a_share_of_each_side():
    found = maps(augmenter(translation=0.25))
    np.testing.assert_allclose(found[:, :, :2], [np.eye(2)] * len(found), atol=1e-3)
    assert_fills(found[:, 0, 2], -0.25 * HEIGHT, 0.25 * HEIGHT)
    assert_fills(found[:, 1, 2], -0.25 * WIDTH, 0.25 * WIDTH)
    assert abs(np.corrcoef(found[:, :, 2].T)[0, 1]) < 0.2


@pytest.mark.parametrize(("smaller", "larger"), [(0.1, 0.0), (0.0, 0.3), (0.75, 0.5)])
def test_zoom_keeps_the_aspect_ratio_and_the_centre(smaller, larger):
    found = maps(augmenter(zoom_out=smaller, zoom_in=larger))
    assert_fills(1 / found[:, 0, 0], 1 - smaller, 1 + larger)
    np.testing.assert_allclose(found[:, 0, 0], found[:, 1, 1], rtol=1e-3)
    np.testing.assert_allclose(found[:, [0, 1, 0, 1], [1, 0, 2, 2]], 0, atol=0.01)


def test_shear_keeps_the_area_and_the_centre():
    found = maps(augmenter(shear=0.3))
    assert_fills(found[:, 0, 1], -0.3, 0.3)
    assert_fills(found[:, 1, 0], -0.3, 0.3)
    np.testing.assert_allclose(np.linalg.det(found[:, :, :2]), 1, atol=2e-3)
    np.testing.assert_allclose(found[:, :, 2], 0, atol=0.01)


def test_an_elastic_bend_is_smooth_bounded_and_differs_along_the_axes_and_between_images():
    size = np.array([96, 64])
    source, inside = places(augmenter(elastic=0.06), size=tuple(size))
    shift = (source - ramps(1, *size)[..., :2])[:, 8:-8, 8:-8] / size
    sound = inside[:, 8:-8, 8:-8]
    largest = np.where(sound[..., None], abs(shift), 0).max(axis=(1, 2))
    assert largest.max() < 0.06
    assert np.median(largest) > 0.02
    assert (abs(shift[1:] - shift[:-1]).mean(axis=(1, 2)) > 0.001).all()
    steps = np.where(sound[:, 1:] & sound[:, :-1], np.diff(source[:, 8:-8, 8:-8, 0], axis=1), 1)
    assert steps.min() > 0  # no row passes another: nothing is folded
    both = shift[:, ::20, ::20].reshape(-1, 2)
    assert abs(np.corrcoef(both.T)[0, 1]) < 0.2


def test_all_warps_together_are_one_map():
    asked = {name: value for name, value in GEOMETRY.items() if name != "elastic"}
    found = maps(augmenter(**asked), steps=1)
    scales = 1 / np.sqrt(abs(np.linalg.det(found[:, :, :2])))
    assert scales.min() >= 0.7 - 1e-3
    assert scales.max() <= 1.3 + 1e-3


def test_contrast_goes_both_ways_and_keeps_the_mean():
    pictures = np.tile(np.array([78, 178], np.uint8), (BATCH, HEIGHT, WIDTH // 2))[..., None]
    labels = np.zeros(pictures.shape[:3], np.uint8)
    augment = augmenter(contrast=0.25)
    found = np.concatenate([altered(augment, pictures, labels, (0, step))[0] for step in range(3)])
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 128, atol=0.01)
    assert_fills(found[:, 0, 1, 0] - found[:, 0, 0, 0], 75, 125)


def test_brightness_goes_both_ways():
    pictures = np.full((BATCH, HEIGHT, WIDTH, 3), 128, np.uint8)
    labels = np.zeros(pictures.shape[:3], np.uint8)
    augment = augmenter(brightness=0.2)
    found = np.concatenate([altered(augment, pictures, labels, (0, step))[0] for step in range(3)])
    assert np.ptp(found, axis=(1, 2, 3)).max() < 1e-3
    assert_fills(found[:, 0, 0, 0], 128 - 51, 128 + 51)


def test_noise_has_its_deviation_and_is_drawn_for_every_value():
    pictures = np.full((BATCH, HEIGHT, WIDTH, 3), 128, np.uint8)
    found, _ = altered(augmenter(noise=0.04), pictures, np.zeros(pictures.shape[:3], np.uint8))
    noise = (found - 128).reshape(-1, 3)
    np.testing.assert_allclose(noise.std(axis=0), 0.04 * 255, rtol=0.02)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.1)
    assert abs(np.corrcoef(noise.T)[np.triu_indices(3, 1)]).max() < 0.02
    assert abs(np.corrcoef(found.reshape(BATCH, -1)[:2])[0, 1]) < 0.1


def test_light_leaves_masks_alone_and_stays_within_0_and_255():
    labels = blobs(2)
    pictures = (255 * labels)[..., None]
    found, masks = altered(augmenter(contrast=0.5, brightness=0.5, noise=0.5), pictures, labels)
    assert (masks == labels).all()
    assert found.min() == 0
    assert found.max() == 255


# --- off, seeds, types ---


@pytest.mark.parametrize("asked", [Augmentation(enabled=False), Augmentation(**NOTHING)], ids=["disabled", "nothing"])
def test_off_changes_nothing(asked):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, (3, HEIGHT, WIDTH), dtype=np.uint8)
    augment = Augmenter(asked, classes=4, background=7)
    found, masks = altered(augment, pictures, labels)
    assert not augment.active
    assert found.dtype == np.float32
    assert (found == pictures).all()
    assert masks.dtype == np.uint8
    assert (masks == labels).all()


def example(batch=4, channels=1):
    labels = blobs(2, batch)
    pictures = np.random.default_rng(1).integers(0, 256, (batch, HEIGHT, WIDTH, channels), dtype=np.uint8)
    return pictures, labels


def test_the_same_seeds_give_the_same_bytes_whatever_came_before():
    pictures, labels = example()
    asked = Augmentation(elastic=0.03)
    first, second = Augmenter(asked, classes=1), Augmenter(asked, classes=1)
    expected = [altered(first, pictures, labels, (3, 2, step)) for step in range(3)]
    for step in (2, 0, 1):
        again = altered(second, pictures, labels, (3, 2, step))
        assert [one.tobytes() for one in again] == [one.tobytes() for one in expected[step]]
    assert altered(first, pictures, labels, (3, 2, 0))[0].tobytes() == expected[0][0].tobytes()


def test_other_seeds_give_another_outcome_each():
    pictures, labels = example()
    augment = Augmenter(Augmentation(), classes=1)
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32 - 1, 10**6, 10**6)]
    assert len({altered(augment, pictures, labels, one)[0].tobytes() for one in seeds}) == len(seeds)


@pytest.mark.parametrize("only", [*WARPS[2:], {"contrast": 0.2}, {"brightness": 0.2}, {"noise": 0.1}], ids=str)
def test_every_image_of_a_batch_is_drawn_for_by_itself(only):
    pictures, labels = example(8)
    pictures[:], labels[:] = pictures[0], labels[0]
    found, _ = altered(augmenter(**only), pictures, labels)
    assert len({one.tobytes() for one in found}) == 8


def test_nothing_is_taken_from_the_generators_of_others():
    pictures, labels = example()
    before = random.getstate(), np.random.get_state()[1].tobytes()
    altered(Augmenter(Augmentation(elastic=0.03), classes=1), pictures, labels)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before


def test_the_dtype_policy_does_not_matter():
    pictures, labels = example()
    expected = altered(Augmenter(Augmentation(), classes=1), pictures, labels)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = altered(Augmenter(Augmentation(), classes=1), pictures, labels)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_types_are_kept_and_bytes_are_as_good_as_floats(channels):
    pictures, labels = example(5, channels)
    augment = Augmenter(Augmentation(), classes=1)
    found, masks = altered(augment, pictures, labels)
    assert (found.shape, found.dtype, masks.shape, masks.dtype) == (pictures.shape, "float32", labels.shape, "uint8")
    assert found.min() >= 0
    assert found.max() <= 255
    floats, _ = altered(augment, pictures.astype(np.float32), labels)
    assert (floats == found).all()


def test_a_smaller_batch_and_another_size_will_do():
    augment = Augmenter(Augmentation(), classes=1)
    for shape in ((5, 24, 40), (2, 24, 40), (1, 1, 1)):
        found, masks = altered(augment, np.zeros((*shape, 1), np.uint8), np.zeros(shape, np.uint8))
        assert found.shape == (*shape, 1)
        assert masks.shape == shape


# --- the contact sheet ---


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet_shows_every_image_plain_and_then_altered(channels, tmp_path):
    pictures, labels = example(3, channels)
    augment = Augmenter(Augmentation(), classes=1)
    out = augmentation_sheet.show(pictures, labels, "abc", augmenter=augment, out=tmp_path / "sheet.png")
    sheet = images.read_png(out)
    columns = 1 + augmentation_sheet.VERSIONS
    plain = images.contact_sheet(
        [images.Tile(pictures[0].squeeze(), labels[0], "a")], columns=columns, side=augmentation_sheet.SIDE
    )
    assert sheet.shape[1] == plain.shape[1]
    assert sheet.shape[0] > 2.5 * plain.shape[0]
    across = sheet.shape[1] // columns
    assert (sheet[: plain.shape[0] - 12, :across] == plain[:-12, :across]).all()
    tiles = [sheet[: plain.shape[0] - 30, at * across : (at + 1) * across - 8].tobytes() for at in range(columns)]
    assert len(set(tiles)) == columns


def test_the_sheet_is_the_same_for_the_same_seed_only(tmp_path):
    pictures, labels = example(2)
    augment = Augmenter(Augmentation(), classes=1)
    bytes_ = [
        augmentation_sheet.show(
            pictures, labels, "ab", augmenter=augment, out=tmp_path / "sheet.png", seed=seed
        ).read_bytes()
        for seed in (5, 5, 6)
    ]
    assert bytes_[0] == bytes_[1] != bytes_[2]


def test_a_sheet_that_cannot_be_is_refused(tmp_path):
    pictures, labels = example(2)
    augment = augmenter()
    with pytest.raises(UsageError, match="is a PNG"):
        augmentation_sheet.show(pictures, labels, "ab", augmenter=augment, out=tmp_path / "sheet.jpg")
    with pytest.raises(InputError, match="no such folder"):
        augmentation_sheet.show(pictures, labels, "ab", augmenter=augment, out=tmp_path / "none" / "sheet.png")
    with pytest.raises(InputError, match="no image"):
        augmentation_sheet.show(pictures[:0], labels[:0], "", augmenter=augment, out=tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())
