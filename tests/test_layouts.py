"""Trees of picture files: roles, pairs by key, and what is said of a guess."""

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fifos import fifo
from hypothesis import assume, example, given
from hypothesis import strategies as st

from imagemask import files, layouts
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.layouts import Pair
from imagemask.types import Case

STEMS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .()é-]{0,9}[A-Za-z0-9]", fullmatch=True)


def grow(raw, *paths):
    """A tree of files that hold nothing: roles and pairs are a matter of names."""
    for path in paths:
        file = raw / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return raw


def pairs_of(layout, raw):
    """{key joined by /: (images, masks)}, relative."""
    return {
        "/".join(pair.key): tuple(
            [path.relative_to(raw).as_posix() for path in role] for role in (pair.images, pair.masks)
        )
        for pair in layout.pairs
    }


LAYOUTS = {
    "roles": (["images/a.png", "masks/a.png"], {"a": ("images/a.png", "masks/a.png")}),
    "other words": (["Img/a.jpg", "GroundTruth/a.png"], {"a": ("Img/a.jpg", "GroundTruth/a.png")}),
    "annotations": (["images/a.bmp", "annotations/a.TIF"], {"a": ("images/a.bmp", "annotations/a.TIF")}),
    "a folder around it": (
        ["Kvasir/images/a.png", "Kvasir/masks/a.png"],
        {"a": ("Kvasir/images/a.png", "Kvasir/masks/a.png")},
    ),
    "splits above": (
        ["train/images/a.png", "train/masks/a.png", "test/images/a.png", "test/masks/a.png"],
        {"test/a": ("test/images/a.png", "test/masks/a.png"), "train/a": ("train/images/a.png", "train/masks/a.png")},
    ),
    "one split alone": (
        ["x/train/images/a.png", "x/train/masks/a.png"],
        {"train/a": ("x/train/images/a.png", "x/train/masks/a.png")},
    ),
    "splits below": (
        ["img_dir/train/a.jpg", "ann_dir/train/a.png", "img_dir/val/b.jpg", "ann_dir/val/b.png"],
        {
            "train/a": ("img_dir/train/a.jpg", "ann_dir/train/a.png"),
            "val/b": ("img_dir/val/b.jpg", "ann_dir/val/b.png"),
        },
    ),
    "patients above": (
        ["P1/images/1.png", "P1/masks/1.png", "P2/images/1.png", "P2/masks/1.png"],
        {"P1/1": ("P1/images/1.png", "P1/masks/1.png"), "P2/1": ("P2/images/1.png", "P2/masks/1.png")},
    ),
    "suffix in a mask folder": (["images/a.png", "masks/a_mask.png"], {"a": ("images/a.png", "masks/a_mask.png")}),
    "both have a suffix": (["images/a_img.png", "labels/a_seg.png"], {"a": ("images/a_img.png", "labels/a_seg.png")}),
    "images above their masks": (
        ["x/a.jpg", "x/masks/a.png", "y/a.jpg", "y/masks/a.png"],
        {"x/a": ("x/a.jpg", "x/masks/a.png"), "y/a": ("y/a.jpg", "y/masks/a.png")},
    ),
    "masks beside": (
        ["a.png", "a_mask.png", "b.jpg", "b_Mask.png"],
        {"a": ("a.png", "a_mask.png"), "b": ("b.jpg", "b_Mask.png")},
    ),
    "masks beside, below a role": (["images/a.png", "images/a_mask.png"], {"a": ("images/a.png", "images/a_mask.png")}),
    "segmentation beside": (["x/a.jpg", "x/a_Segmentation.png"], {"a": ("x/a.jpg", "x/a_Segmentation.png")}),
    "CHASE_DB1": (
        ["Image_01L.jpg", "Image_01L_1stHO.png", "Image_01L_2ndHO.png"],
        {"Image_01L": ("Image_01L.jpg", "Image_01L_1stHO.png")},
    ),
    "DRIVE": (
        ["training/images/21_training.tif", "training/1st_manual/21_manual1.gif", "training/mask/21_training_mask.gif"],
        {"training/21": ("training/images/21_training.tif", "training/1st_manual/21_manual1.gif")},
    ),
    "nnU-Net": (
        ["imagesTr/a_0000.png", "labelsTr/a.png", "imagesTs/b_0000.png"],
        {"a": ("imagesTr/a_0000.png", "labelsTr/a.png")},
    ),
    "nnU-Net with test labels": (
        ["D1/imagesTr/a_0000.png", "D1/labelsTr/a.png", "D1/imagesTs/a_0000.png", "D1/labelsTs/a.png"],
        {
            "test/a": ("D1/imagesTs/a_0000.png", "D1/labelsTs/a.png"),
            "train/a": ("D1/imagesTr/a_0000.png", "D1/labelsTr/a.png"),
        },
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_guesses_the_common_layouts(name, tmp_path):
    paths, expected = LAYOUTS[name]
    grow(tmp_path, *paths, "README.md", ".DS_Store", "__MACOSX/images/._a.png")
    layout = layouts.find(tmp_path)
    assert pairs_of(layout, tmp_path) == {key: ([image], [mask]) for key, (image, mask) in expected.items()}
    assert layout.notes[0].startswith("Guessed: ")
    assert f"; {len(expected)} pair{'s' * (len(expected) > 1)} by stem" in layout.notes[0]


@given(
    stems=st.sets(STEMS, min_size=1, max_size=12),
    lacks=st.lists(st.sampled_from(["image", "mask", "none"]), min_size=12, max_size=12),
    order=st.randoms(use_true_random=False),
)
@example(stems={"10", "9", "100"}, lacks=["none"] * 12, order=random.Random(0))
def test_pairs_by_stem_in_any_order_and_loses_nothing(stems, lacks, order):
    names = sorted(stems)
    lacks = ["none", *lacks]  # one pair at least, or there is no layout
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        images = {
            stem: raw / "images" / f"{stem}.jpg" for stem, lack in zip(names, lacks, strict=False) if lack != "image"
        }
        masks = {
            stem: raw / "masks" / f"{stem}_mask.png" for stem, lack in zip(names, lacks, strict=False) if lack != "mask"
        }
        listing = shuffled(grow(raw, *images.values(), *masks.values()), order)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "walk", lambda _: listing)
            layout = layouts.find(raw)
    assert {pair.key for pair in layout.pairs} == {(stem,) for stem in names}
    for pair in layout.pairs:
        (stem,) = pair.key
        assert pair.images == ((images[stem],) if stem in images else ())
        assert pair.masks == ((masks[stem],) if stem in masks else ())


def shuffled(raw, order):
    listing = files.walk(raw)
    mixed = list(listing.files)
    order.shuffle(mixed)
    return replace(listing, files=tuple(mixed))


@given(st.sets(STEMS, min_size=1, max_size=8), st.sampled_from(["_mask", "-gt", ".m", "_(1)", "+"]))
def test_a_given_suffix_is_taken_to_the_letter(stems, suffix):
    assume(not any(stem.casefold().endswith(suffix) for stem in stems))  # which is then the mask, nobody can say
    with tempfile.TemporaryDirectory() as folder:
        raw = grow(Path(folder), *(f"{stem}.png" for stem in stems), *(f"{stem}{suffix}.png" for stem in stems))
        layout = layouts.find(raw, suffix=suffix)
        expected = {stem: ([f"{stem}.png"], [f"{stem}{suffix}.png"]) for stem in stems}
    assert pairs_of(layout, raw) == expected


A_AND_B = {stem: (f"left/{stem}.jpg", f"right/{stem}.png") for stem in "ab"}
OF_EACH_PATIENT = {f"{patient}/c": (f"{patient}/pics/c.jpg", f"{patient}/truth/c.png") for patient in ("P1", "P2")}
GLOBS = {
    "folders spelt out": ("left/*.jpg", "right/*.png", A_AND_B),
    "a ./ before": ("./left/*.jpg", "./right/*.png", A_AND_B),
    "case does not matter": ("LEFT/*.JPG", "Right/*.PNG", A_AND_B),
    "any depth": ("**/pics/*.jpg", "**/truth/*.png", OF_EACH_PATIENT),
    "one open folder": ("*/pics/*", "*/truth/*", OF_EACH_PATIENT),
    "everything below": ("P1/pics/**", "P1/truth/**", {"c": ("P1/pics/c.jpg", "P1/truth/c.png")}),
    "a file that both match is a mask": ("P4/*", "P4/*_mask.png", {"c": ("P4/c.jpg", "P4/c_mask.png")}),
    "no slash": ("c.jpg", "c_mask.png", {f"P{n}/c": (f"P{n}/c.jpg", f"P{n}/c_mask.png") for n in (3, 4)}),
    "one side leaves a folder open that the other spells out": ("P[1]/pics/?.jpg", "P1/truth/c.png", None),
}


@pytest.mark.parametrize("name", GLOBS)
def test_globs(name, tmp_path):
    images, masks, expected = GLOBS[name]
    grow(
        tmp_path,
        *("left/a.jpg", "left/b.jpg", "right/a.png", "right/b.png"),
        *(f"{patient}/{file}" for patient in ("P1", "P2") for file in ("pics/c.jpg", "truth/c.png")),
        *(f"{patient}/{file}" for patient in ("P3", "P4") for file in ("c.jpg", "c_mask.png")),
    )
    if expected is None:
        with pytest.raises(InputError, match=r"no image has a mask of its stem"):
            layouts.find(tmp_path, images=images, masks=masks)
        return
    found = pairs_of(layouts.find(tmp_path, images=images, masks=masks), tmp_path)
    both = {key: pair for key, pair in found.items() if all(pair)}
    assert both == {key: ([image], [mask]) for key, (image, mask) in expected.items()}
    left_over = {path for key, pair in found.items() if key not in both for role in pair for path in role}
    assert left_over <= {"P3/c.jpg", "P1/pics/c.jpg", "P2/pics/c.jpg"}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["as it is", "*", "**", "?", "**/**"])), max_size=4))
