"""Colours and values of masks as labels: exact colours, smoothed edges, and nothing that nobody declared."""

import io
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from imagemask.generators.ovarian_tumor import COLOURS, NAMES
from PIL import Image

from imagemask.errors import CaseError
from imagemask.pictures import palettes

BLACK = (0, 0, 0)
PALETTE = {0: BLACK} | {label: colour for colour, label in COLOURS.items()}
LABELS = of_numpy.arrays(
    np.uint8, of_numpy.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 8)
)


def painted(labels):
    """Labels as the published annotations show them, RGB."""
    return np.array([PALETTE[label] for label in range(9)], np.uint8)[np.asarray(labels)]


def save(folder, picture, *, kind="PNG", **settings):
    path = Path(folder) / "1.PNG"
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.asarray(picture, None if isinstance(picture, np.ndarray) else np.uint8))
    picture.save(path, format=kind, **settings)
    return path


def code_of(call, *arguments, **settings):
    with pytest.raises(CaseError) as caught:
        call(*arguments, **settings)
    assert caught.value.remedy
    assert caught.value.file
    return caught.value.code


def test_the_classes_are_those_that_were_published():
    assert NAMES[1] == "Chocolate cyst"
    assert COLOURS[64, 0, 0] == 1
    assert NAMES[COLOURS[0, 0, 64]] == "Teratoma"
    assert sorted(COLOURS.values()) == sorted(NAMES) == list(range(1, 9))


@given(LABELS)
def test_every_colour_is_its_class(labels):
    with tempfile.TemporaryDirectory() as folder:
        mask, flags = palettes.classes(save(folder, painted(labels)), COLOURS)
    assert np.array_equal(mask, labels)
    assert flags == (("several_classes",) if len(set(labels.ravel()) - {0}) > 1 else ())


@pytest.mark.parametrize("label", [1, 255, 256, 65535])
def test_a_label_may_have_16_bits(tmp_path, label):
    mask, _ = palettes.classes(save(tmp_path, painted([[0, 3], [3, 0]])), {PALETTE[3]: label})
    assert mask.tolist() == [[0, label], [label, 0]]


@given(LABELS, st.sampled_from(["P", "RGBA", "deep", "interlaced", "BMP", "TIFF"]))
def test_every_way_to_store_colours_gives_the_same_classes(labels, how):
    rgb = painted(labels)
    with tempfile.TemporaryDirectory() as folder:
        if how == "P":  # palette indices say nothing here: the colours do
            picture = Image.fromarray(((labels + 100) % 251).astype(np.uint8), "P")
            table = np.zeros((256, 3), np.uint8)
            for label, colour in PALETTE.items():
                table[(label + 100) % 251] = colour
            picture.putpalette(table.tobytes())
            path = save(folder, picture)
        elif how == "RGBA":
            path = save(folder, np.dstack([rgb, np.full(labels.shape, 255, np.uint8)]))
        elif how == "deep":
            path = Path(folder) / "1.PNG"
            assert cv2.imwrite(str(path), rgb[..., ::-1].astype(np.uint16) * 257)
        else:
            path = save(folder, rgb, kind=how if how in ("BMP", "TIFF") else "PNG")
        mask, flags = palettes.classes(path, COLOURS)
        assert np.array_equal(mask, labels)
        assert ("palette_mask" in flags) == (how == "P")


def indexed(folder, indices, colours, **settings):
    picture = Image.fromarray(np.array(indices, np.uint8), "P")
    picture.putpalette([channel for colour in colours for channel in colour])
    return save(folder, picture, **settings)


@given(LABELS)
def test_the_published_palette_is_not_ambiguous(labels):
    with tempfile.TemporaryDirectory() as folder:
        path = indexed(folder, labels, [PALETTE[label] for label in range(9)])
        for strict in (True, False):
            mask, flags = palettes.labels(path, COLOURS, value=9, strict=strict)
            assert np.array_equal(mask, labels)
            assert flags[-1] == "palette_mask"


