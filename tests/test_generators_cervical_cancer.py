"""SipakMed: cells of a picture in one mask, from outlines that are floats; parent pictures that no split parts."""

import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from imagemask.generators import cervical_cancer
from imagemask.generators.phantoms import cervical_cancer as phantoms
from imagemask.generators.phantoms.cervical_cancer import CATEGORIES, Tree
from PIL import Image
from pydantic import ValidationError

from imagemask import images, manifest, registry, testing
from imagemask.build import How
from imagemask.cli import main
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.pictures import contours
from imagemask.types import PHANTOM, DescribesItself, WritesPhantom

SIZE = 96
SHAPE = (72, 96)
PICTURES = 12
FIRST = "Dyskeratotic_001"
PUBLISHED = {"im_Dyskeratotic", "im_Koilocytotic", "im_Metaplastic", "im_Parabasal", "im_Superficial-Intermediate"}


def options(**given):
    return cervical_cancer.Options(**given)


def cases(raw, **given):
    return {case.id: case for case in cervical_cancer.discover(raw, options(**given))}


def slices(case, **given):
    return {one.index: one for one in cervical_cancer.read(case, options(**given))}


def only(case, **given):
    (piece,) = slices(case, **given).values()
    return piece


def fault_of(case, **given):
    with pytest.raises(CaseError) as caught:
        slices(case, **given)
    assert caught.value.remedy
    return caught.value


def described(raw, **given):
    return cervical_cancer.describe(registry.source("cervical-cancer"), raw, options(**given))


def notes(raw, **given):
    return described(raw, **given).notes[len(registry.source("cervical-cancer").notes) :]