def test_open_folders_are_part_of_the_key_and_folders_spelt_out_are_not(folders):
    pattern = "/".join([*(name if star == "as it is" else star for name, star in folders), "x.png"])
    place = "/".join([*(name for name, _ in folders), "x.png"])
    with tempfile.TemporaryDirectory() as folder:
        raw = grow(Path(folder), f"left/{place}", f"right/{place}", f"right/c/{place}", "left/c/c/c/c/c/x.png")
        layout = layouts.find(raw, images=f"left/{pattern}", masks=f"right/{pattern}")
    pair = next(pair for pair in layout.pairs if pair.images == (raw / "left" / place,))
    assert pair.masks == (raw / "right" / place,)
    assert len(pair.key) <= 1 + sum(star != "as it is" for _, star in folders)


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    raw = grow(tmp_path / "raw [1]*", "images/a[0].png", "masks/a[0].png")
    assert pairs_of(layouts.find(raw), raw) == {"a[0]": (["images/a[0].png"], ["masks/a[0].png"])}


def test_composed_and_decomposed_names_are_one_stem(tmp_path):
    layout = layouts.find(grow(tmp_path, "images/cafe\u0301.png", "masks/caf\u00e9.png"))
    assert [pair.key for pair in layout.pairs] == [("caf\u00e9",)]
    assert all((layout.pairs[0].images, layout.pairs[0].masks))


