"""The folder source: any tree of image and mask files, guessed or told."""

import json
import os
import pickle
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from fifos import fifo
from hypothesis import given
from hypothesis import strategies as st
from imagemask.generators import folder
from imagemask.generators.phantoms.folder import LAYOUTS, Tree, flat_jpeg
from PIL import Image
from pydantic import ValidationError

from imagemask import check, images, manifest, pixels, registry, sources, testing
from imagemask.build import How
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import DescribesItself, WritesPhantom

REAL = Path(__file__).parents[2] / "shared" / "real"
PATIENT = r"^(P\d+)_"


def options(**given):
    return folder.Options(**given)


def described(raw, **given):
    return folder.describe(registry.source("folder"), raw, options(**given))


def cases(raw, **given):
    return {case.id: case for case in folder.discover(raw, options(**given))}


def slice_of(case, **given):
    (only,) = folder.read(case, options(**given))
    return only


def fault_of(case, **given):
    with pytest.raises(CaseError) as caught:
        list(folder.read(case, options(**given)))
    assert caught.value.remedy
    return caught.value.code


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(array, np.uint8))
    return path


def pair(raw, stem="a", mask=((0, 1), (0, 0)), image=((9, 8), (7, 6)), kind="png"):
    """An image and a mask of one stem, in images/ and masks/."""
    put(raw / "images" / f"{stem}.{kind}", image)
    put(raw / "masks" / f"{stem}.{kind}", mask)
    return raw


@pytest.fixture(scope="module", params=list(LAYOUTS))
def tree(request, tmp_path_factory):
    """A phantom in each layout, faults included."""
    made = Tree(tmp_path_factory.mktemp("raw") / request.param, request.param, size=48, slices=5, seed=3)
    made.write(4, faults=True)
    return made


def marker(tree):
    return json.loads((tree.raw / "imagemask-phantom.json").read_text())


def test_satisfies_the_protocols():
    module = registry.load("folder")
    assert isinstance(module, DescribesItself)
    assert isinstance(module, WritesPhantom)


def test_finds_every_pair_of_each_layout_and_nothing_else(tree):
    found, told = cases(tree.raw), marker(tree)
    assert sorted(found) == sorted({*told["ids"], *told["faults"]})
    assert len(told["ids"]) == told["cases"] == 20
    assert list(found) == sorted(found)
    assert pickle.loads(pickle.dumps(found)) == found
    assert len({case.patient for case in cases(tree.raw, patient=PATIENT).values()}) == 4 + len(told["faults"])
    assert described(tree.raw).notes[0].startswith("Guessed: ")


def test_reads_the_pixels_of_each_pair(tree):
    found = cases(tree.raw)
    for number, index in ((0, 0), (0, 1), (0, 2), (1, 0), (3, 4)):
        image_path, mask_path = tree.paths(number, index)
        (case,) = (case for case in found.values() if case.images == (image_path,))
        assert case.masks == (mask_path,)
        assert case.bytes == image_path.stat().st_size + mask_path.stat().st_size
        piece = slice_of(case)
        assert np.array_equal(piece.image, images.read_png(image_path))
        assert np.array_equal(piece.mask > 0, images.read_png(mask_path) > 0)
        assert set(np.unique(piece.mask).tolist()) <= {0, 1}
        assert (piece.index, piece.spacing, piece.flags) == (0, None, ())


def test_quarantines_each_fault_of_each_layout(tree):
    found, labels = cases(tree.raw), described(tree.raw).labels
    codes = {}
    for name in marker(tree)["faults"]:
        with pytest.raises(CaseError) as caught:
            pixels.labels(slice_of(found[name]), labels)
        codes[name] = caught.value.code
    assert codes == marker(tree)["faults"]
    assert len(set(codes.values())) == len(codes) >= 8


def test_keeps_the_split_of_the_path_if_asked(tmp_path):
    tree = Tree(tmp_path, "splits", size=32, slices=5, seed=1)
    tree.write(3)
    assert {case.split for case in cases(tmp_path).values()} == {""}
    kept = cases(tmp_path, split_from_path=True)
    assert {name: case.split for name, case in kept.items()} == {name: name.split("+")[0] for name in kept}
    assert {case.split for case in kept.values()} == {"train", "valid", "test"}
    assert any("--split-from-path" in note for note in described(tmp_path).notes)
    assert not any("--split-from-path" in note for note in described(tmp_path, split_from_path=True).notes)