def write(raw, *, nested=(CATEGORIES[1],), faults=False, patients=PICTURES):
    tree = Tree(raw, size=SIZE, seed=5, nested=nested)
    tree.write(patients, faults=faults)
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A healthy source. Nothing may change it."""
    return write(tmp_path_factory.mktemp("cervical") / "raw")


@pytest.fixture
def copied(tree, tmp_path):
    """One that may be changed."""
    shutil.copytree(tree.raw, tmp_path / "raw")
    return Tree(tmp_path / "raw", size=SIZE, seed=5)


def file(tree, name, category=CATEGORIES[0]):
    return tree.folder(category) / name


# ---- what is found ------------------------------------------------------------------------------------------------


def test_satisfies_the_protocols():
    module = registry.load("cervical-cancer")
    assert isinstance(module, DescribesItself)
    assert isinstance(module, WritesPhantom)
    assert set(cervical_cancer.CATEGORIES) == set(CATEGORIES) == {name.removeprefix("im_") for name in PUBLISHED}


def test_every_picture_of_every_class_is_a_case(tree):
    found = cases(tree.raw)
    marker = json.loads((tree.raw / PHANTOM).read_text())
    assert list(found) == sorted(marker["ids"])
    assert len(found) == marker["cases"] == PICTURES
    assert Counter(case.category for case in found.values()) == dict(zip(CATEGORIES, (3, 3, 2, 2, 2), strict=True))
    for name, case in found.items():
        assert (case.patient, case.group, case.split) == ("", name, "")
        assert case.id == f"{case.category}_{case.images[0].stem}"
        assert {path.name[:3] for path in case.masks} == {case.images[0].stem}
        assert case.bytes == sum(path.stat().st_size for path in (*case.images, *case.masks))
    assert pickle.loads(pickle.dumps(found)) == found
    assert described(tree.raw).group == "image"


def test_numbers_that_begin_anew_in_each_class_do_not_collide(tree):
    found = [case for name, case in cases(tree.raw).items() if name.endswith("_001")]
    assert len(found) == 5
    assert len({case.images[0].name for case in found}) == 1
    assert len({images.read_image(case.images[0]).tobytes() for case in found}) == 5


@pytest.mark.parametrize("nested", [(), CATEGORIES], ids=["single", "double"])
def test_single_and_double_nesting_give_the_same_dataset(nested, tree, tmp_path):
    write(tmp_path / "raw", nested=nested)
    assert (tmp_path / "raw" / "im_Parabasal" / "im_Parabasal").is_dir() == bool(nested)
    frames = []
    for raw, out in ((tree.raw, tmp_path / "a"), (tmp_path / "raw", tmp_path / "b")):
        testing.run("cervical-cancer", raw, out, How(workers=1), options={"mask": "both"})
        frames.append(manifest.read(out).drop(columns=["source"]))
    assert frames[0].equals(frames[1])
    assert len(frames[0]) == PICTURES
    for folder in ("images", "masks"):
        written = [{path.name: path.read_bytes() for path in (tmp_path / out / folder).iterdir()} for out in "ab"]
        assert written[0] == written[1]
        assert len(written[0]) == PICTURES


@pytest.mark.parametrize("place", [".", "im_Metaplastic.7z.unpacked", "SIPaKMeD/data", "im_Other/x"])
def test_class_folders_lie_at_any_depth(place, tree, tmp_path):
    (tmp_path / "raw" / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tree.raw, tmp_path / "raw" / place, dirs_exist_ok=True)
    assert list(cases(tmp_path / "raw")) == list(cases(tree.raw))


def test_a_class_folder_itself_is_a_source(tree):
    folder = tree.folder("Metaplastic")
    assert list(cases(folder)) == ["Metaplastic_001", "Metaplastic_002"]
    assert "it lacks im_Dyskeratotic, im_Koilocytotic, im_Parabasal, im_Superficial-Intermediate." in notes(folder)[0]


def test_a_class_that_lies_there_twice_is_refused_with_both_places(copied):
    shutil.copytree(copied.folder("Parabasal"), copied.raw / "again" / "im_Parabasal")
    for look in (cases, described):
        with pytest.raises(InputError, match="im_Parabasal lies in .*again.* and in .*im_Parabasal") as caught:
            look(copied.raw)
        assert "--raw" in caught.value.remedy


def test_names_are_read_whatever_their_letters(copied):
    before = cases(copied.raw)
    for category in CATEGORIES:
        folder = copied.folder(category)
        for path in [*folder.glob("*.*"), *folder.glob("CROPPED/*.*")]:
            path.rename(path.with_name(path.name.upper()))
        (folder / "CROPPED").rename(folder / "Cropped")
    (copied.raw / "im_Parabasal").rename(copied.raw / "IM_PARABASAL")
    after = cases(copied.raw)
    assert list(after) == list(before)
    assert [len(case.masks) for case in after.values()] == [len(case.masks) for case in before.values()]
    assert len(cases(copied.raw, cropped=True)) == len(list(copied.raw.rglob("Cropped/[0-9]*.BMP")))
    assert only(after[FIRST]).mask.any()


def test_no_outline_is_passed_over_for_how_its_number_is_written(copied):
    first = file(copied, "001_cyt01.dat")
    for name in ("001_cyt7.dat", "001_cyt100.dat"):
        (first.parent / name).write_bytes(first.read_bytes())
    [case] = [case for case in cases(copied.raw).values() if first in case.masks]
    assert {"001_cyt7.dat", "001_cyt100.dat"} <= {path.name for path in case.masks}


def test_what_is_not_this_source_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        cases(tmp_path / "gone")
    (tmp_path / "im_Parabasal").mkdir()
    (tmp_path / "im_Parabasal" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"not recognised.*im_Parabasal/notes\.txt"):
        cases(tmp_path)


def test_what_is_passed_over_is_counted(copied):
    crops = len(cases(copied.raw, cropped=True))
    assert notes(copied.raw) == (f"Passed over: pictures of cells in CROPPED, which --cropped builds ({crops}).",)
    assert notes(copied.raw, cropped=True) == (f"Passed over: pictures of clusters ({PICTURES}).",)
    other = copied.raw / "im_Other"
    other.mkdir()
    shutil.copy(file(copied, "001.bmp"), other / "001.bmp")
    shutil.copy(file(copied, "001_cyt01.dat"), file(copied, "001_cytA.dat"))
    shutil.copy(file(copied, "CROPPED/001_01.bmp"), file(copied, "001_01.bmp"))
    shutil.copy(file(copied, "001.bmp"), file(copied, "CROPPED/009.bmp"))
    (copied.raw / "readme.png").write_bytes(b"")
    assert len(cases(copied.raw)) == PICTURES
    assert len(cases(copied.raw, cropped=True)) == crops
    assert [note for note in notes(copied.raw) if "not of this source" in note] == [
        "Passed over: files in 'CROPPED' that are not of this source (1).",
        "Passed over: files in 'im_Dyskeratotic' that are not of this source (2).",
        "Passed over: files in 'im_Other' that are not of this source (1).",
    ]


def test_a_missing_class_is_named(copied):
    shutil.rmtree(copied.raw / "im_Metaplastic")
    assert notes(copied.raw)[0] == "This copy is not complete: it lacks im_Metaplastic."
    assert len(cases(copied.raw)) == PICTURES - 2


# ---- what is read -------------------------------------------------------------------------------------------------


def truth(tree, number):
    """The cells and nuclei of a picture as the phantom painted them: (cells, nuclei), bool HxW each."""
    drawn = tree.drawn(number)
    return [[phantoms._inside(points, SHAPE) for points in each] for each in zip(*_outlines(drawn), strict=True)]


def _outlines(drawn):
    return [(cell.outline, cell.nucleus) for cell in drawn]


def near(mask, expected):
    """Whether two masks differ at the rim of what they outline only, and there by less than a pixel."""
    rim = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        edge = np.diff(expected.astype(np.int8), axis=axis) != 0
        rim |= np.pad(edge, [(0, int(axis == 0)), (0, int(axis == 1))])
        rim |= np.pad(edge, [(int(axis == 0), 0), (int(axis == 1), 0)])
    return not (mask != expected)[~rim].any() and np.mean((mask != expected)[rim]) < 0.15


@pytest.mark.parametrize("number", range(PICTURES))
def test_all_cells_of_a_picture_are_in_its_mask_where_they_were_painted(number, tree):
    case = cases(tree.raw)[f"{CATEGORIES[number % 5]}_{number // 5 + 1:03d}"]
    outlined, nuclei = truth(tree, number)
    cell, nucleus = (only(case, mask=mask).mask for mask in ("cell", "nucleus"))
    if number == 3:
        outlined = [*outlined, nuclei[1]]  # partly outside its cell, and of it all the same
    if number == 4:
        nuclei = nuclei[:-1]
    assert near(cell > 0, np.any(outlined, axis=0))
    assert near(nucleus > 0, np.any(nuclei, axis=0))
    assert set(np.unique(cell).tolist()) == set(np.unique(nucleus).tolist()) == {0, 1}


def test_x_and_y_are_not_confused_at_the_right_edge_of_a_4_to_3_picture(tree):
    for number in (0, 1, 3, 4):
        piece = only(cases(tree.raw)[f"{CATEGORIES[number]}_001"])
        assert piece.image.shape == (*SHAPE, 3)
        assert piece.mask.shape == SHAPE
        assert piece.mask[:, SHAPE[0] :].any(), "columns that no row number reaches"
        outlined, _ = truth(tree, number)
        assert near(piece.mask[:, SHAPE[0] :] > 0, np.any(outlined, axis=0)[:, SHAPE[0] :])


def test_cytoplasm_is_cells_without_nuclei_and_both_is_two_classes(tree):
    for name, case in cases(tree.raw).items():
        cell, cytoplasm, nucleus, both = (
            only(case, mask=mask).mask for mask in ("cell", "cytoplasm", "nucleus", "both")
        )
        assert np.array_equal(cytoplasm, both == 1)
        assert np.array_equal(nucleus, both == 2)
        assert not (cytoplasm & nucleus).any()
        unpaired = "unpaired_contour" in only(case).flags
        assert unpaired == (name == "Superficial-Intermediate_001")
        assert np.array_equal(cell > 0, both > 0) != unpaired
        assert not ((both > 0) & (cell == 0)).any()
        assert set(np.unique(both).tolist()) == {0, 1, 2}


def test_labels_are_those_of_the_mask(tree):
    told = {mask: described(tree.raw, mask=mask).labels for mask in ("cell", "cytoplasm", "nucleus", "both")}
    assert told == {
        "cell": {1: "cell"},
        "cytoplasm": {1: "cytoplasm"},
        "nucleus": {1: "nucleus"},
        "both": {1: "cytoplasm", 2: "nucleus"},
    }


@pytest.mark.parametrize("mask", ["cell", "cytoplasm", "nucleus", "both"])
def test_per_cell_is_the_same_picture_with_each_cell_alone(mask, tree):
    for case in cases(tree.raw).values():
        alone, together = slices(case, per_cell=True, mask=mask), only(case, mask=mask)
        numbers = {int(path.name[7:9]) for path in case.masks if "cyt" in path.name}
        lacks = {2} if case.id == "Superficial-Intermediate_001" and mask != "cell" else set()
        assert set(alone) == numbers - lacks
        merged = np.max([one.mask for one in alone.values()], axis=0)
        assert np.array_equal(merged > 0, together.mask > 0) or mask == "cytoplasm"
        assert not (together.mask > merged).any()
        for one in alone.values():
            assert np.array_equal(one.image, together.image)
            assert one.flags == together.flags
    assert list(cases(tree.raw, per_cell=True)) == list(cases(tree.raw))


def test_cropped_pictures_are_those_of_single_cells(tree):
    clusters, crops = cases(tree.raw), cases(tree.raw, cropped=True)
    assert len(crops) == sum("cyt" in path.name for case in clusters.values() for path in case.masks)
    for name, case in crops.items():
        parent = clusters[case.group]
        assert (name.rpartition("_")[0], case.category, case.patient) == (case.group, parent.category, "")
        cell = only(case)
        whole = slices(parent, per_cell=True)[int(name[-2:])]
        assert cell.image.shape[0] < SHAPE[0]
        top, left = place(whole.image, cell.image)
        here = whole.mask[top : top + cell.mask.shape[0], left : left + cell.mask.shape[1]]
        if name != "Parabasal_001_01":  # in whose crop the nucleus lies elsewhere
            assert np.array_equal(cell.mask, here)
    assert described(tree.raw, cropped=True).expected.cases == 4049
    assert described(tree.raw).expected.cases == 966


def place(whole, part):
    """Where a picture was cut from a larger one."""
    height, width = part.shape[:2]
    for top, left in np.argwhere((whole == part[0, 0]).all(axis=2)):
        if np.array_equal(whole[top : top + height, left : left + width], part):
            return top, left
    raise AssertionError("the crop is not of this picture")


def test_a_nucleus_in_the_coordinates_of_the_parent_picture_is_dropped_where_it_is_not_needed(tree):
    case = cases(tree.raw, cropped=True)["Parabasal_001_01"]
    assert set(only(case, cropped=True).flags) == {"contour_dropped", "outside_image", "unpaired_contour"}
    for mask in ("nucleus", "cytoplasm", "both"):
        found = fault_of(case, cropped=True, mask=mask)
        assert found.code == "no_contour"
        assert "outside_image" in found.reason


def test_a_nucleus_partly_outside_is_kept_and_is_of_its_cell(tree):
    case = cases(tree.raw)["Parabasal_001"]
    assert only(case).flags == ("nucleus_outside",)
    _, nuclei = truth(tree, 3)
    assert near(only(case, mask="nucleus").mask > 0, np.any(nuclei, axis=0))
    assert only(case).mask[nuclei[1]].mean() > 0.9
    kept, cut = (only(case, mask="both", cut_nuclei=cut) for cut in (False, True))
    assert cut.flags == kept.flags
    assert 0.3 < cut.mask[nuclei[1]].astype(bool).mean() < 0.9
    assert np.array_equal(cut.mask[cut.mask > 0], kept.mask[cut.mask > 0]), "and nothing else has changed"
    assert not nuclei[0][(kept.mask > 0) & (cut.mask == 0)].any()


def test_flags_are_of_the_cases_that_have_a_reason(tree):
    found = {name: (*case.flags, *only(case).flags) for name, case in cases(tree.raw).items()}
    assert {name: flags for name, flags in found.items() if flags} == {
        "Parabasal_001": ("nucleus_outside",),
        "Superficial-Intermediate_001": ("unpaired_contour",),
    }


def test_a_crop_is_one_cell_already():
    with pytest.raises(ValidationError, match="leave --per-cell out"):
        options(per_cell=True, cropped=True)
    done = CliRunner().invoke(main, ["build", "cervical-cancer", "--raw", ".", "--per-cell", "--cropped"])
    assert done.exit_code == 2
    assert "--cropped True: such a picture is of one cell: leave --per-cell out" in done.stderr


def test_outlines_are_taken_to_the_nearest_pixel_and_not_cut_off(copied):
    """The seed's ``int()`` and ``fillPoly`` shift an outline up and left by half a pixel, and fatten it by as much."""
    path = file(copied, "001_cyt01.dat")
    square = "".join(f"{x:.4f},{y:.4f}\n" for x, y in ((9.6, 19.6), (29.4, 19.6), (29.4, 39.4), (9.6, 39.4)))
    for other in copied.folder("Dyskeratotic").glob("001_*.dat"):
        other.unlink()
    path.write_text(square)
    rows, columns = np.nonzero(only(cases(copied.raw)[FIRST]).mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 10, 29)


