"""From a picture to what the network sees, and back: the build's own steps, the scale, the channels, the batches."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predicting import Bright, dice, record

from imagemask import pixels
from imagemask.errors import CaseError, InputError
from imagemask.learn import views
from imagemask.learn.tiles import Tiled
from imagemask.learn.views import Steps, Whole
from imagemask.types import Slice

shapes = st.tuples(st.integers(2, 60), st.integers(2, 60))


def seen(steps, picture):
    return list(steps.view(picture).inputs())


def round_trip(steps, picture, model=None):
    ((_, found),) = views.predicted(model or Bright(), [(0, steps.view(picture))], batch_size=4, flips=False)
    return found


def disc(height, width):
    y, x = (np.arange(length) / length - 0.5 for length in (height, width))
    return ((y[:, None] ** 2 + x**2) < 0.1).astype(np.uint8)[..., None] * np.uint8(255)


@given(shapes, st.integers(8, 40), st.booleans(), st.integers(0, 255))
def test_the_network_sees_what_a_build_would_write(shape, size, stretch, background):
    image = np.random.default_rng(size).integers(-900, 900, shape).astype(np.int16)
    made = record(
        height=size,
        width=size,
        recipe={"size": size, "stretch": stretch, "window": ["-500:300"]},
        background=background,
    )
    steps = Steps(made)
    (found,) = seen(steps, steps.picture(image))
    plain = Slice(0, image, np.zeros(shape, np.uint8))
    built, _ = pixels.fit(pixels.window(plain, [(-500, 300)]), size, stretch=stretch, background=background)
    assert np.array_equal(found[..., 0], built.image)


@given(shapes, st.sampled_from([None, 24, 40]), st.booleans())
def test_probabilities_come_back_at_the_size_of_the_picture(shape, size, stretch):
    steps = Steps(record(height=24, width=32, recipe={"size": size, "stretch": stretch}, picture=None))
    found = round_trip(steps, np.full((*shape, 1), 200, np.uint8))
    assert found.shape == (*shape, 1)
    assert found.dtype == np.float32
    if size is None or stretch:  # else what pads the recipe's square runs into the picture when that is resized
        np.testing.assert_allclose(found, 200 / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (90, 70), (50, 80), (200, 120)])
@pytest.mark.parametrize(("size", "stretch"), [(None, False), (64, False), (64, True)])
def test_a_shape_comes_back_to_its_place(shape, size, stretch):
    picture = disc(*shape)
    steps = Steps(record(height=64, width=64, recipe={"size": size, "stretch": stretch}, picture=None))
    found = round_trip(steps, picture)[..., 0] >= 0.5
    assert dice(found, picture[..., 0]) > 0.96


@pytest.mark.parametrize("size", [None, 80])
def test_of_a_cropped_picture_the_centre_is_seen_and_comes_back_to_its_place(size):
    picture = np.full((160, 160, 1), 255, np.uint8)
    picture[50:90, 60:110] = 90
    steps = Steps(record(height=40, width=40, recipe={"size": size}, picture=None, crop_share=0.25))
    (found,) = seen(steps, picture)
    assert (found[5:25, 10:35] == 90).all()
    assert (found[30:] == 255).all()
    back = round_trip(steps, picture)[..., 0]
    assert back.shape == (160, 160)
    np.testing.assert_allclose(back[54:86, 64:106], 90 / 255, atol=1e-6)
    np.testing.assert_allclose(back[96:116, 44:116], 1, atol=1e-6)
    outside = np.ones((160, 160), bool)
    outside[38:122, 38:122] = False
    assert not back[outside].any()


def test_a_picture_of_the_right_size_is_not_touched():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    (found,) = seen(Steps(record()), picture)
    assert np.shares_memory(found, picture)
    assert np.array_equal(round_trip(Steps(record()), picture), picture.astype(np.float32) / 255)


NATIVE = {"recipe": {"size": None}, "picture": (32, 32)}


@pytest.mark.parametrize(
    ("changes", "shape", "tiled"),
    [
        (NATIVE, (33, 20), True),
        (NATIVE, (20, 33), True),
        (NATIVE, (32, 32), False),
        (NATIVE, (10, 32), False),
        ({**NATIVE, "picture": (30, 29)}, (90, 90), True),  # padded to the network's size: still its own pixels
        ({**NATIVE, "picture": (64, 64)}, (90, 90), False),  # was shrunk for training
        ({**NATIVE, "picture": (16, 16)}, (90, 90), False),  # was enlarged
        ({**NATIVE, "picture": None}, (90, 90), False),  # of many sizes: each was fitted
        ({"recipe": {"size": 32}}, (90, 90), False),  # the build has fitted them
        ({**NATIVE, "picture": (64, 64), "crop_share": 0.25}, (90, 90), False),  # a tile is not the centre
    ],
)
def test_large_pictures_are_tiled_where_the_network_knows_their_scale(changes, shape, tiled):
    picture = np.zeros((*shape, 1), np.uint8)
    kind = {"auto": Tiled if tiled else Whole, "never": Whole, "always": Tiled}
    for tiling, expected in kind.items():
        assert type(Steps(record(**changes), tiling).view(picture)) is expected
    assert type(Steps(record(**changes)).of_volumes().view(picture)) is Whole
    assert type(Steps(record(**changes), "always").of_volumes().view(picture)) is Tiled


def test_one_tile_is_no_tiling():
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 1), np.uint8)
    whole, tiled = (round_trip(Steps(record(), tiling), picture) for tiling in ("never", "always"))
    assert np.array_equal(whole, tiled)


@given(st.lists(st.integers(20, 80), min_size=1, max_size=5), st.integers(1, 7), st.booleans())
def test_batches_are_filled_across_pictures_and_each_gets_its_own_back(widths, batch_size, flips):
    rng = np.random.default_rng(len(widths))
    pictures = [rng.integers(0, 256, (32, width, 1), np.uint8) for width in widths]
    steps, model = Steps(record()), Bright()
    given_ = ((number, steps.view(picture)) for number, picture in enumerate(pictures))
    found = list(views.predicted(model, given_, batch_size=batch_size, flips=flips))
    assert [number for number, _ in found] == list(range(len(widths)))
    for (_, probabilities), picture in zip(found, pictures, strict=True):
        if picture.shape[1] >= 26:
            np.testing.assert_allclose(probabilities, picture / np.float32(255), atol=2e-6)
    inputs = sum(steps.view(picture).count for picture in pictures)
    assert {shape[0] for shape in model.shapes} == {min(batch_size, inputs)}
    assert len(model.shapes) == (4 if flips else 1) * -(-inputs // min(batch_size, inputs))


def test_nothing_to_show_asks_nobody():
    assert list(views.predicted(None, [], batch_size=8, flips=False)) == []


def test_pictures_are_read_as_they_are_needed():
    taken = []

    def endless():
        for number in range(100):
            taken.append(number)
            yield number, Steps(record()).view(np.zeros((32, 32, 1), np.uint8))

    found = views.predicted(Bright(), endless(), batch_size=4, flips=False)
    next(found)
    assert len(taken) <= 8


def test_grey_becomes_colour_and_colour_is_never_made_grey():
    grey = np.random.default_rng(2).integers(0, 256, (8, 9), np.uint8)
    rgb = Steps(record(channels=3)).picture(grey)
    assert rgb.shape == (8, 9, 3)
    assert (rgb == grey[..., None]).all()
    assert np.array_equal(Steps(record()).picture(rgb)[..., 0], grey)  # three channels that say the same
    coloured = rgb.copy()
    coloured[3, 3, 1] ^= 1
    assert np.array_equal(Steps(record(channels=3)).picture(coloured), coloured)
    with pytest.raises(CaseError) as caught:
        Steps(record()).picture(coloured)
    assert caught.value.code == "image_channels"
    assert "grey" in caught.value.remedy


def test_three_windows_make_colours():
    image = np.arange(12, dtype=np.int16).reshape(3, 4)
    found = Steps(record(channels=3, recipe={"window": ["0:11", "0:5", "6:11"]})).picture(image)
    assert found.shape == (3, 4, 3)
    assert found[2, 3].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [116, 255, 0]


def test_16_bits_are_divided_and_other_numbers_need_a_window():
    steps = Steps(record())
    assert steps.picture(np.full((2, 2), 65535, np.uint16)).max() == 255
    for kind in (np.int16, np.float32):
        with pytest.raises(CaseError) as caught:
            steps.picture(np.zeros((2, 2), kind))
        assert caught.value.code == "window_needed"
        assert "fake" in caught.value.reason
    bad = np.zeros((2, 2), np.float32)
    bad[0, 0] = np.nan
    with pytest.raises(CaseError) as caught:
        Steps(record(recipe={"window": ["0:1"]})).picture(bad)
    assert caught.value.code == "nan_voxels"


def test_memory_that_does_not_suffice_names_the_batch_size_to_try():
    class Full:
        def predict_on_batch(self, _stack):
            raise MemoryError("RESOURCE_EXHAUSTED: OOM when allocating")

    class Wrong:
        def predict_on_batch(self, _stack):
            raise RuntimeError("something else")

    view = Steps(record()).view(np.zeros((32, 128, 1), np.uint8))
    with pytest.raises(InputError, match=r"--batch-size 2"):
        list(views.predicted(Full(), [(0, view)], batch_size=4, flips=False))
    with pytest.raises(InputError, match=r"more memory"):
        list(views.predicted(Full(), [(0, view)], batch_size=1, flips=False))
    with pytest.raises(RuntimeError, match=r"something else"):
        list(views.predicted(Wrong(), [(0, view)], batch_size=1, flips=False))


def test_a_picture_that_cannot_be_read_is_no_lack_of_memory():
    class Sound:
        def predict_on_batch(self, stack):
            return np.zeros((*stack.shape[:3], 1), np.float32)

    def some():
        for number in range(6):
            yield number, Steps(record()).view(np.zeros((32, 128, 1), np.uint8))
        raise CaseError("unreadable_file", "x: out of memory")

    with pytest.raises(CaseError, match="x: out of memory"):
        list(views.predicted(Sound(), some(), batch_size=2))


def test_a_result_before_its_time_is_refused():
    with pytest.raises(ValueError, match=r"no probabilities"):
        Whole(np.zeros((32, 32, 1), np.uint8), record()).result()


def test_steps_are_a_value():
    assert dataclasses.replace(Steps(record()), tiling="never") == Steps(record(), "never")
