"""What a mask's values mean: two of them, a threshold, or what was declared."""

import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imagemask import masks
from imagemask.errors import CaseError, UsageError

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)


def of_values(*values, dtype=np.uint8):
    return arrays.arrays(dtype, SHAPES, elements=st.sampled_from(values))


def written(read, mask, *arguments, suffix=".png"):
    """What ``read`` makes of a file that holds ``mask``."""
    with tempfile.TemporaryDirectory() as folder:
        return read(save(Path(folder) / f"mask{suffix}", mask), *arguments)


def save(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


def code_of(read, mask, *arguments, suffix=".png"):
    with pytest.raises(CaseError) as caught:
        written(read, mask, *arguments, suffix=suffix)
    assert caught.value.file.name == f"mask{suffix}"
    assert caught.value.remedy
    return caught.value.code, caught.value.reason


@given(st.data(), st.integers(0, 255), st.integers(0, 255), st.sampled_from([1, 7, 255, 1000]))
@example(None, 0, 255, 1)
def test_of_any_two_values_the_larger_is_foreground(data, one, other, value):
    low, high = sorted((one, other))
    mask = np.array([[low, high]], np.uint8) if data is None else data.draw(of_values(low, high))
    found, flags = written(masks.binary, mask, value)
    top = mask.max()
    assert np.array_equal(found, np.where((mask == top) & (top > 0), value, 0))
    assert ("foreground_value" in flags) == (top not in (0, 1, 255))
    assert ("background_value" in flags) == (0 < mask.min() < top)
    assert ("mask_full" in flags) == (0 < mask.min() == top)


@pytest.mark.parametrize("high", [1, 255, 65535])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_as_good(high, suffix):
    mask = np.array([[0, high], [high, 0]], np.uint16)
    found, flags = written(masks.binary, mask, 1, suffix=suffix)
    assert found.tolist() == [[0, 1], [1, 0]]
    assert flags == ()


@given(of_values(0, 3, 128, 255))
def test_a_third_value_is_refused_with_the_histogram(mask):
    values, counts = np.unique(mask, return_counts=True)
    assume(len(values) > 2)
    code, reason = code_of(masks.binary, mask, 1)
    assert code == "label_values"
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        assert f"{value}: {count}" in reason


@given(arrays.arrays(np.uint8, SHAPES), st.integers(1, 255), st.sampled_from([1, 255, 300]))
@example(np.array([[127, 128, 129, 0]], np.uint8), 128, 1)
def test_from_the_threshold_up_is_foreground(mask, threshold, value):
    assume(not (mask.max() == 1 < threshold))
    found, flags = written(masks.cut, mask, threshold, value)
    assert np.array_equal(found, np.where(mask >= threshold, value, 0))
    assert (flags == ("mask_thresholded",)) == bool(((mask > 0) & (mask < 255)).any())


def test_a_threshold_that_would_empty_a_mask_of_0_and_1_is_refused():
    code, reason = code_of(masks.cut, np.eye(4, dtype=np.uint8), 128, 1)
    assert code == "label_values"
    assert "0: 12, 1: 4" in reason
    assert written(masks.cut, np.eye(4, dtype=np.uint8), 1, 1)[0].tolist() == np.eye(4).tolist()
    assert not written(masks.cut, np.zeros((4, 4), np.uint8), 128, 1)[0].any()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_threshold_beyond_the_file_s_depth_is_refused_with_the_range(suffix):
    code, reason = code_of(masks.cut, disc(), 256, 1, suffix=suffix)
    assert code == "label_values"
    assert "holds values up to 255, all below the threshold of 256: " in reason
    with pytest.raises(CaseError, match="from 1 to 255"):
        written(masks.cut, np.zeros((4, 4), np.uint8), 300, 1)
    assert written(masks.cut, disc().astype(np.uint16) * 257, 300, 1)[0].any()


def test_a_threshold_is_in_the_units_of_the_file():
    mask = np.array([[0, 300, 40000]], np.uint16)
    assert written(masks.cut, mask, 301, 1)[0].tolist() == [[0, 0, 1]]
    assert written(masks.cut, mask, 300, 1)[0].tolist() == [[0, 1, 1]]


def test_of_a_coloured_mask_the_brightest_channel_is_cut():
    purple = np.zeros((3, 3, 3), np.uint8)
    purple[1, 1] = (120, 0, 128)  # as grey it would be 52
    assert written(masks.cut, purple, 128, 1)[0].sum() == 1
    assert written(masks.cut, purple, 129, 1)[0].sum() == 0
    assert code_of(masks.binary, purple, 1)[0] == "colour_mask"


def test_damage_stays_damage():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(CaseError) as caught:
            masks.cut(path, 1, 1)
    assert caught.value.code == "damaged_image"


def disc():
    y, x = np.mgrid[:64, :64]
    return (((y - 30) ** 2 + (x - 25) ** 2 < 200) * 255).astype(np.uint8)


def test_a_jpeg_is_refused_with_the_histogram_that_shows_why():
    code, reason = code_of(masks.binary, disc(), 1, suffix=".jpg")
    assert code == "jpeg_mask"
    blurred = int(re.search(r"(\d+) values", reason)[1])
    assert blurred > 8
    assert "240-254: " in reason
    assert sum(int(count) for count in re.findall(r": (\d+)(?:,|$)", reason)) == 64 * 64


def test_a_jpeg_cut_at_the_middle_is_the_mask_that_was_meant():
    found, flags = written(masks.cut, disc(), 128, 1, suffix=".jpg")
    assert np.count_nonzero(found != (disc() > 0)) <= 0.01 * np.count_nonzero(disc())
    assert flags == ("mask_thresholded",)


def test_a_jpeg_of_noise_only_is_an_empty_mask():
    nearly = np.zeros((16, 16), np.uint8)
    nearly[::2] = 1
    found, _ = written(masks.cut, nearly, 128, 1, suffix=".jpg")
    assert not found.any()


def test_a_jpeg_is_known_by_its_bytes_not_its_name():
    with tempfile.TemporaryDirectory() as folder:
        jpeg = save(Path(folder) / "mask.jpg", disc()).rename(Path(folder) / "mask.png")
        with pytest.raises(CaseError, match="is a JPEG"):
            masks.refuse_jpeg(jpeg)
        png = save(Path(folder) / "other.png", disc())
        masks.refuse_jpeg(png.rename(Path(folder) / "other.jpg"))


def test_only_masks_that_are_jpeg_throughout_stop_a_build(tmp_path):
    jpegs = [save(tmp_path / f"{n}.jpg", disc()) for n in range(20)]
    png = save(tmp_path / "a.png", disc())
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"0\.jpg is a JPEG.* values, pixels by value 0: .*--mask-threshold 128"):
        masks.refuse_all_jpeg(jpegs)
    masks.refuse_all_jpeg([])
    masks.refuse_all_jpeg([png, *jpegs[:3]])
    masks.refuse_all_jpeg([jpegs[0], tmp_path / "b.jpg"])
    masks.refuse_all_jpeg([tmp_path / "gone.jpg"])


