"""MMOTU: three layouts, three annotations, lists that are kept, and normal ovaries."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagemask.generators import ovarian_tumor
from imagemask.generators.ovarian_tumor import CLASSES, COLOURS, NAMES, NORMAL
from imagemask.generators.phantoms import jpeg
from PIL import Image
from pydantic import ValidationError

from imagemask import build, check, names, registry, split, testing
from imagemask.build import How
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import DescribesItself, WritesPhantom

INSIDE = np.zeros((12, 9), bool)
INSIDE[2:6, 1:4] = True  # nearer to the top, and to the left
COLOUR = list(CLASSES.values())
GREY = (np.add.outer(np.arange(12) * 9, np.arange(9) * 5)).astype(np.uint8)


def options(**given):
    return ovarian_tumor.Options(**given)


def cases(raw, **given):
    return {case.id: case for case in ovarian_tumor.discover(raw, options(**given))}


def described(raw, **given):
    return ovarian_tumor.describe(registry.source("ovarian-tumor"), raw, options(**given))


def slice_of(case, **given):
    (only,) = ovarian_tumor.read(case, options(**given))
    return only


def fault_of(case, **given):
    with pytest.raises(CaseError) as caught:
        list(ovarian_tumor.read(case, options(**given)))
    assert caught.value.remedy
    return caught.value.code


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.casefold() == ".jpg":
        path.write_bytes(jpeg.encode(np.asarray(picture, np.uint8)))
    else:
        Image.fromarray(np.asarray(picture, np.uint8)).save(path, format="PNG")
    return path


def coloured(number, inside=INSIDE):
    """The annotation in colours of a class, as the lists count."""
    return inside[..., None] * np.array(COLOUR[number], np.uint8)


def scan(raw, stem="1", number=0, *, kinds=("_binary", "", "_binary_binary"), extensions=("JPG", "PNG"), inside=INSIDE):
    """A picture of a class in the authors' layout, with annotations of these kinds."""
    save(raw / "OTU_2d/images" / f"{stem}.{extensions[0]}", np.roll(GREY, number, axis=0))
    masks = {"_binary": inside * 1, "": coloured(number, inside), "_binary_binary": inside * 255}
    for kind in kinds:
        save(raw / "OTU_2d/annotations" / f"{stem}{kind}.{extensions[1]}", masks[kind])
    return raw


def listed(raw, folder="OTU_2d", **texts):
    for name, text in texts.items():
        (raw / folder / f"{name}.txt").write_text(text, newline="")
    return raw


def only(raw, **given):
    (case,) = cases(raw, **given).values()
    return case


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return testing.phantom("ovarian-tumor", tmp_path_factory.mktemp("raw") / "raw", patients=24, size=48, faults=True)


def marker(raw):
    return json.loads((raw / "imagemask-phantom.json").read_text())


def test_satisfies_the_protocols():
    module = registry.load("ovarian-tumor")
    assert isinstance(module, DescribesItself)
    assert isinstance(module, WritesPhantom)
    source = registry.source("ovarian-tumor")
    assert (source.group, source.expected.cases, source.window) == ("image", 1469, ())


# --- the phantom


def test_finds_the_pictures_of_the_phantom_and_nothing_else(phantom):
    found, told = cases(phantom), marker(phantom)
    assert sorted(found) == list(found) == sorted({*told["ids"], *told["faults"]})
    assert told["ids"] == [f"OTU2D_{number:04d}" for number in range(1, 25)]
    assert {case.category for case in found.values()} == {*CLASSES}
    assert {case.patient for case in found.values()} == {""}
    assert all(case.group == case.id for case in found.values())
    assert {case.split for case in found.values()} == {"train", "valid"}
    assert not any(case.flags for case in found.values())
    assert len(cases(phantom, subset="3d")) == 4


def test_quarantines_each_fault_of_the_phantom(phantom):
    found = cases(phantom)
    assert {name: fault_of(found[name]) for name in marker(phantom)["faults"]} == marker(phantom)["faults"]