def test_refuses_to_keep_a_split_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no folder is called train, valid or test"):
        cases(pair(tmp_path), split_from_path=True)


def test_one_stem_in_two_folders_is_two_cases(tmp_path):
    for place in ("train", "test"):
        pair(tmp_path / place, stem="001")
    found = cases(tmp_path)
    assert list(found) == ["test+001", "train+001"]
    assert all(len(case.images) == len(case.masks) == 1 for case in found.values())


# --- patients


def test_patients_come_from_the_name(tmp_path):
    for stem in ("P1_1", "P1_2", "p2_1", "P2_3", "other"):
        pair(tmp_path, stem=stem)
    found = cases(tmp_path, patient=r"^([Pp]\d)_")
    assert {name: case.patient for name, case in found.items()} == {
        "P1_1": "P1",
        "P1_2": "P1",
        "P2_3": "P2",
        "other": "",
        "p2_1": "P2",
    }
    assert {name for name, case in found.items() if case.flags} == {"p2_1"}
    assert fault_of(found["other"], patient=r"^([Pp]\d)_") == "no_patient"
    assert slice_of(found["p2_1"], patient=r"^([Pp]\d)_")


def test_patients_come_from_folders_where_the_expression_has_a_slash(tmp_path):
    for patient in ("P1", "P2"):
        pair(tmp_path / patient, stem="1")
    found = cases(tmp_path, patient=r"^(P\d)/")
    assert {case.patient for case in found.values()} == {"P1", "P2"}
    assert {case.patient for case in cases(tmp_path, patient=r"^(P\d)").values()} == {""}


def test_without_an_expression_nobody_is_known(tmp_path):
    (case,) = cases(pair(tmp_path)).values()
    assert (case.patient, case.group) == ("", "")
    assert slice_of(case)
    assert described(tmp_path).group == "none"
    assert described(tmp_path, patient="(.)").group == "patient"


