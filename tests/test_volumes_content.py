"""Whether a label lies on what it should: what is suspected, what is only flagged, and what that costs."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from imagemask import phantoms
from imagemask.errors import CaseError
from imagemask.volumes import content

SOFT_TISSUE = (-50, 250)


@pytest.fixture(scope="module")
def right():
    """The upright image and mask, (slices, rows, columns), of a small abdomen."""
    body = phantoms.abdomen((9, 32, 32), seed=(4, 1))
    image, mask = zip(*(body.plane(index) for index in range(9)), strict=True)
    return np.stack(image), np.stack(mask)


def sampled(image, mask):
    """The flags of a label; or the code and the reason of its refusal."""
    try:
        return content.sample(image, mask, SOFT_TISSUE, file=Path("label"))[1]
    except CaseError as error:
        return f"{error.code}: {error.reason}"


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_label_is_suspected_that_would_fit_by_a_symmetry_of_its_slices(right, backwards, swap, turns):
    image, mask = right
    assert sampled(image, mask) == ()
    moved = np.rot90(mask.swapaxes(1, 2) if swap else mask, turns, axes=(1, 2))
    said = sampled(image, moved[::-1] if backwards else moved)
    share = ((image >= -50) & (image <= 250))[moved[::-1] > 0 if backwards else moved > 0].mean()
    if share < 0.4:  # of all slices, not only of those that are sampled
        assert said.startswith("orientation_suspect: ")
        assert ("rows and columns swapped" in said) == (swap != turns % 2)
    elif share < 0.7:
        assert said == ("label_off_range",) or said.startswith("orientation_suspect: ")
    else:
        assert said in ((), ("label_off_range",))


@pytest.mark.parametrize("fat", [0.1, 0.3, 0.45])
def test_a_right_label_of_an_organ_with_fat_in_it_is_never_refused(right, fat):
    """Though soft tissue beside it would fit better: a mirrored label lies on the liver."""
    image, mask = right
    fatty = np.where((mask > 0) & (np.random.default_rng(0).random(mask.shape) < fat), -95, image)
    assert sampled(fatty, mask) == (("label_off_range",) if fat > 0.2 else ())


def test_slices_that_are_not_square_can_only_be_mirrored(right):
    image, mask = (volume[:, 4:] for volume in right)
    assert "rows reversed" in sampled(image, mask[:, ::-1])
    assert "swapped" not in sampled(image, mask[:, ::-1])


def test_five_slices_are_decoded_and_five_more_where_a_label_is_doubted(right):
    image, mask = right

    class Plane:
        def __init__(self, index):
            self.index = index

        def __array__(self, dtype=None, copy=None):
            decoded.append(self.index)
            return image[self.index]

    for label, most in ((mask, 5), (mask.swapaxes(1, 2), 10)):
        decoded = []
        with suppress(CaseError):
            content.sample([Plane(index) for index in range(9)], label, SOFT_TISSUE, file=Path("label"))
        assert 0 < len(decoded) <= most


def test_a_label_that_is_no_better_elsewhere_is_flagged_and_read(right):
    image, mask = right
    fat = np.where(image > 0, -100, image)
    assert sampled(fat, mask) == ("label_off_range",)
