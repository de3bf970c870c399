import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from imagemask import augment
from imagemask.augment import Variant
from imagemask.errors import InputError, UsageError
from imagemask.types import Recipe, Slice

ANGLES = st.one_of(st.integers(-360, 360).map(float), st.floats(-360, 360).map(lambda x: round(x, 3)))
VARIANTS = st.builds(Variant, crop=st.integers(0, 500), flip=st.sampled_from(["", "h", "v"]), rotation=ANGLES)


def recipe(**fields):
    return Recipe(generator="any", name="any", **fields)


def names(**fields):
    return [one.name for one in augment.variants(recipe(**fields))]


@st.composite
def pairs(draw):
    """A pair of any small size whose image is a function of its mask."""
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    mask = draw(nps.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2])))
    return Slice(3, mask * np.uint8(100), mask, (0.5, 0.75), ("noted",))


# Names


@given(VARIANTS)
def test_a_name_and_its_variant_are_one(variant):
    parsed = augment.parse(variant.name)
    assert parsed.name == variant.name
    assert (parsed.crop, parsed.flip, parsed.rotation) == (variant.crop, variant.flip, variant.rotation)


@given(VARIANTS, VARIANTS)
def test_different_variants_have_different_names(one, other):
    assert (one.name == other.name) == (one == other)


@given(VARIANTS)
def test_a_name_is_safe_in_a_key_and_in_a_file_name(variant):
    assert set(variant.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.+-")


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (Variant(), ""),
        (Variant(crop=40), "crop40"),
        (Variant(flip="h"), "fliph"),
        (Variant(rotation=-5), "rot-5"),
        (Variant(rotation=2.5), "rot2.5"),
        (Variant(rotation=1e-7), "rot0.0000001"),
        (Variant(40, "h", 5.0), "crop40+fliph+rot5"),
    ],
)
def test_names(variant, name):
    assert variant.name == name
    assert augment.parse(name) == variant


NO_NAMES = [
    *("crop", "crop0", "crop-4", "crop040", "crop4+", "CROP4", "crop\u0664", "crop4fliph", "fliph+crop4"),
    *("flipx", "fliphv", "rot", "rot0", "rot5.0", "rot+5", "rot5 ", "rotnan", "rot1e2", "rot5+fliph", "+"),
]


@pytest.mark.parametrize("name", [*NO_NAMES, pytest.param("crop" + "9" * 5000, id="far too long")])
def test_any_other_text_names_no_variant(name):
    with pytest.raises(InputError, match="is not the name of a variant"):
        augment.parse(name)


# Enumeration


def test_the_plain_pair_comes_first_and_is_all_there_is_by_default():
    assert augment.variants(recipe()) == [Variant()]


def test_each_is_applied_alone_in_the_order_asked_for():
    asked = {"crops": (40, 80), "flips": ("v", "h"), "rotations": (5, -5)}
    assert names(**asked) == ["", "crop40", "crop80", "flipv", "fliph", "rot5", "rot-5"]


def test_combine_adds_the_product():
    assert names(crops=(4,), flips=("h",), rotations=(9,), combine=True) == [
        *("", "crop4", "fliph", "rot9"),
        *("fliph+rot9", "crop4+rot9", "crop4+fliph", "crop4+fliph+rot9"),
    ]


@given(
    st.lists(st.integers(0, 50), max_size=3),
    st.lists(st.sampled_from(["h", "v"]), max_size=3),
    st.lists(st.sampled_from([0.0, 5.0, -5.0, 355.0, 90.0, 360.0]), max_size=4),
    st.booleans(),
)
def test_no_two_variants_are_the_same_and_the_plain_pair_is_there_once(crops, flips, rotations, combine):
    found = augment.variants(recipe(crops=tuple(crops), flips=flips, rotations=rotations, combine=combine))
    assert found[0] == Variant()
    distinct = {(one.crop, one.flip, one.rotation % 360) for one in found}
    assert len(distinct) == len(found) == len({one.name for one in found})
    expected = [len({*crops, 0}), len({*flips, ""}), len({*(angle % 360 for angle in rotations), 0})]
    assert len(found) == (np.prod(expected) if combine else sum(expected) - 2)


@pytest.mark.parametrize(
    ("fields", "value"), [({"crops": (-1,)}, "-1"), ({"rotations": (361,)}, "361"), ({"rotations": (np.nan,)}, "nan")]
)
def test_what_makes_no_variant_is_refused_with_its_value(fields, value):
    with pytest.raises(UsageError, match=value):
        augment.variants(recipe(**fields))