def test_the_classes_of_the_phantom_are_those_of_its_lists(phantom):
    found, kept = (
        cases(phantom),
        {name: slice_of(cases(phantom)[name], mask="classes") for name in marker(phantom)["ids"]},
    )
    for name, piece in kept.items():
        assert {*np.unique(piece.mask).tolist()} == {0, [*CLASSES].index(found[name].category) + 1}
        assert np.array_equal(piece.mask > 0, slice_of(found[name]).mask > 0)
        assert piece.flags == slice_of(found[name]).flags == ()
    assert len({piece.mask.shape for piece in kept.values()}) == 5
    assert {piece.image.ndim for piece in kept.values()} == {2, 3}
    assert max(width / height for height, width in (piece.mask.shape for piece in kept.values())) > 16 / 9 - 0.1


def test_pictures_are_seen_upright(phantom):
    """The device's mark is at the top left, and the sector narrows to the top."""
    image = np.asarray(slice_of(cases(phantom)["OTU2D_0001"]).image)[..., 0].astype(int)
    corners = [image[:6, :8], image[:6, -10:-2], image[-6:, :8], image[-6:, -10:-2]]
    assert [corner.max() > 200 for corner in corners] == [True, False, False, False]
    assert (image[10, 4:-4] > 25).sum() < (image[30, 4:-4] > 25).sum()


# --- the layouts


def as_figshare(raw, away):
    """What ``scan`` has written, as the copy at figshare lies; ``away`` is tested."""
    for path in sorted((raw / "OTU_2d").rglob("*.*")):
        stem = path.stem.partition("_")[0]
        if path.suffix == ".JPG":
            to = "test/image" if stem in away else "train/train_image"
        elif path.stem == f"{stem}_binary":
            to = "test/label/black_write" if stem in away else "train/train_label/label"
        else:
            continue
        (raw / "dataset/OTU_2D" / to).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, raw / "dataset/OTU_2D" / to / f"{stem}{path.suffix}")
    shutil.rmtree(raw / "OTU_2d")


def as_drive(raw):
    for place, part in enumerate(("images", "annotations"), start=1):
        zipped = raw / f"OTU_2d-20220801T080000Z-{place:03}" / "OTU_2d"
        zipped.mkdir(parents=True)
        (raw / "OTU_2d" / part).rename(zipped / part)
    for path in (raw / "OTU_2d").glob("*.txt"):
        path.rename(zipped / path.name)
    (raw / "OTU_2d").rmdir()


def test_all_layouts_give_the_same_cases_and_pixels(tmp_path):
    made = []
    for layout in ("authors", "figshare", "drive"):
        raw = tmp_path / layout
        for stem in ("1", "2", "10"):
            scan(raw, stem, number=int(stem) % 8, inside=np.roll(INSIDE, int(stem) % 4, axis=0))
        listed(raw, train="1\n10\n", val="2\n")
        if layout == "figshare":
            as_figshare(raw, away={"2"})
        elif layout == "drive":
            as_drive(raw)
        made.append(cases(raw))
    authors, figshare, drive = made
    assert list(authors) == list(figshare) == list(drive) == ["OTU2D_0001", "OTU2D_0002", "OTU2D_0010"]
    for name, case in authors.items():
        expected = slice_of(case)
        for other in (figshare[name], drive[name]):
            assert np.array_equal(slice_of(other).mask, expected.mask)
            assert np.array_equal(slice_of(other).image, expected.image)
    assert [case.split for case in authors.values()] == ["train", "valid", "train"]
    assert [case.split for case in drive.values()] == ["train", "valid", "train"]
    assert [case.split for case in figshare.values()] == ["train", "test", "train"]


def test_black_and_white_counts_before_colours_also_where_a_folder_says_so(tmp_path):
    save(tmp_path / "OTU_2D/test/image/1.JPG", GREY)
    save(tmp_path / "OTU_2D/test/label/black_write/1.PNG", INSIDE * 255)
    save(tmp_path / "OTU_2D/test/label/1.PNG", coloured(2, np.roll(INSIDE, 1, axis=0)))
    case = only(tmp_path)
    assert np.array_equal(slice_of(case).mask, INSIDE)
    assert slice_of(case).flags == ("masks_differ",)
    assert np.array_equal(slice_of(case, mask="classes").mask, np.roll(INSIDE, 1, axis=0) * 3)