def test_a_palette_that_tells_other_classes_than_its_indices_is_not_guessed(tmp_path):
    usual = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]  # 2 and 4 look like labels 7 and 8
    path = indexed(tmp_path, [[0, 2], [4, 0]], usual)
    with pytest.raises(CaseError, match="ambiguous") as caught:
        palettes.classes(path, COLOURS)
    assert caught.value.code == "unknown_colour"
    mask, flags = palettes.labels(path, COLOURS, value=9)
    assert mask.tolist() == [[0, 9], [9, 0]]
    assert flags == ("several_classes", "palette_mask")
    made_up = indexed(tmp_path, [[0, 1], [1, 0]], [(0, 64, 0), BLACK])  # black is no class: these are no labels
    assert palettes.classes(made_up, COLOURS)[0].tolist() == [[2, 0], [0, 2]]


def test_a_transparent_palette_tells_foreground_and_no_classes(tmp_path):
    path = indexed(tmp_path, [[0, 1], [1, 0]], [BLACK, (64, 0, 0)], transparency=0)
    assert palettes.labels(path, COLOURS, value=9)[0].tolist() == [[0, 9], [9, 0]]
    assert code_of(palettes.labels, path, COLOURS, value=9, strict=True) == "transparent_image"


def test_red_and_blue_do_not_change_places(tmp_path):
    teratoma, chocolate = save(tmp_path, [[[0, 0, 64]] * 3] * 3), tmp_path / "2.PNG"
    assert palettes.classes(teratoma, COLOURS)[0].tolist() == [[3] * 3] * 3
    chocolate.write_bytes(cv2.imencode(".png", np.full((3, 3, 3), (0, 0, 64), np.uint8))[1])  # OpenCV: blue first
    assert palettes.classes(chocolate, COLOURS)[0].tolist() == [[1] * 3] * 3


def test_grey_is_the_class_of_three_equal_channels(tmp_path):
    path = save(tmp_path, np.array([[0, 64], [64, 0]], np.uint8))
    assert palettes.classes(path, COLOURS)[0].tolist() == [[0, 6], [6, 0]]
    assert code_of(palettes.classes, save(tmp_path, np.full((9, 9), 255, np.uint8)), COLOURS) == "unknown_colour"


def test_a_mask_is_never_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    labels = np.arange(6).reshape(2, 3) % 9
    path = save(tmp_path, painted(labels), exif=exif)
    assert np.array_equal(palettes.classes(path, COLOURS)[0], labels)


# --- smoothed edges