# ---- from raw folder to split dataset -----------------------------------------------------------------------------


@pytest.fixture
def here(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def test_pictures_are_padded_to_a_square_and_squashed_if_asked(here, tree):
    source = registry.source("cervical-cancer")
    call("build", "cervical-cancer", "--raw", tree.raw, "--size", 128, "--workers", 1)
    call("build", "cervical-cancer", "--raw", tree.raw, "--size", 128, "--stretch", "--out", "flat", "--workers", 1)
    padded, flat = manifest.read(here / "datasets" / "cervical-cancer"), manifest.read(here / "flat")
    assert set(padded["pad"]) == {"16 0 16 0"}
    assert set(flat["pad"]) == {"0 0 0 0"}
    for frame in (padded, flat):
        assert set(frame["height"]) == set(frame["width"]) == {128}
        assert set(frame["category"]) == set(CATEGORIES)
    for key in padded["key"]:
        image, mask = (
            images.read_png(here / "datasets" / "cervical-cancer" / folder / f"{key}.png")
            for folder in ("images", "masks")
        )
        assert (image[:16] == source.background).all()
        assert (image[-16:] == source.background).all()
        assert not (image[16:-16] == source.background).all()
        assert not mask[:16].any()
        assert set(np.unique(mask).tolist()) == {0, 255}
        assert not (images.read_png(here / "flat" / "images" / f"{key}.png")[:16] == source.background).all()
    # Squashed cells are higher by a third.
    assert flat["foreground"].sum() == pytest.approx(padded["foreground"].sum() * 4 / 3, rel=0.02)


@pytest.mark.parametrize("given", [["--per-cell"], ["--cropped"], []])
def test_a_split_keeps_parent_pictures_whole_and_says_that_there_are_no_patients(given, here, tree):
    call("build", "cervical-cancer", "--raw", tree.raw, "--size", 64, "--workers", 1, *given)
    done = call("split", "--by-patient")
    assert "the source publishes no patients: split by its parent image (the column group)" in done.stderr
    rows = manifest.read(here / "datasets" / "cervical-cancer")
    assert set(rows["split"]) == {"train", "valid", "test"}
    assert (rows.groupby("group")["split"].nunique() == 1).all()
    assert rows["group"].nunique() == PICTURES
    assert set(rows["patient"]) == {""}
    assert len(rows) == (PICTURES if not given else sum(len(tree.drawn(number)) for number in range(PICTURES)))
    assert "no findings" in call("verify").output
    document = json.loads((here / "datasets" / "cervical-cancer" / "dataset.json").read_text())
    assert document["source"]["group"] == "image"
    assert any("No patient is published" in note for note in document["source"]["notes"])


def test_pictures_that_are_equal_stay_in_one_set(here, copied):
    """The same picture in two classes: noted, kept, and never on both sides of a split."""
    twin = copied.folder("Metaplastic") / "001.bmp"
    shutil.copy(file(copied, "001.bmp"), twin)
    found = cases(copied.raw)
    assert {name for name, case in found.items() if "duplicate_image" in case.flags} == {FIRST, "Metaplastic_001"}
    assert found[FIRST].group == found["Metaplastic_001"].group == FIRST
    crops = cases(copied.raw, cropped=True)
    assert crops["Metaplastic_001_01"].group == "Metaplastic_001"
    call("build", "cervical-cancer", "--raw", copied.raw, "--per-cell", "--workers", 1)
    call("split")
    rows = manifest.read(here / "datasets" / "cervical-cancer").set_index("case")["split"]
    assert len({*rows[FIRST], *rows["Metaplastic_001"]}) == 1


def test_the_build_says_what_this_copy_lacks(here, copied):
    shutil.rmtree(copied.raw / "im_Parabasal")
    done = call("build", "cervical-cancer", "--raw", copied.raw, "--workers", 1)
    assert "This copy is not complete: it lacks im_Parabasal." in done.stderr
    assert "pictures of cells in CROPPED, which --cropped builds" in done.stderr


# ---- the phantom --------------------------------------------------------------------------------------------------


def test_a_bmp_is_stored_as_the_real_ones_are(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    data = phantoms.bmp(pixels)
    path = tmp_path / "a.bmp"
    path.write_bytes(data)
    assert data[:2] == b"BM"
    assert int.from_bytes(data[2:6], "little") == len(data) == 54 + 2 * 12
    assert int.from_bytes(data[28:30], "little") == 24
    assert data[54:57] == bytes(pixels[1, 0, ::-1]), "the bottom row comes first, blue before red"
    assert data[63:66] == bytes(3), "rows are padded to four bytes"
    assert np.array_equal(images.read_image(path), pixels)
    assert images.stored_as(path) == ("BMP", "RGB")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_the_quirks_of_the_real_one_are_there(tree):
    first = tree.raw / "im_Dyskeratotic"
    assert (first / "._001.bmp").is_file()
    assert (tree.raw / "im_Koilocytotic" / "im_Koilocytotic" / "001.bmp").is_file()
    assert b"\r\n" in file(tree, "001_cyt01.dat", "Koilocytotic").read_bytes()
    spaced = file(tree, "001_cyt01.dat", "Metaplastic").read_bytes()
    assert spaced.startswith(b"\xef\xbb\xbf")
    assert b"," not in spaced
    texts = [path.read_text("utf-8-sig") for path in tree.raw.rglob("[0-9]*.dat")]
    decimals = {len(text.split()[0].replace(",", " ").split()[0].partition(".")[2]) for text in texts}
    assert decimals == {3, 4, 5, 6}
    counts = Counter(len(tree.drawn(number)) for number in range(PICTURES))
    assert set(counts) == {1, 2, 3, 4}
    widths = {images.image_size(path)[1] % 4 for path in tree.raw.rglob("CROPPED/[0-9]*.bmp")}
    assert len(widths) > 1, "crops of widths whose rows are padded"
    overlapping = tree.drawn(3)[2:4]
    assert np.logical_and(*(contours.rasterise(np.array(cell.outline), SHAPE) for cell in overlapping)).any()


def test_cells_are_not_told_by_their_colour(tmp_path):
    """The best threshold on any channel takes smears and debris for cells; one on fine texture does not."""
    Tree(tmp_path, size=256, seed=1).write(8)
    image, mask, texture = [], [], []
    for case in cases(tmp_path).values():
        piece = only(case)
        image.append(piece.image.reshape(-1, 3))
        mask.append(piece.mask.ravel() > 0)
        grey = piece.image.mean(axis=2).astype(np.float32)
        fine = cv2.blur(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 3)), (7, 7))
        texture.append(cv2.morphologyEx(fine, cv2.MORPH_OPEN, np.ones((15, 15))).ravel())  # without edges
    image, mask, texture = np.concatenate(image), np.concatenate(mask), np.concatenate(texture)

    def best(values):
        found = [values <= level for level in np.percentile(values, np.arange(2, 100, 3))]
        return max(2 * (one & mask).sum() / (one.sum() + mask.sum()) for one in (*found, *(~each for each in found)))

    assert max(best(image[:, channel].astype(float)) for channel in range(3)) < 0.7
    assert best(texture) > 0.9