@pytest.mark.parametrize("folder", ["binary_label", "black_and_white", "Bin_Label"])
def test_black_and_white_may_lie_beside_colours(folder, tmp_path):
    save(tmp_path / "OTU_2D/train/train_image/1.JPG", GREY)
    save(tmp_path / "OTU_2D/train/train_label/label/1.PNG", coloured(2))
    save(tmp_path / f"OTU_2D/train/train_label/{folder}/1.PNG", INSIDE * 255)
    save(tmp_path / "OTU_2D/train/train_label/smooth_label/1.PNG", INSIDE * 7)
    case = only(tmp_path)
    assert len(case.masks) == 2
    assert np.array_equal(slice_of(case).mask, INSIDE)
    assert np.array_equal(slice_of(case, mask="classes").mask, INSIDE * 3)
    assert described(tmp_path).notes[-1].startswith("Not read: 1 picture files")


def test_sets_that_number_their_pictures_alike_are_kept_apart(tmp_path):
    for place, folder in enumerate(("train", "test")):
        save(tmp_path / f"OTU_2D/{folder}/image/1.JPG", GREY + place)
        save(tmp_path / f"OTU_2D/{folder}/label/1.PNG", INSIDE * 255)
    assert {name: case.split for name, case in cases(tmp_path).items()} == {
        "OTU2D_test+0001": "test",
        "OTU2D_train+0001": "train",
    }


@pytest.mark.parametrize("folder", ["OTU_3d", "OTU_CEUS", "dataset/OTU_CEUS"])
def test_pictures_with_a_contrast_agent_by_option(folder, tmp_path):
    scan(tmp_path)
    save(tmp_path / folder / "image/7.JPG", GREY)
    save(tmp_path / folder / "label/7.PNG", INSIDE * 255)
    assert list(cases(tmp_path)) == ["OTU2D_0001"]
    assert np.array_equal(slice_of(only(tmp_path, subset="3d")).mask, INSIDE)
    assert only(tmp_path, subset="3d").id == "OTU3D_0007"
    assert described(tmp_path, subset="3d").expected.cases == 170


def test_a_folder_that_is_not_this_source_is_refused(tmp_path):
    scan(tmp_path)
    with pytest.raises(InputError, match="not recognised"):
        cases(tmp_path, subset="3d")
    assert cases(tmp_path / "OTU_2d")
    with pytest.raises(InputError, match="not recognised"):
        cases(tmp_path / "OTU_2d", subset="3d")


@pytest.mark.parametrize("extensions", [("JPG", "PNG"), ("jpg", "png"), ("Jpg", "pnG")])
def test_capitals_of_extensions_do_not_matter(extensions, tmp_path):
    piece = slice_of(only(scan(tmp_path, extensions=extensions)))
    assert np.array_equal(piece.mask, INSIDE)
    assert piece.flags == ()


def test_pictures_in_other_folders_are_counted_in_a_note(tmp_path):
    scan(tmp_path)
    save(tmp_path / "OTU_2d/predictions/1.PNG", INSIDE)
    assert described(tmp_path).notes[-1] == "Not read: 1 picture files in other folders; the first is '1.PNG'."
    assert len(described(tmp_path).notes) == len(registry.source("ovarian-tumor").notes) + 1


# --- names


@given(st.integers(0, 10**6), st.integers(0, 5000))
def test_ids_sort_as_numbers_do(number, zeros):
    key = ovarian_tumor._key(f"{'0' * zeros}{number}")
    assert key == f"{number:04d}"
    assert number > 9998 or key < ovarian_tumor._key(str(number + 1))


@given(st.text(min_size=1).filter(lambda text: "/" not in text and "\0" not in text), st.integers(0, 3))
def test_any_stem_is_told_from_its_ending(stem, times):
    ending = "_binary" * times
    key, kind = ovarian_tumor._of(Path("annotations") / f"{stem}{ending}.PNG")
    assert names.is_identifier(f"OTU2D_{key}")
    if not stem.casefold().endswith("_binary"):
        assert kind == "_binary" * min(times, 2)
        assert times > 2 or key == ovarian_tumor._key(stem)
    assert ovarian_tumor._of(Path("images") / f"{stem}{ending}.JPG") == (ovarian_tumor._key(f"{stem}{ending}"), "")