@given(st.sampled_from(sorted(COLOURS)), st.floats(24, 40), st.floats(44, 46), st.floats(44, 46))
def test_a_smoothed_edge_gets_the_nearest_class(colour, radius, row, column):
    y, x = np.mgrid[:90, :90]
    cover = np.clip(radius - np.hypot(y - row, x - column) + 0.5, 0, 1)[..., None]
    picture = np.rint(cover * np.array(colour)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        mask, flags = palettes.classes(save(folder, picture), COLOURS)
    label, half = COLOURS[colour], COLOURS.get(tuple(channel // 2 for channel in colour))
    assert set(np.unique(mask)) - {half} == {0, label}  # half of (0, 128, 0) is a class itself
    assert flags[0] == "colours_mended"
    clear = np.abs(cover[..., 0] - 0.5) > (0.02 if half is None else 0.27)
    assert np.array_equal((mask > 0)[clear], (cover[..., 0] > 0.5)[clear])


def test_a_tie_goes_to_the_foreground(tmp_path):
    picture = np.zeros((6, 6, 3), np.uint8)
    picture[:3] = (64, 0, 0)
    picture[3, 0] = (32, 0, 0)
    mask, flags = palettes.classes(save(tmp_path, picture), COLOURS)
    assert mask[3].tolist() == [1, 0, 0, 0, 0, 0]
    assert flags == ("colours_mended",)


def test_a_stray_pixel_gets_no_class_that_is_not_there(tmp_path):
    picture = np.zeros((6, 6, 3), np.uint8)
    picture[:3] = (0, 128, 0)
    picture[3, :2] = (0, 90, 0), (0, 60, 0)  # both nearer to (0, 64, 0)
    assert palettes.classes(save(tmp_path, picture), COLOURS)[0][3, :2].tolist() == [7, 0]


def test_between_two_classes_it_is_one_of_them(tmp_path):
    picture = np.zeros((6, 6, 3), np.uint8)
    picture[:3], picture[3:] = (64, 0, 0), (0, 0, 128)
    picture[3, :2] = (40, 0, 48), (20, 3, 90)
    mask, flags = palettes.classes(save(tmp_path, picture), COLOURS)
    assert mask[3].tolist() == [1, 8, 8, 8, 8, 8]
    assert flags == ("colours_mended", "several_classes")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda picture: picture[20:23, 20:23].fill(40), "(40, 40, 40): 9 pixels"),  # an area, however near
        (lambda picture: picture[20, 20:22].fill(73), "(73, 73, 73): 2 pixels"),  # no mixture of black and grey
        (lambda picture: picture[::2, ::2].fill(60), "(60, 60, 60): 400 pixels"),  # too many
    ],
)
def test_colours_of_no_class_are_refused_with_their_pixels(spoil, words, tmp_path):
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20] = 64
    spoil(picture)
    with pytest.raises(CaseError, match=re.escape(words)) as caught:
        palettes.classes(save(tmp_path, picture), COLOURS)
    assert caught.value.code == "unknown_colour"


def test_many_colours_are_counted_the_commonest_first(tmp_path):
    picture = np.zeros((40, 40, 3), np.uint8)
    for place, level in enumerate((90, 110, 150, 170, 190)):
        picture[: place + 4, place * 5 : place * 5 + 4] = level
    with pytest.raises(CaseError, match=r"\(190, 190, 190\): 32 pixels, .* and 2 more"):
        palettes.classes(save(tmp_path, picture), COLOURS)


def test_a_jpeg_tells_no_classes(tmp_path):
    path = save(tmp_path, painted(np.ones((16, 16), int)), kind="JPEG")
    assert code_of(palettes.classes, path, COLOURS) == "jpeg_mask"


# --- two values


@given(LABELS, st.sampled_from([1, 128, 255, 7]), st.sampled_from(["L", "P", "LA", "RGB", "1", "deep"]))
def test_two_values_are_foreground_and_background_however_they_are_written(labels, value, how):
    inside = labels > 4
    grey = inside * np.uint8(value)
    with tempfile.TemporaryDirectory() as folder:
        if how == "P":
            picture = Image.fromarray(grey, "P")
            picture.putpalette([200, 10, 10] * 256)  # the colours say nothing here: the indices do
        elif how == "deep":
            picture = Image.fromarray(inside * np.uint16(value * 257))
        elif how == "1":
            picture = Image.fromarray(inside)
        elif how == "LA":
            picture = Image.fromarray(np.dstack([grey, np.full_like(grey, 255)]), "LA")
        else:
            picture = Image.fromarray(grey).convert(how)
        mask, _ = palettes.foreground(save(folder, picture), 9)
    assert np.array_equal(mask, inside * 9)


def test_more_values_are_cut_where_a_threshold_tells_and_only_there(tmp_path):
    soft = save(tmp_path, np.array([[0, 100], [128, 255]], np.uint8))
    assert code_of(palettes.foreground, soft, 1) == "label_values"
    assert palettes.foreground(soft, 1, threshold=128)[0].tolist() == [[0, 0], [1, 1]]
    hard = save(tmp_path, np.array([[0, 1]], np.uint8))
    assert palettes.foreground(hard, 1, threshold=128)[0].tolist() == [[0, 1]]
    coloured = save(tmp_path, painted([[1, 2]]))
    assert code_of(palettes.foreground, coloured, 1) == "colour_mask"
    assert palettes.foreground(coloured, 1, threshold=32)[0].tolist() == [[1, 1]]