VALUES = st.lists(st.sampled_from([0, 1, 2, 254, 255, 65535]), min_size=1, max_size=2)


@given(st.lists(VALUES, max_size=5))
@example([[0, 1], [0, 2]])
@example([[0, 1], [0, 255], [0, 65535], [255]])
@example([[0, 2], [1, 2]])
@example([[1, 2], [1]])
@example([[0, 2], [0]])
def test_masks_of_two_values_agree_on_them(found):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = [save(folder / f"{n}.png", np.array([values], np.uint16)) for n, values in enumerate(found)]
        foreground = {max(values) for values in found} - {0}
        background = {min(values) for values in found if len(set(values)) > 1}
        if len({1 if value in (255, 65535) else value for value in foreground}) > 1 or len(background) > 1:
            with pytest.raises(UsageError) as caught:
                masks.refuse_mixed(folder, paths)
            said = caught.value
            assert said.reason.startswith(f"{folder}: ")
            assert all(f"{value}=NAME" in said.remedy for value in (foreground | background) - {0})
            assert "--mask-threshold" in said.remedy
        else:
            masks.refuse_mixed(folder, paths)


def test_masks_that_disagree_are_counted_by_value_with_a_file_each(tmp_path):
    several = [(0, 1), (0, 2), (0, 1), (0, 255), (0, 0)]
    paths = [save(tmp_path / f"{n}.png", np.array([values], np.uint8)) for n, values in enumerate(several)]
    with pytest.raises(
        UsageError, match=r"foreground is 1 in 2 masks \(0\.png first\), 2 in 1 mask \(1\.png first\), 255"
    ):
        masks.refuse_mixed(tmp_path, paths)
    paths = [save(tmp_path / f"{n}.png", np.array([[n, 255]], np.uint8)) for n in range(20)]
    with pytest.raises(
        UsageError, match=r": background is 0 in 1 mask .* 7 in 1 mask \(7\.png first\) and 12 values more\."
    ):
        masks.refuse_mixed(tmp_path, paths)


def test_what_is_no_mask_of_two_values_has_no_say(tmp_path):
    good = save(tmp_path / "good.png", np.array([[0, 1]], np.uint8))
    third = save(tmp_path / "third.png", np.array([[0, 1, 2]], np.uint8))
    colour = save(tmp_path / "colour.png", np.array([[[0, 1, 2]]], np.uint8))
    jpeg = save(tmp_path / "mask.jpg", np.full((8, 8), 128, np.uint8))
    (tmp_path / "empty.png").write_bytes(b"")
    masks.refuse_mixed(tmp_path, [good, third, colour, jpeg, tmp_path / "empty.png", tmp_path / "gone.png"])