SMALL = {"patients": 6, "size": 64, "slices": 10, "seed": 3}


@pytest.mark.parametrize("size", [SMALL, {"patients": 1, "size": 32, "slices": 5, "seed": 0}], ids=["some", "least"])
def test_faults_are_what_the_marker_file_says_and_no_more(size, tmp_path):
    raw = tmp_path / "raw"
    cervical_cancer.phantom(raw, faults=True, **size)
    marker = json.loads((raw / PHANTOM).read_text())
    found = {}
    for name, case in cases(raw).items():
        try:
            assert only(case).mask.any()
        except CaseError as error:
            found[name] = error.code
    assert found == marker["faults"]
    assert len(set(found.values())) == len(found) == 10
    assert sorted({*cases(raw)} - {*found}) == marker["ids"]
    assert len(marker["ids"]) == size["patients"]


def test_a_phantom_has_pictures_of_any_size_and_is_never_written_over_anything(tmp_path):
    for size in (32, 50, 301):
        cervical_cancer.phantom(tmp_path / str(size), faults=False, **{**SMALL, "size": size})
        found = cases(tmp_path / str(size))
        assert {only(case).mask.shape for case in found.values()} == {(size * 3 // 4, size)}
    with pytest.raises(UsageError, match="not empty"):
        cervical_cancer.phantom(tmp_path, faults=False, **SMALL)


def test_it_is_imported_without_numpy():
    code = (
        "import sys, imagemask.generators.cervical_cancer; sys.exit(bool({'numpy', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