def test_errors_of_files_are_not_hidden_by_a_threshold(tmp_path):
    path = tmp_path / "1.PNG"
    assert code_of(palettes.foreground, path, 1, threshold=3) == "missing_file"
    path.write_bytes(b"")
    assert code_of(palettes.labels, path, COLOURS, value=1, threshold=3) == "empty_file"


def test_black_and_white_where_colours_were_expected_is_foreground(tmp_path):
    white = save(tmp_path, np.array([[0, 255], [255, 0]], np.uint8))
    assert palettes.labels(white, COLOURS, value=9)[0].tolist() == [[0, 9], [9, 0]]
    assert code_of(palettes.labels, white, COLOURS, value=9, strict=True) == "unknown_colour"
    assert palettes.labels(white, None, value=9)[0].tolist() == [[0, 9], [9, 0]]
    other = save(tmp_path, [[[200, 10, 10]] * 3] * 3)
    assert code_of(palettes.labels, other, COLOURS, value=9) == "unknown_colour"
    assert palettes.labels(other, COLOURS, value=9, threshold=128)[0].tolist() == [[9] * 3] * 3


# --- anything

KINDS = ["L", "P", "1", "LA", "RGB", "RGBA", "deep grey", "deep colours", "whole numbers", "fractions", "JPEG", "CMYK"]


def stored(array, kind):
    """Any numbers, HxW from 0 to 1, as a picture file of some kind."""
    grey = (array * 255).astype(np.uint8)
    colours = np.stack([grey, np.roll(grey, 1), grey // 2], axis=2)
    file = io.BytesIO()
    if kind == "deep colours":
        return cv2.imencode(".png", colours.astype(np.uint16) * 200)[1].tobytes()
    if kind in ("whole numbers", "fractions"):
        of_kind = (array * 5).astype(np.int32) if kind == "whole numbers" else array.astype(np.float32)
        Image.fromarray(of_kind).save(file, "TIFF")
    elif kind == "deep grey":
        Image.fromarray((array * 65535).astype(np.uint16)).save(file, "PNG")
    elif kind in ("JPEG", "CMYK"):
        Image.fromarray(colours).convert("CMYK" if kind == "CMYK" else "L").save(file, "JPEG")
    else:
        picture = (
            Image.fromarray(np.dstack([colours, 255 - grey // 128])) if kind == "RGBA" else Image.fromarray(colours)
        )
        (picture if kind in ("RGB", "RGBA") else picture.convert(kind)).save(file, "PNG")
    return file.getvalue()


def attempt(path, colours, **settings):
    """What is read, or why not."""
    try:
        return palettes.labels(path, colours, value=9, **settings), None
    except CaseError as error:
        return None, error


NUMBERS = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 0.25, 64 / 255]))


@given(
    array=of_numpy.arrays(np.float32, of_numpy.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=NUMBERS),
    kind=st.sampled_from(KINDS),
    colours=st.sampled_from([COLOURS, None]),
    threshold=st.one_of(st.none(), st.integers(1, 65535)),
    strict=st.booleans(),
    cut=st.one_of(st.none(), st.integers(0, 200)),
)
def test_any_picture_is_a_mask_of_declared_labels_or_refused(array, kind, colours, threshold, strict, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1.PNG"
        path.write_bytes(stored(array, kind)[:cut])
        read, refusal = attempt(path, colours, threshold=threshold, strict=strict)
        assert refusal is None or (refusal.file == path and refusal.remedy)
    mask, flags = read or (np.zeros_like(array, np.uint8), ())
    assert mask.shape == array.shape
    assert mask.dtype.kind in "iu"
    assert set(np.unique(mask).tolist()) <= {0, 9, *COLOURS.values()}
    assert all(flag.isidentifier() for flag in flags)