@given(arrays.arrays(st.sampled_from([np.uint8, np.uint16]), SHAPES))
@example(np.arange(256, dtype=np.uint8).reshape(16, 16))
@example(np.array([[0, 65535, *range(30000, 30020)]], np.uint16))
def test_a_histogram_counts_every_pixel_once(mask):
    text = masks.histogram(mask)
    assert re.match(r"(\d+) values?, ", text)[1] == str(len(np.unique(mask)))
    assert sum(int(count) for count in re.findall(r": (\d+)", text)) == mask.size
    for low, high, count in re.findall(r"(\d+)(?:-(\d+))?: (\d+)", text):
        assert np.count_nonzero((mask >= int(low)) & (mask <= int(high or low))) == int(count)


def test_masks_come_in_the_smallest_type():
    mask = np.array([[0, 255]], np.uint8)
    assert written(masks.binary, mask, 255)[0].dtype == np.uint8
    assert written(masks.binary, mask, 256)[0].dtype == np.uint16


@given(st.data())
def test_only_zero_and_one_or_the_full_value_are_zero_and_one(data):
    dtype, full = data.draw(st.sampled_from([(np.uint8, 255), (np.uint16, 65535)]))
    mask = data.draw(
        of_values(0, 1, full, dtype=dtype) | of_values(0, 1, dtype=dtype) | of_values(0, full, dtype=dtype)
    )
    values = set(np.unique(mask).tolist())
    if values >= {1, full}:
        code, reason = code_of(masks.zero_or_one, mask)
        assert code == "label_values"
        assert "1: " in reason
        return
    found, flags = written(masks.zero_or_one, mask)
    assert np.array_equal(found, mask > 0)
    assert found.dtype == np.uint8
    assert ("bright_mask" in flags) == (full in values)
    assert ("mask_full" in flags) == (0 not in values)


@pytest.mark.parametrize("values", [(0, 128), (0, 128, 255), (0, 1, 255), (0, 2), (254, 255), (128,), (0, 254)])
def test_another_value_is_never_taken_for_foreground(values):
    code, reason = code_of(masks.zero_or_one, np.array([values], np.uint8))
    assert code == "label_values"
    assert f"{values[-1]}: 1" in reason


def test_a_mask_of_zero_and_one_is_no_jpeg(tmp_path):
    assert code_of(masks.zero_or_one, disc(), suffix=".jpg")[0] == "jpeg_mask"
    path = tmp_path / "mask.jpg"
    cv2.imwrite(str(path), disc())
    with pytest.raises(CaseError) as refused:  # no threshold is there to be given
        masks.zero_or_one(path)
    assert refused.value.remedy == "Fetch the mask as it was published, without loss (PNG)"


class TestCopies:
    """A picture that lies there several times."""

    @pytest.fixture
    def put(self, tmp_path):
        return lambda name, pixels: save(tmp_path / name, np.array(pixels, np.uint8))

    def test_one_of_equal_ones_is_read(self, put):
        paths = [put("a.png", [[5, 6]]), put("b.bmp", [[5, 6]])]
        outlines = [put("c.png", [[0, 1]]), put("d.png", [[0, 255]])]
        image, mask, flags = masks.of_copies(paths, outlines)
        assert (image.tolist(), mask.tolist(), flags) == ([[5, 6]], [[0, 1]], ("twin_dropped",))
        assert masks.of_copies(paths[:1], outlines[1:])[2] == ("bright_mask",)

    def test_without_a_mask_it_is_empty(self, put):
        image, mask, flags = masks.of_copies([put("a.png", np.full((2, 3, 3), 9))], [])
        assert (image.shape, mask.tolist(), flags) == ((2, 3, 3), [[0] * 3] * 2, ())

    @pytest.mark.parametrize(
        ("code", "image", "mask"), [("duplicate_stem", [[5, 7]], [[0, 1]]), ("twins_differ", [[5, 6]], [[1, 0]])]
    )
    def test_which_of_different_ones_is_right_is_not_guessed(self, put, code, image, mask):
        paths, outlines = [put("a.png", [[5, 6]]), put("b.png", image)], [put("c.png", [[0, 1]]), put("d.png", mask)]
        with pytest.raises(CaseError) as caught:
            masks.of_copies(paths, outlines)
        assert (caught.value.code, caught.value.file) == (code, (paths if code == "duplicate_stem" else outlines)[1])
        assert caught.value.remedy