@pytest.mark.parametrize(
    "wrong",
    [
        {"patient": "("},
        {"patient": r"P\d"},
        {"labels": "1="},
        {"mask_threshold": 0},
        {"mask_threshold": 65536},
        {"name": "My Data"},
        {"colour": "red"},
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(wrong):
    with pytest.raises(ValidationError):
        options(**wrong)


# --- what mask values mean


@given(st.sampled_from([1, 2, 128, 255]))
def test_masks_of_two_values_become_0_and_1(value):
    with tempfile.TemporaryDirectory() as place:
        raw = pair(Path(place), mask=[[0, value], [value, 0]])
        (case,) = cases(raw).values()
        assert slice_of(case).mask.tolist() == [[0, 1], [1, 0]]
        assert described(raw).labels == {1: "foreground"}
        assert described(raw, labels="cyst").labels == {1: "cyst"}


def test_declared_values_are_left_as_they_are(tmp_path):
    raw = pair(tmp_path, mask=[[0, 3], [255, 0]])
    told = {"labels": "3=tumour,255=cyst"}
    (case,) = cases(raw, **told).values()
    assert slice_of(case, **told).mask.tolist() == [[0, 3], [255, 0]]
    assert described(raw, **told).labels == {3: "tumour", 255: "cyst"}
    (case,) = cases(raw).values()
    assert fault_of(case) == "label_values"


def test_two_classes_of_one_a_picture_are_never_merged(tmp_path):
    """The class of the last is absent elsewhere, and no majority makes it the other one."""
    for stem, value in (("a", 1), ("b", 255), ("c", 0), ("d", 2)):
        pair(tmp_path, stem=stem, mask=[[0, value]], image=[[0, 0]])
    wrong = r"1 in 1 mask \(masks/a\.png first\), 2 in 1 mask \(masks/d\.png first\), 255 .*1=NAME,2=NAME,255=NAME"
    for look in (
        lambda: testing.run("folder", tmp_path, tmp_path / "out", How(workers=1)),
        lambda: check.check("folder", tmp_path),
    ):
        with pytest.raises(UsageError, match=wrong):
            look()
    assert not (tmp_path / "out").exists()
    for told in ({"labels": "1=a,2=b,255=c"}, {"mask_threshold": 1}):
        assert described(tmp_path, **told).labels
    (tmp_path / "images" / "d.png").unlink()  # a mask of nothing has no say
    assert described(tmp_path).labels == {1: "foreground"}


def test_a_value_that_is_not_declared_is_told_by_a_check(tmp_path):
    raw = pair(tmp_path, mask=[[0, 3], [255, 9]])
    (problem,) = check.check("folder", raw, {"labels": "3=tumour,255=cyst"}).quarantined
    assert problem.code == "label_values"
    assert "values other than 0, 3, 255: 4 values, pixels by value 0: 1, 3: 1, 9: 1, 255: 1" in problem.reason


def test_a_threshold_makes_the_one_class_that_is_declared(tmp_path):
    raw = pair(tmp_path, mask=[[0, 100], [128, 255]])
    for labels, value in ((None, 1), ("cyst", 1), ("7=cyst", 7)):
        told = {"mask_threshold": 128, "labels": labels}
        (case,) = cases(raw, **told).values()
        piece = slice_of(case, **told)
        assert piece.mask.tolist() == [[0, 0], [value, value]]
        assert piece.flags == ("mask_thresholded",)
        assert list(described(raw, **told).labels) == [value]
    with pytest.raises(UsageError, match="makes one class, not 1=a, 2=b"):
        cases(raw, mask_threshold=128, labels="1=a,2=b")


def nnunet(raw, labels, *masks):
    """nnU-Net's raw format: a picture a mask."""
    for number, mask in enumerate(masks):
        put(raw / "imagesTr" / f"c{number}_0000.png", np.zeros(np.shape(mask)))
        put(raw / "labelsTr" / f"c{number}.png", mask)
    (raw / "dataset.json").write_text(json.dumps({"labels": labels}))
    return raw


def test_labels_of_nnunet_are_exact(tmp_path):
    raw = nnunet(tmp_path, {"background": 0, "cyst": 2, "tumour": 1}, [[0, 1], [2, 0]])
    assert described(raw).labels == {1: "tumour", 2: "cyst"}
    assert slice_of(cases(raw)["c0"]).mask.tolist() == [[0, 1], [2, 0]]


def test_what_nnunet_ignores_is_never_foreground(tmp_path):
    raw = nnunet(tmp_path, {"background": 0, "cell": 1, "ignore": 2}, [[0, 1]], [[0, 2]], [[1, 2]])
    told, found = described(raw), cases(raw)
    assert told.labels == {1: "cell"}
    assert any("Label 2 is ignore" in note and "quarantined" in note for note in told.notes)
    assert pixels.labels(slice_of(found["c0"]), told.labels).mask.tolist() == [[0, 1]]
    for name in ("c1", "c2"):
        with pytest.raises(CaseError, match="other than 0, 1") as caught:
            slice_of(found[name])
        assert caught.value.code == "label_values"
    for look in (described, cases):
        with pytest.raises(UsageError, match="makes one class, not 1=cell, 2=ignore"):
            look(raw, mask_threshold=1)
        assert look(raw, labels="1=cell,2=unsure")


def test_regions_of_nnunet_are_refused_until_the_values_have_names(tmp_path):
    raw = nnunet(tmp_path, {"background": 0, "whole": [1, 2], "core": 2}, [[0, 1], [2, 0]])
    for look in (described, cases):
        with pytest.raises(InputError, match=r"regions \(whole\).*--labels 1=NAME,2=NAME"):
            look(raw)
    assert described(raw, labels="1=edema,2=core").labels == {1: "edema", 2: "core"}
    (raw / "imagemask.toml").write_text('[labels]\n1 = "edema"\n2 = "core"\n')
    assert described(raw).labels == {1: "edema", 2: "core"}


@pytest.mark.parametrize("told", [{"mask_threshold": 128}, {"labels": "cyst", "mask_threshold": 101}])
def test_where_all_masks_come_out_empty_the_options_are_doubted(told, tmp_path):
    raw = pair(tmp_path / "raw", mask=[[0, 100], [0, 100]])
    doubt = " and ".join(f"--{name.replace('_', '-')} {value}" for name, value in told.items())
    with pytest.raises(InputError, match=rf"from 1 case\. No mask .* Is it the right {doubt}\? --keep-empty"):
        testing.run("folder", raw, tmp_path / "out", How(workers=1), options=told)


def test_what_a_build_advises_can_be_done_at_once(tmp_path):
    raw = pair(tmp_path / "raw", mask=[[0, 1], [2, 0]])
    with pytest.raises(
        InputError, match=r"1 quarantined .*first is a: masks/a\.png: .*Declare several classes with --labels"
    ):
        testing.run("folder", raw, tmp_path / "out", How(workers=1))
    built = testing.run("folder", raw, tmp_path / "out", How(workers=1), options={"labels": "1=a,2=b"})
    assert built.merged.counts.built == 1


def test_jpeg_masks_are_refused_before_work_and_built_with_a_threshold(tmp_path):
    y, x = np.mgrid[:40, :40]
    disc = ((y - 18) ** 2 + (x - 20) ** 2 < 90) * 255
    for stem in "ab":
        pair(tmp_path, stem=stem, mask=disc, image=disc // 2, kind="jpg")
    with pytest.raises(UsageError, match=r"a\.jpg is a JPEG.*values, pixels by value 0: .*--mask-threshold 128"):
        described(tmp_path)
    assert described(tmp_path, mask_threshold=128).notes
    for case in cases(tmp_path, mask_threshold=128).values():
        piece = slice_of(case, mask_threshold=128)
        assert np.mean((piece.mask > 0) != (disc > 0)) < 0.01
        assert piece.image.ndim == 2


def test_a_jpeg_among_lossless_masks_is_quarantined(tmp_path):
    for stem in "ab":
        pair(tmp_path, stem=stem)
    (tmp_path / "masks" / "b.png").write_bytes(flat_jpeg(2, 2))
    found = cases(tmp_path)
    assert slice_of(found["a"])
    assert fault_of(found["b"]) == "jpeg_mask"
    found = cases(tmp_path, labels="1=a,2=b")
    assert fault_of(found["b"], labels="1=a,2=b") == "jpeg_mask"


def test_a_mask_on_stored_pixels_decides_what_a_photograph_is_turned_to(tmp_path):
    raw = pair(tmp_path, mask=np.eye(8, 6), image=np.zeros((8, 6)), kind="png")
    (raw / "images" / "a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(raw / "images" / "a.jpg", exif=exif)
    (case,) = cases(raw).values()
    assert slice_of(case).image.shape == (8, 6)
    put(raw / "masks" / "a.png", np.eye(6, 8))
    assert slice_of(case).image.shape == (6, 8)
    assert slice_of(case).flags == ("exif_orientation",)


def test_sizes_that_differ_are_named_with_both_files(tmp_path):
    raw = pair(tmp_path, image=np.zeros((4, 6)), mask=np.eye(6, 4))
    (case,) = cases(raw).values()
    with pytest.raises(CaseError, match=r"a\.png is 4x6, its mask a\.png 6x4") as caught:
        slice_of(case)
    assert (caught.value.code, caught.value.file) == ("size_mismatch", raw / "masks" / "a.png")


# --- what a dataset says of itself


def test_facts_come_from_the_options_then_the_file_then_nowhere(tmp_path):
    raw = pair(tmp_path / "My Cysts (2)")
    bare = described(raw)
    assert (bare.name, bare.title, bare.url, bare.licence, bare.citation) == (
        "my-cysts-2",
        "My Cysts (2)",
        "",
        "unknown",
        "unknown",
    )
    (raw / "imagemask.toml").write_text(
        'licence = "CC0-1.0"\ncitation = "Nobody 2020"\ntitle = "Cysts"\nurl = "https://example.org/cysts"\n'
        'notes = ["Seen."]\nbackground = 255\n[labels]\n1 = "cyst"\n',
        encoding="utf-8-sig",
    )
    told = described(raw)
    assert (told.title, told.url, told.licence, told.citation) == (
        "Cysts",
        "https://example.org/cysts",
        "CC0-1.0",
        "Nobody 2020",
    )
    assert told.labels == {1: "cyst"}
    assert told.background == 255
    assert told.notes == ("Seen.", *bare.notes)
    over = described(raw, licence="MIT", citation="Me", name="mine", labels="1=spot")
    assert (over.name, over.licence, over.citation, over.labels) == ("mine", "MIT", "Me", {1: "spot"})


def test_labels_from_the_file_are_exact(tmp_path):
    raw = pair(tmp_path, mask=[[0, 1], [2, 0]])
    (raw / "imagemask.toml").write_text('[labels]\n1 = "cyst"\n2 = "tumour"\n')
    (case,) = cases(raw).values()
    assert slice_of(case).mask.tolist() == [[0, 1], [2, 0]]
    with pytest.raises(UsageError, match="makes one class"):
        cases(raw, mask_threshold=1)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("licence =", "cannot be read"),
        ('author = "x"\nlicence = "MIT"', "unknown keys author"),
        ('name = "x"', "unknown keys name"),
        ("licence = 3", "licence: "),
        ('[labels]\nx = "y"', "labels"),
        ("[labels]", "labels"),
        ("background = 256", "background: "),
        (b"licence = '\xff'", "cannot be read"),
    ],
)
def test_a_wrong_file_of_facts_is_an_error_that_names_it(text, match, tmp_path):
    raw = pair(tmp_path)
    (raw / "imagemask.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for look in (described, cases):
        with pytest.raises(InputError, match=match) as caught:
            look(raw)
        assert "imagemask.toml" in str(caught.value)
        assert caught.value.remedy


def test_facts_are_empty_without_a_file(tmp_path):
    assert sources.facts(tmp_path / "imagemask.toml", registry.source("folder")) == {}


def test_the_source_manifest_stands_for_nobodys_data():
    source = registry.source("folder")
    assert (source.licence, source.citation) == ("unknown", "unknown")


# --- names


def test_unusual_names_are_cases_like_others(tmp_path):
    stems = ["a b", "café", "x[1]", "100%", "a+b", "-dash", "it's"]
    for stem in stems:
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        data = images.encode_png(np.eye(4, dtype=np.uint8), level=1)
        for role in ("images", "masks"):
            (tmp_path / role / f"{stem}.png").write_bytes(data)
    found = cases(tmp_path)
    assert {case.images[0].stem for case in found.values()} == set(stems)
    assert set(found) == {"a b", "café", "x[1]", "100=25", "a=2Bb", "-dash", "it's"}
    assert all(slice_of(case).mask.any() for case in found.values())


def test_a_name_that_is_not_text_is_quarantined(tmp_path):
    raw = pair(tmp_path)
    try:
        for role in ("images", "masks"):
            (raw / role / os.fsdecode(b"b\xff.png")).write_bytes((raw / role / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes text only")
    found = cases(raw)
    assert list(found) == ["a", "b=FF"]
    assert found["b=FF"].images == found["b=FF"].masks == ()
    with pytest.raises(CaseError, match=r"b'images/b\\xff\.png' is not UTF-8") as caught:
        list(folder.read(found["b=FF"], options()))
    assert caught.value.code == "undecodable_name"


# --- real pairs


def real(name):
    if not (REAL / name / "images").is_dir():
        pytest.skip("the real pairs are not here")
    return REAL / name


@pytest.mark.parametrize(
    ("name", "told", "pairs", "patients"),
    [
        ("pancreas", {"patient": r"(PANCREAS_\d+)", "mask_threshold": 128}, 126, 31),
        ("lung-tumor", {"patient": r"^(\d+)_"}, 8, 6),
        ("cervical-cancer", {"patient": r"_(\d+)\.", "mask_threshold": 128}, 155, 54),
    ],
)
def test_reads_real_pairs(name, told, pairs, patients):
    raw = real(name)
    found = cases(raw, **told)
    assert len(found) == pairs
    assert len({case.patient for case in found.values()}) == patients
    notes = described(raw, **told).notes
    assert notes[0] == f"Guessed: images in images/, masks in masks/; {pairs} pairs by stem."
    assert ("seed_predictions/ (126 picture files)" in "".join(notes)) == (name == "pancreas")
    for case in found.values():
        piece = slice_of(case, **told)
        assert case.images[0].stem == case.masks[0].stem == case.id
        assert set(np.unique(piece.mask).tolist()) == {0, 1}
        assert piece.image.shape[:2] == piece.mask.shape


@pytest.mark.parametrize("name", ["pancreas", "cervical-cancer"])
def test_refuses_the_real_jpeg_masks_without_a_threshold(name):
    with pytest.raises(UsageError, match=r"is a JPEG.* \d\d+ values, pixels by value 0: \d+, 1-15: \d+"):
        described(real(name))


def test_a_licence_that_is_told_later_is_no_other_recipe(tmp_path):
    raw = testing.phantom("folder", tmp_path / "raw")
    options = {"patient": r"(P\d+)"}
    built = testing.run("folder", raw, tmp_path / "out", How(workers=1), options=options)
    again = testing.run("folder", raw, tmp_path / "out", How(workers=1), options={**options, "licence": "CC0-1.0"})
    assert again.resumed == built.merged.counts.built
    assert manifest.read_dataset(tmp_path / "out")["source"]["licence"] == "CC0-1.0"


def test_facts_that_are_a_pipe_are_not_waited_for(tmp_path):
    pair(tmp_path)
    with fifo(tmp_path / "imagemask.toml"), pytest.raises(InputError, match="is a pipe, a socket or a device"):
        described(tmp_path)
