"""Contact sheets of cases and previews: what is drawn where, in which colour, and the same each time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from imagemask import images
from imagemask.errors import InputError
from imagemask.learn import sheets
from imagemask.learn.sheets import PREDICTION, TRUTH, Shown, cases_sheet, preview_sheet, zoom

SIDE = 40


def square(top, left, side=8, value=1, size=(SIDE, SIDE)):
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


def shown(truth=None, prediction=None, *, colour=False, caption="a caption", **given_):
    truth = square(4, 4) if truth is None else truth
    prediction = square(24, 24) if prediction is None else prediction
    image = np.full((*truth.shape, 3) if colour else truth.shape, 60, np.uint8)
    return Shown(image, truth, prediction, caption, **given_)


def pixels_of(sheet, colour):
    """Where a sheet of grey pictures is blue (truth) or orange (prediction), its legend aside: rows and columns."""
    red_over_blue = sheet[..., 0].astype(int) - sheet[..., 2]
    red_over_blue[: sheets._HEAD] = 0
    return np.nonzero({TRUTH: -red_over_blue, PREDICTION: red_over_blue}[colour] > 40)


def drawn(path):
    return images.read_image(path)


def cases(tmp_path, *groups, labels=("cancer",)):
    cases_sheet(tmp_path / "cases.png", groups, labels=labels, title="a title")
    return drawn(tmp_path / "cases.png")


def preview(tmp_path, *several, labels=("cancer",)):
    preview_sheet(tmp_path / "preview.png", several, labels=labels, title="epoch 3")
    return drawn(tmp_path / "preview.png")


MASKS = st.builds(square, st.integers(0, 39), st.integers(0, 49), st.integers(0, 20), st.just(1), st.just((40, 50)))


@given(MASKS, MASKS)
def test_the_enlarged_part_holds_both_masks_and_lies_in_the_picture(truth, prediction):
    box = zoom(shown(truth, prediction))
    assert 0 <= box.top < box.bottom <= 40
    assert 0 <= box.left < box.right <= 50
    outside = (truth > 0) | (prediction > 0)
    outside[box.top : box.bottom, box.left : box.right] = False
    assert not outside.any()


def test_a_picture_without_any_foreground_is_enlarged_whole():
    assert zoom(shown(square(0, 0, 0), square(0, 0, 0))) == (0, 0, SIDE, SIDE)


def test_a_small_lesion_is_enlarged_to_a_quarter_of_the_picture():
    box = zoom(shown(square(20, 20, 1), square(20, 20, 1)))
    assert (box.bottom - box.top, box.right - box.left) == (10, 10)


def test_truth_and_prediction_have_their_colours_and_their_places(tmp_path):
    sheet = cases(tmp_path, ("worst", [shown()]))
    # The truth lies above and left of the prediction, in the whole picture and in the part of it.
    (y, x), (v, u) = (pixels_of(sheet, colour) for colour in (TRUTH, PREDICTION))
    assert min(len(y), len(v)) > 50
    whole = x < 205, u < 205
    for there, here in zip(whole, (~whole[0], ~whole[1]), strict=True):
        assert there.any()
        assert here.any()
    assert y[whole[0]].max() < v[whole[1]].min()
    assert x[whole[0]].max() < u[whole[1]].min()


def test_an_outline_lies_on_the_border_of_its_mask(tmp_path):
    """190 pixels a panel, 40 pixels a picture: 4.75 a pixel, from (left 10, top 64)."""
    sheet = cases(tmp_path, ("worst", [shown(square(8, 12, 16), square(0, 0, 0))]))
    y, x = pixels_of(sheet, TRUTH)
    here = x < 204
    scale, top, left = 190 / SIDE, sheets._HEAD + sheets._GAP + sheets._LINE, sheets._GAP
    edges = (y[here].min(), y[here].max(), x[here].min(), x[here].max())
    wanted = (top + 8 * scale, top + 24 * scale, left + 12 * scale, left + 28 * scale)
    assert np.abs(np.subtract(edges, wanted)).max() < scale / 2


def test_a_prediction_of_the_truth_shows_both(tmp_path):
    sheet = cases(tmp_path, ("best", [shown(square(10, 10), square(10, 10))]))
    assert len(pixels_of(sheet, TRUTH)[0]) > 50
    assert len(pixels_of(sheet, PREDICTION)[0]) > 50


@pytest.mark.parametrize("mask", [square(0, 0, 0), square(0, 0, SIDE), square(0, 0, 5), square(39, 39, 1)])
def test_masks_that_are_empty_full_or_at_the_border_are_drawn(tmp_path, mask):
    sheet = cases(tmp_path, ("worst", [shown(mask, mask)]))
    assert len(pixels_of(sheet, PREDICTION)[0]) == 0 or mask.any()
    assert mask.all() or bool(len(pixels_of(sheet, TRUTH)[0])) == mask.any()


def test_every_group_has_its_row_and_every_case_its_place(tmp_path):
    one = cases(tmp_path, ("worst", [shown()]))
    sheet = cases(tmp_path, ("worst", [shown()] * 3), ("best", [shown()]))
    assert sheet.shape[0] > 1.7 * one.shape[0]
    assert sheet.shape[1] > 1200


def test_there_may_be_no_case_at_all(tmp_path):
    assert cases(tmp_path).ndim == 3
    assert preview(tmp_path).ndim == 3


def test_colour_pictures_keep_their_colours(tmp_path):
    one = shown(square(0, 0, 0), square(0, 0, 0), colour=True)
    one.image[:] = (200, 30, 90)
    sheet = cases(tmp_path, ("worst", [one]))
    assert tuple(sheet[sheets._HEAD + sheets._GAP + sheets._LINE + 90, 100][:3]) == (200, 30, 90)


def test_a_preview_shows_the_image_then_the_truth_then_the_prediction(tmp_path):
    sheet = preview(tmp_path, shown(square(4, 4, 20), square(10, 10, 20)))
    step = 180 + sheets._GAP // 2
    for colour, column in ((TRUTH, 1), (PREDICTION, 2)):
        _, x = pixels_of(sheet, colour)
        assert len(x) > 50
        assert ((x - sheets._GAP) // step == column).all()


def test_a_preview_is_shaded_by_probability(tmp_path):
    """Nothing reaches the threshold, as in a first epoch; what comes nearest to it is seen all the same."""
    probability = np.zeros((SIDE, SIDE), np.float32)
    probability[:, SIDE // 2 :] = 0.4
    sheet = preview(tmp_path, shown(square(0, 0, 0), square(0, 0, 0), probability=probability)).astype(int)
    y, x = sheets._HEAD + sheets._GAP + 90, sheets._GAP + 2 * (180 + sheets._GAP // 2)
    left, right = sheet[y, x + 45, :3], sheet[y, x + 135, :3]
    assert np.ptp(left) == 0
    assert np.ptp(right) > 10


def test_several_classes_are_in_the_legend_with_their_names_and_one_is_not(tmp_path):
    legend = slice(0, sheets._HEAD)
    one = preview(tmp_path, shown())[legend]
    several = preview(tmp_path, shown(), labels=("nucleus", "cytoplasm"))[legend]
    assert (several[..., :3] < 128).all(axis=-1).sum() > 1.5 * (one[..., :3] < 128).all(axis=-1).sum()


def test_classes_have_line_styles(tmp_path):
    """A dashed outline is shorter than a solid one."""
    lengths = []
    for value in (1, 2):
        mask = square(5, 5, 30, value)
        sheet = cases(tmp_path, ("worst", [shown(mask, square(0, 0, 0))]), labels=("a", "b"))
        lengths.append(len(pixels_of(sheet, TRUTH)[0]))
    assert lengths[1] < 0.9 * lengths[0]


@pytest.mark.parametrize("draw", [cases, preview])
def test_equal_input_gives_equal_bytes(tmp_path, draw):
    found = []
    for _ in range(2):
        draw(tmp_path, *([("worst", [shown()])] if draw is cases else [shown()]))
        found.append((tmp_path / f"{draw.__name__}.png").read_bytes())
    assert found[0] == found[1]


def test_a_long_caption_stays_within_its_case(tmp_path):
    """Its middle is left out; below the pictures of its neighbour there is only paper."""
    sheet = cases(tmp_path, ("worst", [shown(caption="x" * 300), shown(caption="")]))
    below = sheets._HEAD + sheets._GAP + sheets._LINE + 190
    assert (sheet[below : below + 18, 10:390, :3] < 128).any()
    assert (sheet[below : below + 18, 425:, :3] > 250).all()


def test_a_caption_is_text_and_no_formula(tmp_path):
    assert cases(tmp_path, ("worst", [shown(caption=r"$\frac{1}$ {} 5 $")])).any()


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "cases.png").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        cases_sheet(tmp_path / "cases.png", [], labels=["a"], title="")