def test_names_that_are_no_numbers_pair_regardless_of_capitals(tmp_path):
    save(tmp_path / "OTU_2d/images/Case A.JPG", GREY)
    save(tmp_path / "OTU_2d/annotations/CASE A_BINARY.png", INSIDE)
    case = only(listed(tmp_path, train="case a.jpg\n"))
    assert (case.id, case.split) == ("OTU2D_case a", "train")
    assert np.array_equal(slice_of(case).mask, INSIDE)


# --- which annotation counts


def test_the_suffix_of_one_annotation_is_part_of_another(tmp_path):
    scan(tmp_path)
    save(tmp_path / "OTU_2d/annotations/1_binary_binary.PNG", np.roll(INSIDE, 3, axis=1) * 255)
    case = only(tmp_path)
    assert len(case.masks) == 3
    assert np.array_equal(slice_of(case).mask, INSIDE)
    assert slice_of(case).flags == ("masks_differ",)


@pytest.mark.parametrize(
    ("kinds", "mode", "expected"),
    [
        (("_binary", "", "_binary_binary"), "binary", 0),
        (("", "_binary_binary"), "binary", 1),
        (("_binary_binary",), "binary", 2),
        (("_binary", "_binary_binary"), "binary", 0),
        (("_binary", "", "_binary_binary"), "classes", 1),
        (("",), "classes", 1),
    ],
)
def test_the_first_annotation_that_is_there_counts(kinds, mode, expected, tmp_path):
    scan(tmp_path, kinds=kinds)
    for place, kind in enumerate(("_binary", "", "_binary_binary")):
        if kind in kinds:
            inside = np.roll(INSIDE, place, axis=1)
            save(tmp_path / f"OTU_2d/annotations/1{kind}.PNG", inside * 255 if kind else coloured(0, inside))
    piece = slice_of(only(tmp_path), mask=mode)
    assert np.array_equal(piece.mask, np.roll(INSIDE, expected, axis=1))
    assert piece.flags == ("masks_differ",) * (len(kinds) > 1) + ("second_binary",) * (expected == 2)


def test_no_classes_without_an_annotation_in_colours(tmp_path):
    case = only(scan(tmp_path, kinds=("_binary",)))
    assert fault_of(case, mask="classes") == "missing_mask"
    assert slice_of(case)
    save(tmp_path / "OTU_2d/annotations/1.PNG", INSIDE * 255)
    assert fault_of(only(tmp_path), mask="classes") == "unknown_colour"
    assert slice_of(only(tmp_path)).flags == ()


def test_an_annotation_that_does_not_count_may_be_damaged(tmp_path):
    raw = scan(tmp_path)
    for kind in ("", "_binary_binary"):
        (raw / f"OTU_2d/annotations/1{kind}.PNG").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert slice_of(only(raw)).flags == ("annotation_unreadable",)
    assert fault_of(only(raw), mask="classes") == "damaged_image"


@pytest.mark.parametrize("number", range(8))
def test_each_class_has_its_label(number, tmp_path):
    piece = slice_of(only(scan(tmp_path, number=number)), mask="classes")
    assert np.array_equal(piece.mask, INSIDE * (number + 1))
    assert described(tmp_path, mask="classes").labels[number + 1] == [*CLASSES][number]


def test_teratoma_is_not_read_as_chocolate_cyst(tmp_path):
    assert set(np.unique(slice_of(only(scan(tmp_path / "t", number=2)), mask="classes").mask)) == {0, COLOURS[0, 0, 64]}
    assert set(np.unique(slice_of(only(scan(tmp_path / "c", number=0)), mask="classes").mask)) == {0, COLOURS[64, 0, 0]}
    assert (NAMES[COLOURS[0, 0, 64]], NAMES[COLOURS[64, 0, 0]]) == ("Teratoma", "Chocolate cyst")