def test_what_is_found_twice_is_kept_twice(tmp_path):
    grow(tmp_path, "images/a.png", "images/a.JPG", "masks/a.png", "masks/b.png", "images/b.png")
    assert pairs_of(layouts.find(tmp_path), tmp_path) == {
        "a": (["images/a.JPG", "images/a.png"], ["masks/a.png"]),
        "b": (["images/b.png"], ["masks/b.png"]),
    }


def test_numbered_masks_of_one_image_are_seen_to_be_several(tmp_path):
    grow(tmp_path, "benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png")
    assert pairs_of(layouts.find(tmp_path), tmp_path) == {
        "benign (1)": (["benign (1).png"], ["benign (1)_mask.png", "benign (1)_mask_1.png"])
    }


REFUSED = {
    "two mask folders": (
        ["images/a.png", "masks/a.png", "labels/a.png"],
        {},
        UsageError,
        r"--masks could be .*labels/ \(1 .*masks/ \(1",
    ),
    "two image folders": (["images/a.png", "img/a.png", "masks/a.png"], {}, UsageError, "--images could be"),
    "nothing": ([], {}, InputError, "there are no files"),
    "no pictures": (["x/y/lung_001.nii.gz", "README"], {}, InputError, r"1 \*, 1 x/y/\*\.gz"),
    "no masks": (["a.png", "b.png"], {}, InputError, r"no layout .* 2 \*\.png"),
    "no pair": (
        ["images/a.png", "masks/b.png"],
        {},
        InputError,
        r"first image is images/a.png, the first mask masks/b.png",
    ),
    "one glob": (["images/a.png"], {"images": "images/*"}, UsageError, "only one of --images and --masks"),
    "other glob": (["images/a.png"], {"masks": "images/*"}, UsageError, "only one of --images and --masks"),
    "image glob in vain": (
        ["x/a.png", "y/a.png"],
        {"images": "z/*", "masks": "y/*"},
        UsageError,
        r"--images 'z/\*' matches no file",
    ),
    "mask glob in vain": (
        ["x/a.png", "y/a.png"],
        {"images": "x/*", "masks": "z/*"},
        UsageError,
        r"--masks 'z/\*' matches no file.* 1 y/\*\.png",
    ),
    "two nnU-Nets": (
        ["A/imagesTr/a_0000.png", "A/labelsTr/a.png", "B/imagesTr/a_0000.png", "B/labelsTr/a.png"],
        {},
        InputError,
        "A, B",
    ),
    "channels": (
        ["imagesTr/a_0000.png", "imagesTr/a_0001.png", "labelsTr/a.png"],
        {},
        InputError,
        "a_0001.png: .*one a channel",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_it_cannot_tell(name, tmp_path):
    paths, options, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match) as caught:
        layouts.find(grow(tmp_path, *paths), **options)
    assert caught.value.remedy


def test_refuses_what_is_not_a_folder(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        layouts.find(grow(tmp_path, "a.png") / "a.png")


def test_says_where_nnunet_declares_labels(tmp_path):
    raw = grow(tmp_path, "Dataset001_X/imagesTr/a_0000.png", "Dataset001_X/labelsTr/a.png")
    bare = layouts.find(raw)
    assert (bare.declares, "without its dataset.json" in bare.notes[0]) == (None, True)
    place = raw / "Dataset001_X" / "dataset.json"
    place.write_text("{")
    found = layouts.find(raw)
    assert (found.declares, "with dataset.json" in found.notes[0]) == (place, True)
    assert found.pairs == bare.pairs


def test_says_what_it_did_not_use(tmp_path):
    grow(tmp_path, "images/a.png", "masks/a.png", *(f"other{n}/x.png" for n in range(5)), "notes.txt", "images/._a.png")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    _, unused, links = layouts.find(tmp_path).notes
    assert unused == "Not used: other0/, other1/, other2/ and 2 more (5 picture files)."
    assert links == "Not followed: 1 link, the first is loop."


def test_says_what_it_did_not_open(tmp_path):
    grow(tmp_path, "images/a.png", "masks/a.png", "images/b.png", "masks/b.png")
    with fifo(tmp_path / "masks" / "b.png"):
        found = layouts.find(tmp_path)
    assert found.notes[-1] == "Not followed: 1 special file, the first is masks/b.png."
    assert [len(pair.masks) for pair in found.pairs] == [1, 0]


def test_says_what_it_could_not_list(tmp_path, monkeypatch):
    listing = replace(files.walk(grow(tmp_path, "images/a.png", "masks/a.png")), unreadable=(tmp_path / "closed",))
    monkeypatch.setattr(files, "walk", lambda _: listing)
    assert layouts.find(tmp_path).notes[1:] == ("Not followed: 1 unreadable folder, the first is closed.",)


def test_says_that_there_is_a_split(tmp_path):
    grow(tmp_path, "train/images/a.png", "train/masks/a.png")
    assert len(layouts.find(tmp_path).notes) == 1
    grow(tmp_path, "val/images/a.png", "val/masks/a.png")
    assert "(train, valid): --split-from-path" in layouts.find(tmp_path).notes[1]
    assert layouts.find(tmp_path, keep_split=True).notes[1] == "The folders' split (train, valid) is kept."
    grow(tmp_path, "more/images/a.png", "more/masks/a.png")
    kept = layouts.find(tmp_path, keep_split=True).notes[1]
    assert "is kept; 1 of 3 images lie in none of its folders: imagemask split places them." in kept


def test_says_by_which_endings_it_pairs(tmp_path):
    grow(tmp_path, "images/a_img.png", "masks/a-label.png")
    assert "1 pair by stem (image stems end in _img, mask stems end in -label)" in layouts.find(tmp_path).notes[0]


def test_notes_can_be_printed_whatever_the_names(tmp_path):
    grow(tmp_path, "images/a.png", "masks/a.png")
    odd = tmp_path / os.fsdecode(b"x\xff")
    try:
        grow(odd, "a.png")
    except OSError:
        pytest.skip("this file system takes text only")
    assert layouts.find(tmp_path).notes[1].encode() == rb"Not used: x\udcff/ (1 picture file)."


def test_names_that_differ_by_case_only_are_refused_naming_both(tmp_path):
    grow(tmp_path, "images/Scan.png", "masks/Scan.png", "images/scan.png", "masks/scan.png")
    with pytest.raises(InputError, match=r"images/Scan\.png and .*images/scan\.png would be written under one name"):
        layouts.named(layouts.find(tmp_path).pairs)


@given(st.sets(st.text("abAB+=.~ 1", min_size=1, max_size=3), min_size=1, max_size=10))
def test_ids_are_sorted_and_unique_or_refused(stems):
    pairs = [Pair((stem,), (Path(f"images/{stem}.png"),), ()) for stem in stems]
    if len({stem.casefold() for stem in stems}) < len(stems):
        with pytest.raises(InputError):
            layouts.named(pairs)
    else:
        found = layouts.named(pairs)
        assert list(found) == sorted(found)
        assert sorted(pair.key for pair in found.values()) == sorted(pair.key for pair in pairs)


IMAGE, MASK = Path("images/a.png"), Path("masks/a.png")


@pytest.mark.parametrize(
    ("images", "masks", "code", "file"),
    [
        ((), (MASK,), "missing_image", MASK),
        ((IMAGE,), (), "missing_mask", IMAGE),
        ((IMAGE, Path("images/a.jpg")), (MASK,), "duplicate_stem", Path("images/a.jpg")),
        ((IMAGE,), (MASK, Path("masks/a.bmp")), "duplicate_stem", Path("masks/a.bmp")),
        ((), (MASK, Path("masks/a.bmp")), "missing_image", MASK),
    ],
)
def test_one_of_each_or_a_reason_why_not(images, masks, code, file):
    with pytest.raises(CaseError) as caught:
        layouts.one_of_each(Case("a", "", images, masks))
    assert (caught.value.code, caught.value.file) == (code, file)
    assert caught.value.remedy
    assert layouts.one_of_each(Case("a", "", (IMAGE,), (MASK,))) == (IMAGE, MASK)