def test_a_flip_that_no_recipe_can_hold_is_refused_too():
    unchecked = Recipe.model_construct(crops=(), flips=("d",), rotations=(), combine=False)
    with pytest.raises(UsageError, match="'d'"):
        augment.variants(unchecked)


# Application


@given(pairs())
def test_the_plain_pair_is_returned_as_it_is(pair):
    assert augment.apply(pair, Variant(), background=0) is pair
    assert augment.apply(pair, Variant(crop=2), background=0) is pair


@given(pairs(), st.sampled_from(["", "h", "v"]), st.sampled_from([0.0, 90.0, 180.0, -90.0, 450.0 - 360.0]))
def test_exact_variants_permute_the_pixels_of_image_and_mask_alike(pair, flip, rotation):
    done = augment.apply(pair, Variant(0, flip, rotation), background=7)
    np.testing.assert_array_equal(done.image, done.mask * 100)
    assert sorted(done.mask.ravel()) == sorted(pair.mask.ravel())
    assert (done.index, done.flags) == (pair.index, pair.flags)


def test_flips():
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    pair = Slice(0, mask, mask)
    assert augment.apply(pair, Variant(flip="h"), background=0).mask.tolist() == [[2, 1], [4, 3]]
    assert augment.apply(pair, Variant(flip="v"), background=0).mask.tolist() == [[3, 4], [1, 2]]


def test_the_flip_comes_before_the_rotation():
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    done = augment.apply(Slice(0, mask, mask), Variant(0, "h", 90.0), background=0)
    assert done.mask.tolist() == [[1, 3], [2, 4]]


def test_a_quarter_turn_swaps_height_and_width_and_the_spacing_with_them():
    pair = Slice(0, np.zeros((2, 5), np.uint8), np.zeros((2, 5), np.uint8), (0.5, 0.75))
    for degrees, shape, spacing in ((90, (5, 2), (0.75, 0.5)), (-90, (5, 2), (0.75, 0.5)), (180, (2, 5), (0.5, 0.75))):
        done = augment.apply(pair, Variant(rotation=degrees), background=0)
        assert (done.mask.shape, done.image.shape, done.spacing) == (shape, shape, spacing)
    without = augment.apply(Slice(0, pair.image, pair.mask), Variant(rotation=90), background=0)
    assert without.spacing is None


@given(pairs(), st.sampled_from([5.0, -5.0, 33.3, 211.0]), st.sampled_from(["", "h", "v"]), st.integers(0, 255))
def test_odd_angles_keep_the_size_and_declare_no_new_value(pair, rotation, flip, background):
    done = augment.apply(pair, Variant(0, flip, rotation), background=background)
    assert done.mask.shape == done.image.shape == pair.mask.shape
    assert done.spacing == pair.spacing
    assert set(np.unique(done.mask)) <= set(np.unique(pair.mask)) | {0}


def test_colours_are_turned_together_onto_the_background():
    colours = np.full((31, 31, 3), (10, 20, 30), np.uint8)
    done = augment.apply(Slice(0, colours, np.ones((31, 31), np.uint8)), Variant(rotation=45), background=255)
    assert done.image[15, 15].tolist() == [10, 20, 30]
    assert done.image[0, 0].tolist() == [255, 255, 255]
    assert done.mask[0, 0] == 0
    assert done.mask[15, 15] == 1


@given(pairs(), VARIANTS.filter(lambda one: one.rotation % 90 == 0))
def test_undo_inverts_exact_variants(pair, variant):
    done = augment.apply(pair, variant, background=0)
    np.testing.assert_array_equal(augment.undo(done.mask, variant), pair.mask)


@pytest.mark.parametrize("flip", ["", "h"])
@pytest.mark.parametrize("rotation", [5.0, -17.5, 120.0])
def test_undo_turns_an_odd_angle_back(flip, rotation):
    y, x = np.mgrid[:101, :101]
    mask = ((x - 60) ** 2 + (y - 45) ** 2 < 18**2).astype(np.uint8)
    variant = Variant(0, flip, rotation)
    back = augment.undo(augment.apply(Slice(0, mask, mask), variant, background=0).mask, variant)
    assert 2 * np.count_nonzero(back & mask) / (back.sum() + mask.sum()) > 0.97