def test_soft_masks_are_cut_and_others_left_where_a_threshold_is_given(tmp_path):
    for stem in "12":
        scan(tmp_path, stem, kinds=("_binary",))
    save(tmp_path / "OTU_2d/annotations/2_binary.PNG", INSIDE * 200 + 20)
    save(tmp_path / "OTU_2d/annotations/1_binary.PNG", INSIDE)
    soft = np.where(INSIDE, 200, 20)
    soft[0, 0] = 0
    save(tmp_path / "OTU_2d/annotations/2_binary.PNG", soft)
    found = cases(tmp_path)
    assert fault_of(found["OTU2D_0002"]) == "label_values"
    for case in found.values():
        assert np.array_equal(slice_of(case, mask_threshold=128).mask, INSIDE)
    with pytest.raises(UsageError, match="--mask-threshold makes no classes"):
        described(tmp_path, mask="classes", mask_threshold=128)
    with pytest.raises(ValidationError):
        options(mask_threshold=0)


# --- lists


def test_lists_are_kept_as_the_split_and_the_category(tmp_path):
    for stem, number in (("1", 0), ("2", 5), ("3", 2)):
        scan(tmp_path, stem, number)
    listed(tmp_path, train="1\r\n3  \r\n\r\n", val="2", train_cls="1.JPG  0\n3.JPG  2\n", val_cls="2.JPG  5\r\n")
    found = cases(tmp_path)
    assert [(case.split, case.category, case.flags) for case in found.values()] == [
        ("train", "Chocolate cyst", ()),
        ("valid", "Normal ovary", ()),
        ("train", "Teratoma", ()),
    ]


def test_what_lists_name_and_is_not_there_is_a_case(tmp_path):
    listed(scan(tmp_path), train="1\n7\nüber\n", val="", val_cls="8.JPG,3\nfile,class\n")
    found = cases(tmp_path)
    assert list(found) == ["OTU2D_0001", "OTU2D_0007", "OTU2D_über"]
    assert described(tmp_path).notes[-1] == "Class lists name 2 pictures that are not there; the first is '8'."
    for name, file in (("OTU2D_0007", "7"), ("OTU2D_über", "über")):
        with pytest.raises(CaseError) as caught:
            list(ovarian_tumor.read(found[name], options()))
        assert (caught.value.code, caught.value.file) == ("listed_missing", Path("images") / file)


def test_colours_that_contradict_the_lists_are_noted(tmp_path):
    listed(scan(tmp_path, number=3), train="1\n", val="", train_cls="1.JPG  4\n")
    assert slice_of(only(tmp_path)).flags == ("class_conflict",)
    both = coloured(4)
    both[7:10, 5:8] = COLOUR[1]
    save(tmp_path / "OTU_2d/annotations/1.PNG", both)
    piece = slice_of(only(tmp_path), mask="classes")
    assert piece.flags == ("several_classes", "masks_differ")
    assert set(np.unique(piece.mask)) == {0, 2, 5}


