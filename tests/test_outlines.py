"""Where pictures and their annotations lie, which file is whose, and whether annotations agree."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagemask import masks
from imagemask.errors import CaseError, InputError
from imagemask.pictures import leaks, outlines
from imagemask.types import Case

NAME = re.compile("OTU_2d", re.IGNORECASE)
ROLES = {"images": re.compile("images?"), "masks": re.compile("labels?|masks?")}


def touch(raw, *names, data=b"x"):
    for name in names:
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return raw


def roots(raw):
    return [path.relative_to(raw).as_posix() for path in outlines.roots(raw, NAME, accepted="OTU_2d")]


def found(raw, key=lambda path: path.stem):
    return outlines.find([raw], **ROLES, key=key)


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, format="PNG")
    return path


# --- where it lies


@pytest.mark.parametrize("place", ["OTU_2d", "otu_2D", "MMOTU/OTU_2d", "a/b/c/d/OTU_2d", "OTU_2d/OTU_2d"])
def test_finds_the_folder_at_any_depth(place, tmp_path):
    touch(tmp_path, f"{place}/images/1.JPG", "notes.txt", "OTU_2d_old/images/1.JPG")
    assert roots(tmp_path) == [place.removesuffix("/OTU_2d") if place.startswith("OTU_2d/") else place]


def test_the_folder_itself_will_do(tmp_path):
    assert roots(touch(tmp_path / "OTU_2d", "images/1.JPG")) == ["."]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True), st.sampled_from(["", ".zip.unpacked", "-1"]))
def test_parts_of_a_drive_are_one_source(numbers, end):
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        for number in numbers:
            place = f"OTU_2d-20220801T080000Z-{number:03}{end}/OTU_2d/images"
            touch(raw, f"{place}/{number}.JPG")
        assert len(roots(raw)) == len(numbers)


@pytest.mark.parametrize(
    "places", [("a", "b"), (".", "copy"), ("OTU_2d-20220801T080000Z-001", "OTU_2d-20230801T080000Z-001")]
)
def test_two_copies_are_refused_and_named(places, tmp_path):
    touch(tmp_path, *(f"{place}/OTU_2d/images/1.JPG" for place in places))
    with pytest.raises(InputError, match="holds 2 copies of the source: .*OTU_2d, .*OTU_2d"):
        roots(tmp_path)


def test_what_is_not_there_is_refused_with_what_is(tmp_path):
    touch(tmp_path, "OTU_3d/images/1.JPG", "__MACOSX/OTU_2d/images/._1.JPG")
    (tmp_path / "link").symlink_to(tmp_path / "OTU_3d")
    (tmp_path / "OTU_2d").symlink_to(tmp_path / "OTU_3d")
    with pytest.raises(InputError, match="not recognised.*OTU_3d/"):
        roots(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        roots(tmp_path / "absent")


def test_the_innermost_folder_says_what_a_file_is(tmp_path):
    raw = touch(tmp_path, "images/1.JPG", "images/label/1.png", "test/masks/2.PNG", "other/3.png", "masks/._1.png")
    touch(raw, "images/readme.txt", "4.jpg", "masks/1.txt")
    tree = found(raw)
    assert dict(tree.images) == {("1", ""): [raw / "images/1.JPG"]}
    assert dict(tree.masks) == {("1", ""): [raw / "images/label/1.png"], ("2", "test"): [raw / "test/masks/2.PNG"]}
    assert tree.other == [raw / "4.jpg", raw / "other/3.png"]


def test_pictures_are_named_by_key_and_where_that_is_not_enough_by_set(tmp_path):
    touch(tmp_path, "train/image/1.jpg", "train/image/2.jpg", "test/image/1.jpg", "train/label/3.png", "image/4.jpg")
    assert found(tmp_path).named(["2", "9"]) == {
        "test+1": ("1", "test"),
        "train+1": ("1", "train"),
        "2": ("2", "train"),
        "3": ("3", "train"),
        "4": ("4", ""),
        "9": ("9", ""),
    }


def test_a_folder_beside_the_declared_one_is_passed_over(tmp_path):
    touch(
        tmp_path, "label/1.PNG", "soft_label/1.png", "soft_label/2.png", "soft_label/1_b.png", "test/soft_label/1.png"
    )
    masks = re.compile(r"(?P<main>labels?)|(?P<like>\w+_labels?)")
    tree = outlines.find([tmp_path], images=ROLES["images"], masks=masks, key=lambda path: path.stem)
    assert {
        place: [path.relative_to(tmp_path).as_posix() for path in paths] for place, paths in tree.masks.items()
    } == {
        ("1", ""): ["label/1.PNG"],
        ("2", ""): ["soft_label/2.png"],
        ("1_b", ""): ["soft_label/1_b.png"],
        ("1", "test"): ["test/soft_label/1.png"],
    }
    assert tree.notes() == ("Not read: 1 picture files in other folders; the first is '1.png'.",)
    assert outlines.Tree({}, {}, []).notes() == ()


# --- one picture


def test_files_of_one_name_that_differ_are_told_by_their_folders(tmp_path):
    paths = [put(tmp_path / folder / "1.PNG", [[value]]) for value, folder in enumerate(("label", "b_label"))]
    with pytest.raises(CaseError, match=r"^label/1\.PNG and b_label/1\.PNG are one picture, and differ"):
        outlines.one_of(paths)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=4))
def test_files_of_one_picture_are_the_same_or_it_is_quarantined(contents):
    with tempfile.TemporaryDirectory() as folder:
        paths = [touch(Path(folder), str(place), data=data) / str(place) for place, data in enumerate(contents)]
        if len(set(contents)) > 1:
            with pytest.raises(CaseError, match="are one picture, and differ") as caught:
                outlines.one_of(paths)
            assert (caught.value.code, caught.value.file) == ("duplicate_stem", paths[0])
        else:
            assert outlines.one_of(paths) == (paths[0], ("twin_dropped",) * (len(paths) > 1))


def test_a_picture_needs_image_and_mask(tmp_path):
    image, mask = tmp_path / "1.JPG", tmp_path / "1.PNG"

    def code_and_file(images, masks):
        case = Case("0001", "", images, masks, extra={"name": "7"})
        with pytest.raises(CaseError) as caught:
            outlines.require_both(case, remedy="Complete the copy")
        assert caught.value.remedy == "Complete the copy"
        return caught.value.code, caught.value.file

    assert code_and_file((image,), ()) == ("missing_mask", image)
    assert code_and_file((), (mask,)) == ("missing_image", mask)
    assert code_and_file((), ()) == ("listed_missing", Path("images/7"))
    outlines.require_both(Case("0001", "", (image,), (mask,)), remedy="")


def read_masks(folder, **arrays):
    files = {kind: [put(folder / f"{kind}.png", array)] for kind, array in arrays.items()}
    return outlines.read_masks(files, lambda kind, path: masks.binary(path, 1))


def test_the_first_annotation_counts_and_the_others_are_held_against_it(tmp_path):
    told = read_masks(tmp_path, a=[[0, 1]], b=[[0, 255]])
    assert (told.path.name, list(told.masks), told.flags) == ("a.png", ["a", "b"], ())
    assert (told.values("a"), told.values("c")) == ({0, 1}, set())
    assert read_masks(tmp_path, a=[[0, 1]], b=[[0, 0]], c=[[1, 1]]).flags == ("masks_differ",)
    assert read_masks(tmp_path, a=[[0, 1]], b=[[0], [1]]).flags == ("masks_differ",)
    assert read_masks(tmp_path, a=[[0, 7]], b=[[1, 2], [3, 4]]).flags == ("foreground_value", "annotation_unreadable")
    with pytest.raises(CaseError, match=r"a\.png holds more than two values"):
        read_masks(tmp_path, a=[[1, 2, 3]], b=[[0, 1, 1]])


def test_copies_of_the_other_annotations_do_no_harm(tmp_path):
    paths = {
        "a": [put(tmp_path / "a" / name, [[0, 1]]) for name in ("1.png", "1.PNG")],
        "b": [put(tmp_path / "b" / "1.png", [[0, 1]]), put(tmp_path / "b" / "1.PNG", [[1, 1]])],
    }
    told = outlines.read_masks(paths, lambda kind, path: masks.binary(path, 1))
    assert (told.path, told.flags) == (paths["a"][0], ("twin_dropped", "annotation_unreadable"))


def test_an_image_that_is_not_what_it_is_called_is_noted(tmp_path):
    mask = np.zeros((2, 2), np.uint8)

    def flags(name, **settings):
        path = tmp_path / name
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(path, **settings)
        image, noted = outlines.read_image([path], path, mask)
        assert image.shape == (2, 2)
        return noted

    assert flags("1.JPG", format="JPEG") == flags("1.png", format="PNG") == ()
    assert flags("2.JPG", format="PNG") == flags("2.png", format="JPEG") == ("name_misleads",)
    for name, kind in (("3.png", "PNG"), ("3.jpg", "MPO"), ("3.tif", "TIFF")):
        more = [Image.fromarray(np.full((2, 2), 9, np.uint8))]
        assert flags(name, format=kind, save_all=True, append_images=more) == ("several_frames",)
    assert flags("4.tif", format="TIFF") == ()


# --- sets


@given(st.lists(st.tuples(st.sampled_from(["train", "valid", "test", ""]), st.binary(max_size=2)), max_size=8))
def test_a_picture_in_two_sets_is_noted_in_both(pictures):
    with tempfile.TemporaryDirectory() as folder:
        cases = [
            Case(str(place), "", (touch(Path(folder), str(place), data=data) / str(place),), (), split=split)
            for place, (split, data) in enumerate(pictures)
        ]
        noted = [case.id for case in leaks.noted(cases) if case.flags == ("leak_risk",)]
    leaking = [
        str(place)
        for place, (split, data) in enumerate(pictures)
        if data and any(other == data and elsewhere != split for elsewhere, other in pictures)
    ]
    assert noted == leaking


@given(
    st.sets(st.integers(0, 40) | st.integers(0, 65535), max_size=6),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_the_values_of_a_mask_are_all_of_them(values, dtype):
    kept = [value for value in sorted(values) if value <= np.iinfo(dtype).max]
    mask = np.array([kept, kept], dtype)
    told = outlines.Outlined(Path("a.png"), {"a": mask}, ())
    assert told.values("a") == set(kept)
