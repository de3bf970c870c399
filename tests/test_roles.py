"""Which pictures of an unpublished layout are masks, and whose."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.pictures import roles

RAW = Path("raw")
WORDS = ("mask", "masks", "Mask", "label", "labels", "annotation", "annotations", "gt", "GT", "ground truth")


def pairs(*names, **given):
    """Key: names of the images, names of the masks, below the raw folder."""
    found = roles.pairs(RAW, [RAW / name for name in names], **given)
    assert list(found) == sorted(found, key=lambda pair: pair.key)
    below = [path.relative_to(RAW).as_posix() for pair in found for path in (*pair.images, *pair.masks)]
    assert sorted(below) == sorted(names), "a picture is lost, or there twice"
    return {
        pair.key: tuple([path.relative_to(RAW).as_posix() for path in paths] for paths in (pair.images, pair.masks))
        for pair in found
    }


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("form", ["test {}", "test_{}", "{}-test", "test.{}"])
def test_a_word_in_a_folder_s_name_makes_masks(form, word):
    folder = form.format(word)
    found = pairs("a/test/1.png", f"a/{folder}/1.png")
    assert found == {("test", "1"): (["a/test/1.png"], [f"a/{folder}/1.png"])}


@pytest.mark.parametrize("image", ["image", "images", "Img", "frames"])
@pytest.mark.parametrize("mask", WORDS)
def test_roles_below_and_above_a_split(image, mask):
    for form in ("{split}/{role}/x.png", "{role}/{split}/x.png", "{split}_{role}/x.png"):
        names = [form.format(split=split, role=role) for split in ("train", "val") for role in (image, mask)]
        found = pairs(*names)
        assert list(found) == [("train", "x"), ("val", "x")], names
        assert all(len(ours) == len(theirs) == 1 for ours, theirs in found.values())


@pytest.mark.parametrize("ending", ["_mask", "-gt", " label", "_Annotations", "_masks"])
def test_a_mask_may_say_so_in_its_own_name(ending):
    beside = pairs("x.png", f"x{ending}.png")
    assert beside == {("x",): (["x.png"], [f"x{ending}.png"])}
    apart = pairs("image/x.png", f"mask/x{ending}.png")
    assert apart == {("x",): (["image/x.png"], [f"mask/x{ending}.png"])}


def test_another_ending_takes_the_place_of_the_usual_ones():
    assert pairs("x.png", "x_outline.png", suffix="_outline") == {("x",): (["x.png"], ["x_outline.png"])}
    assert set(pairs("x.png", "x_mask.png", suffix="_outline")) == {("x",), ("x_mask",)}
    assert set(pairs("x.png", "x1.png", suffix=".")) == {("x",), ("x1",)}


@pytest.mark.parametrize("word", ["length", "strength", "right", "unmarked", "rgt"])
def test_words_that_only_look_alike_make_no_masks(word):
    assert pairs(f"{word}/1.png", "other/2.png") == {
        (word, "1"): ([f"{word}/1.png"], []),
        ("other", "2"): (["other/2.png"], []),
    }


def test_what_all_folders_share_says_nothing_and_the_innermost_that_says_something_counts():
    shared = pairs("EEC with masks/test/1.png", "EEC with masks/test mask/1.png")
    assert [*map(len, shared[("test", "1")])] == [1, 1]
    inner = pairs("labels v2/train/image/1.png", "labels v2/train/mask/1.png", "other/1.png")
    assert [*map(len, inner[("v2", "train", "1")])] == [1, 1]
    assert pairs("EEC/test mask/1.png")[("test", "1")] == ([], ["EEC/test mask/1.png"])


def test_stems_are_one_regardless_of_case_and_of_how_accents_are_written():
    assert len(pairs("image/Café.PNG", "mask/cafe\u0301_MASK.png")) == 1
    both = pairs("image/A.png", "image/a.png", "mask/a.png")
    assert both == {("A",): (["image/A.png", "image/a.png"], ["mask/a.png"])}


def test_one_stem_in_two_places_is_two_pairs():
    found = pairs("EEC/test/7.png", "EEC/test mask/7.png", "non-EEC/7.png")
    assert found == {
        ("eec", "test", "7"): (["EEC/test/7.png"], ["EEC/test mask/7.png"]),
        ("non-eec", "7"): (["non-EEC/7.png"], []),
    }


class TestByStems:
    """A folder of masks that is not called after any folder of images."""

    def test_it_goes_with_the_one_that_holds_the_very_same_stems(self):
        found = pairs("a/one/1.png", "a/one/2.png", "a/two/1.png", "a/drawn label/1.png", "a/drawn label/2.png")
        assert found[("one", "2")] == (["a/one/2.png"], ["a/drawn label/2.png"])
        assert found[("two", "1")][1] == []

    def test_it_goes_with_none_where_several_do(self):
        found = pairs("a/one/1.png", "a/two/1.png", "a/drawn label/1.png")
        assert [len(masks) for _, masks in found.values()] == [1, 0, 0]
        assert found[("drawn", "1")] == ([], ["a/drawn label/1.png"])

    def test_it_never_takes_a_part_of_a_folder(self):
        healthy = [f"non-EEC/{number}.png" for number in range(4)]
        found = pairs(*healthy, "EEC/drawn label/1.png")
        assert found[("eec", "drawn", "1")] == ([], ["EEC/drawn label/1.png"])
        assert all(not masks for key, (_, masks) in found.items() if key[0] == "non-eec")

    def test_it_never_takes_a_folder_that_has_masks(self):
        found = pairs("a/one/1.png", "a/one mask/1.png", "a/drawn label/1.png")
        assert found[("one", "1")] == (["a/one/1.png"], ["a/one mask/1.png"])
        assert found[("drawn", "1")] == ([], ["a/drawn label/1.png"])

    @pytest.mark.parametrize("lost", ["img/3.png", "EEC_test_label/3.png"])
    def test_it_goes_with_the_only_one_that_shares_most_stems(self, lost):
        names = [f"{folder}/{number}.png" for folder in ("img", "EEC_test_label") for number in range(1, 9)]
        found = pairs(*(name for name in names if name != lost), *(f"other/{number}.png" for number in range(20, 24)))
        whole = [key for key, (ours, theirs) in found.items() if ours and theirs]
        assert sorted(key[-1] for key in whole) == list("1245678")

    def test_the_very_same_stems_win(self):
        names = [f"{folder}/{number}.png" for folder in ("one", "two", "drawn label") for number in range(4)]
        found = pairs(*names, "two/4.png")
        assert [bool(found[(place, "1")][1]) for place in ("one", "two")] == [True, False]

    def test_it_goes_with_none_where_several_share_most(self):
        names = [f"{folder}/{number}.png" for folder in ("one", "two", "drawn label") for number in range(4)]
        found = pairs(*names, "one/4.png", "two/4.png")
        assert all(not theirs for key, (_, theirs) in found.items() if key[0] != "drawn")
        assert len(found[("drawn", "1")][1]) == 1


@pytest.mark.parametrize("word", ["ROI", "rois", "seg", "Segmentation", "trainmask", "x_label", "test mask"])
def test_words_of_masks(word):
    assert [len(theirs) for _, theirs in pairs("images/1.png", f"{word}/1.png").values()] == [1]


@pytest.mark.parametrize(
    "word", ["unlabeled", "Unlabelled images", "unlabel", "labelled", "labeled", "heroic", "segue"]
)
def test_words_that_say_no_masks(word):
    assert not any(theirs for _, theirs in pairs("train/1.png", f"{word}/1.png").values())


class TestWhatAllShare:
    """Folders around everything, and the set that they may name."""

    @pytest.mark.parametrize("around", ["", "copy/", "copy/v2/"])
    def test_a_set_in_a_word_is_kept(self, around):
        found = pairs(f"{around}EEC_test_dataset/1.png", f"{around}EEC_test_dataset_label/1.png")
        assert list(found) == [("eec_test_dataset", "1")]
        assert [*map(len, found[("eec_test_dataset", "1")])] == [1, 1]

    def test_but_not_where_a_folder_further_in_says_one(self):
        found = pairs("EEC train/val/1.png", "EEC train/val mask/1.png", "EEC train/non-EEC/5.png")
        assert list(found) == [("non-eec", "5"), ("val", "1")]

    def test_nor_where_it_names_several(self):
        assert list(pairs("EEC train test/1.png", "EEC train test/mask/1.png")) == [("1",)]


def test_other_files_are_no_pictures():
    assert roles.pairs(RAW, [RAW / "image" / "notes.txt", RAW / "patients.csv"]) == ()
    assert roles.pairs(RAW, []) == ()


PARTS = st.sampled_from(["train", "val", "EEC", "mask", "image", "test mask", "non-EEC", "labels", "a"])
STEMS = st.sampled_from(["1", "01", "x", "x_mask", "X", "x-gt", "_mask", "café"])
NAMES = st.builds(
    lambda folders, stem, end: "/".join([*folders, stem + end]),
    st.lists(PARTS, max_size=3),
    STEMS,
    st.sampled_from([".png", ".PNG", ".jpg"]),
)


@given(st.sets(NAMES, max_size=12))
def test_every_picture_is_in_one_pair_whatever_the_tree(names):
    found = pairs(*names)
    assert all(images or masks for images, masks in found.values())
    ordered = [sorted(names, reverse=reverse) for reverse in (False, True)]
    one, other = (roles.pairs(RAW, [RAW / name for name in paths]) for paths in ordered)
    assert one == other