def test_equal_pictures_in_two_sets_are_noted(tmp_path):
    for stem in "123":
        scan(tmp_path, stem)
    save(tmp_path / "OTU_2d/images/3.JPG", GREY // 2)
    listed(tmp_path, train="1\n3\n", val="2\n")
    assert [case.flags for case in cases(tmp_path).values()] == [("leak_risk",), ("leak_risk",), ()]


# --- normal ovaries


@pytest.fixture
def ovaries(tmp_path):
    """A tumour, a normal ovary, both in one picture, and a normal ovary of which only the lists tell."""
    for stem, number in (("1", 2), ("2", 5), ("3", 2)):
        scan(tmp_path, stem, number)
    both = coloured(2)
    both[8:11, 4:8] = COLOUR[5]
    save(tmp_path / "OTU_2d/annotations/3.PNG", both)
    save(tmp_path / "OTU_2d/annotations/3_binary.PNG", both.any(axis=2))
    scan(tmp_path, "4", kinds=("_binary",))
    classes = "1.JPG  2\n2.JPG  5\n3.JPG  2\n4.JPG  5\n"
    return listed(tmp_path, train="1\n2\n3\n4\n", val="", train_cls=classes)


def foreground(raw, **given):
    return {name: np.count_nonzero(slice_of(case, **given).mask) for name, case in cases(raw, **given).items()}


def test_normal_ovaries_are_kept_unless_told_otherwise(ovaries):
    assert [*foreground(ovaries).values()] == [12, 12, 24, 12]
    assert described(ovaries).excluded == {}
    assert described(ovaries).labels == {1: "tumour"}


def test_normal_ovaries_can_be_background(ovaries):
    assert [*foreground(ovaries, normal="background").values()] == [12, 0, 12, 0]
    told = {"normal": "background", "mask": "classes"}
    assert NORMAL not in described(ovaries, **told).labels
    shutil.rmtree(ovaries / "OTU_2d/images")
    for stem in "123":
        save(ovaries / f"OTU_2d/images/{stem}.JPG", GREY)
    found = cases(ovaries, **told)
    kept = [set(np.unique(slice_of(found[f"OTU2D_000{number}"], **told).mask)) for number in (1, 2, 3)]
    assert kept == [{0, 3}, {0}, {0, 3}]


def test_normal_ovaries_can_be_left_out_and_are_reported(ovaries):
    source = described(ovaries, normal="drop")
    assert list(source.excluded) == ["OTU2D_0002", "OTU2D_0004"]
    assert source.expected.cases == 1469 - 267
    job = build.prepare("ovarian-tumor", raw=ovaries, out=ovaries.parent / "out", recipe={}, options={"normal": "drop"})
    merged = build.run(job, How(workers=1), started=lambda _: None, progress=lambda _: None).merged
    assert (merged.counts.discovered, merged.counts.built, merged.counts.excluded) == (4, 2, 2)


def test_normal_ovaries_cannot_be_left_out_where_nothing_tells(tmp_path):
    with pytest.raises(UsageError, match="needs class lists") as caught:
        described(scan(tmp_path, number=5), normal="drop")
    assert "background" not in caught.value.remedy
    assert foreground(tmp_path, normal="background") == {"OTU2D_0001": 0}


@pytest.mark.parametrize("kinds", [("_binary",), ("_binary", "_binary_binary")])
def test_normal_ovaries_cannot_be_background_where_nothing_tells(kinds, tmp_path):
    scan(tmp_path, number=5, kinds=kinds)
    assert fault_of(only(tmp_path), normal="background") == "class_needed"
    assert slice_of(only(tmp_path)).mask.any()
    save(tmp_path / "OTU_2d/annotations/1.PNG", INSIDE * 255)  # no colours, either
    assert fault_of(only(tmp_path), normal="background") == "class_needed"
    listed(tmp_path, train_cls="1.JPG  5\n")
    assert foreground(tmp_path, normal="background") == {"OTU2D_0001": 0}


def test_an_empty_annotation_needs_no_class(tmp_path):
    scan(tmp_path, kinds=("_binary",), inside=INSIDE & False)
    assert slice_of(only(tmp_path), normal="background").flags == ("empty_label",)


# --- by command


def test_builds_keep_the_official_split_and_can_be_split_anew(tmp_path):
    raw = testing.phantom("ovarian-tumor", tmp_path / "raw", patients=24, size=40)
    dataset = tmp_path / "out"
    testing.run("ovarian-tumor", raw, dataset, How(workers=1))
    kept = split.split(dataset, split.Request())
    assert {part.name: part.units for part in kept.parts} == {"train": 16, "valid": 8, "test": 0}
    assert any("kept the split that the source ships" in note for note in kept.notes)
    anew = split.split(dataset, split.Request(resplit=True))
    assert all(part.units for part in anew.parts)


def test_check_counts_against_what_was_published(tmp_path):
    report = check.check("ovarian-tumor", scan(tmp_path))
    assert report.found == {"cases": 1, "images": 1, "masks": 1}
    assert report.expected == {"cases": 1469, "images": 1469, "masks": 1469}
    assert not report.complete
    assert report.exit_code == 0
