"""The esophageal-cancer source: frames by name, sets by folder, and frames without cancer that nobody outlined."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from imagemask.generators import esophageal_cancer as source
from imagemask.generators.phantoms.esophageal_cancer import SMALL, Tree, split_of, stem_of, write

from imagemask import images, manifest, names, registry
from imagemask.cli import main
from imagemask.errors import CaseError, InputError
from imagemask.types import SPLITS, DescribesItself, WritesPhantom

FRAME = "2ESTD1jhx201492{:03}OR"
BLACK = images.encode_png(np.zeros((4, 6), np.uint8), level=1)


def options(**given):
    return source.Options(**given)


def cases(raw, **given):
    return {case.id: case for case in source.discover(raw, options(**given))}


def notes(raw, **given):
    return source.describe(registry.source("esophageal-cancer"), raw, options(**given)).notes[4:]


def slice_of(case):
    (only,) = source.read(case, options())
    return only


def fault_of(case):
    with pytest.raises(CaseError) as caught:
        list(source.read(case, options()))
    assert caught.value.remedy
    return caught.value.code


def png(mask=None, *, shape=(4, 6), shade=0):
    """An image, or a mask with the one pixel of foreground."""
    pixels = np.full(shape, shade, np.uint8)
    if mask is not None:
        pixels[:] = 0
        pixels[1, 2] = mask
    return images.encode_png(pixels, level=1)


def put(raw, *places, content=None):
    """Files below ``raw``, each with other bytes unless told."""
    for place in places:
        path = raw / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = int.from_bytes(place.encode()) % 251
        path.write_bytes(
            png(1) if "mask" in place and content is None else content or png(shade=shade) + place.encode()
        )
    return raw


def pair(raw, split, stem, **given):
    """A frame of cancer with its mask."""
    return put(raw, f"EEC/{split}/image/{stem}.png", f"EEC/{split}/mask/{stem}.png", **given)


def call(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A phantom with faults, and what its marker says."""
    raw = tmp_path_factory.mktemp("phantom") / "raw"
    write(raw, patients=6, size=48, slices=6, seed=5, faults=True)
    return raw, json.loads((raw / "imagemask-phantom.json").read_text())


def test_satisfies_the_protocols():
    module = registry.load("esophageal-cancer")
    assert isinstance(module, DescribesItself)
    assert isinstance(module, WritesPhantom)


# --- the phantom


def test_finds_every_frame_of_both_releases_and_nothing_else(phantom):
    raw, marker = phantom
    found = cases(raw)
    assert sorted(found) == sorted({*marker["ids"], *marker["faults"]})
    assert marker["cases"] == len(marker["ids"]) == 19 + 2 + 1 + 6
    assert Counter(case.category for case in found.values() if case.id in marker["ids"]) == {"EEC": 22, "non-EEC": 6}


def test_names_patients_and_sets_as_the_releases_do(phantom):
    raw, _ = phantom
    found = cases(raw)
    for patient in range(6):
        for index in range(2 + patient % 4):
            case = found[f"{split_of(patient)}+{stem_of(patient, index)}"]
            assert (case.split, case.category, case.group) == (split_of(patient), "EEC", "")
            assert case.patient == f"{patient % 3 + 1}estd{patient + 1}jhx2014{patient:02}"
    assert {case.patient: case.split for case in found.values() if case.patient}.keys() == {
        case.patient for case in found.values() if case.patient
    }
    sets = {}
    for case in found.values():
        sets.setdefault(case.patient or case.id, set()).add(case.split)
    assert all(len(splits) == 1 for splits in sets.values()), "a patient in two sets"


def test_numbers_of_the_test_release_are_cancer_and_those_of_the_whole_one_are_not(phantom):
    raw, _ = phantom
    found = cases(raw)
    for number in SMALL[1:]:
        case = found[f"test+{number}"]
        assert (case.category, case.patient, case.group, case.split) == ("EEC", "", case.id, "test")
        assert case.flags == ("patient_unknown",)
        assert slice_of(case).mask.any()
    for number in (0, 1, 1299):
        case = found[f"non-EEC+{number}"]
        assert (case.category, case.patient, case.group, case.masks) == ("non-EEC", "", case.id, ())
        assert case.flags == ("synthetic_mask", "leak_risk")
        piece = slice_of(case)
        assert not piece.mask.any()
        assert piece.mask.shape == piece.image.shape[:2] == (48, 48)


def test_reads_masks_of_zero_and_one_however_they_are_stored(phantom):
    raw, _ = phantom
    tree, found = Tree(raw, 48, 5), cases(raw)
    noted = Counter()
    for patient in range(6):
        for index in range(2 + patient % 4):
            image, mask = tree.frame(patient, index)
            piece = slice_of(found[f"{split_of(patient)}+{stem_of(patient, index)}"])
            assert np.array_equal(piece.image, image)
            assert np.array_equal(piece.mask, mask)
            assert mask.any()
            noted.update(piece.flags)
    assert noted == {"unusual_size": 19, "bright_mask": 1, "twin_dropped": 1}


def test_quarantines_each_fault_under_its_code(phantom):
    raw, marker = phantom
    found = cases(raw)
    assert {name: fault_of(found[name]) for name in marker["faults"]} == marker["faults"]
    assert len(set(marker["faults"].values())) >= 9


def best_dice(values, mask):
    """Of all outlines that a threshold, from above or below, makes of a channel, that of the best one."""
    found = [side for cut in np.quantile(values, np.linspace(0, 1, 40)) for side in (values > cut, values < cut)]
    return max(2 * np.count_nonzero(side & mask) / (np.count_nonzero(side) + mask.sum()) for side in found)


def test_no_threshold_finds_the_lesion_and_no_flip_of_a_mask_fits():
    tree = Tree(Path(), 96, 1)
    for patient in range(4):
        image, mask = tree.frame(patient, 0)
        assert 0.01 < mask.mean() < 0.5
        assert max(best_dice(image[..., channel], mask > 0) for channel in range(3)) < 0.75
        for turned in (mask[::-1], mask[:, ::-1], mask[::-1, ::-1], mask.T):
            assert not np.array_equal(mask, turned)
    healthy, empty = tree.frame(0, 0, cancer=False)
    assert not empty.any()
    assert not np.array_equal(healthy, tree.frame(0, 0)[0])


# --- names


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("2ESTD1jhx201492000OR", "2ESTD1jhx201492"),
        ("2ESTD1jhx201492004OR", "2ESTD1jhx201492"),
        ("2ESTD1jhx201492004or", "2ESTD1jhx201492"),
        ("2ESTD1jhx201492004", "2ESTD1jhx201492"),
        ("jhx_004", "jhx"),
        ("jhx 1234", "jhx 1"),
        ("7", ""),
        ("1234", ""),
        ("20149200001", ""),
        ("lesion", ""),
        ("004OR", ""),
        ("lesion 04", ""),
        ("-004", ""),
        ("jhx\n004", ""),
        ("", ""),
    ],
)
def test_patients_by_example(stem, patient):
    assert source.patient_of(stem) == patient


@given(
    st.from_regex(r"[0-9a-zA-Z]{0,6}[a-zA-Z][0-9a-zA-Z]{0,8}", fullmatch=True),
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(["OR", "", "or", "NBI"]),
)
def test_two_frames_of_a_patient_are_the_patient_s(patient, one, other, tag):
    first, second = (source.patient_of(f"{patient}{frame:03}{tag}") for frame in (one, other))
    assert first == second == patient


@given(st.text())
def test_any_name_is_somebody_s_beginning_or_nobody_s(stem):
    patient = source.patient_of(stem)
    assert patient in stem
    assert patient.isprintable()
    assert len(patient) <= max(0, len(stem) - 3)


@given(st.from_regex(r"[0-9]+", fullmatch=True))
def test_a_number_is_nobody_s(stem):
    assert source.patient_of(stem) == ""


STEMS = st.sampled_from(
    [
        "0",
        "7",
        "007",
        "1299",
        "1300",
        FRAME.format(0),
        FRAME.format(4),
        FRAME.format(4).lower(),
        "lesion",
        "x_mask",
        "9-gt",
    ]
)
FOLDERS = st.sampled_from(
    [
        "EEC/test",
        "EEC/test mask",
        "train/image",
        "train/mask",
        "val/image",
        "val/label",
        "non-EEC",
        "EEC/non-EEC mask",
        "",
    ]
)


@settings(max_examples=60)
@given(st.sets(st.tuples(FOLDERS, STEMS, st.sampled_from([".png", ".jpg"])), min_size=1, max_size=10), st.randoms())
def test_every_picture_of_any_tree_is_in_one_case(drawn, random):
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place)
        for folder, stem, end in drawn:
            put(raw, f"{folder}/{stem}{end}".lstrip("/"), content=bytes([random.randrange(3)]) + b"x")
        try:
            found = list(cases(raw).values())
        except InputError as error:
            if "not recognised" not in str(error):
                raise
            return
        pictures = [path for case in found for path in (*case.images, *case.masks)]
        assert sorted(pictures) == sorted(path for path in raw.rglob("*") if path.is_file())
        assert all(names.is_identifier(case.id) for case in found)
        assert all(case.patient or case.group == case.id for case in found)
        assert all(case.split in SPLITS for case in found if case.category == "non-EEC")
        for case in found:
            stem = (case.images or case.masks)[0].stem.split("-")[0]  # of 9-gt.png
            assert case.category == "EEC" or stem.isdecimal()
            assert case.category == "EEC" or case.fault or case.masks or int(stem) < 1300
            assert "synthetic_mask" not in case.flags or not case.masks


# --- what is cancer and what is not


def test_a_number_beside_outlined_numbers_is_cancer_without_a_mask(tmp_path):
    found = cases(put(tmp_path, "EEC/test/1.png", "EEC/test mask/1.png", "EEC/test/2.png"))
    assert slice_of(found["test+1"]).mask.any()
    assert fault_of(found["test+2"]) == "missing_mask"


def test_a_test_release_whose_masks_are_gone_is_no_release_of_healthy_frames(tmp_path):
    with pytest.raises(InputError, match="not recognised"):
        cases(put(tmp_path, "EEC/test/1.png", "EEC/test/2.png"))
    pair(tmp_path, "train", FRAME.format(0))
    found = cases(tmp_path)
    assert [fault_of(found[f"test+{number}"]) for number in (1, 2)] == ["missing_mask"] * 2


@pytest.mark.parametrize("folder", ["non-EEC", "non_eec images", "NonEEC/test", "Normal", "healthy/1", "test/negative"])
def test_a_folder_may_say_that_its_numbers_show_no_cancer(tmp_path, folder):
    found = cases(
        put(pair(tmp_path, "train", FRAME.format(0)), f"{folder}/5.png", f"{folder}/6.png", f"{folder} mask/6.png")
    )
    healthy = {case.images[0].stem: case for case in found.values() if case.category == "non-EEC"}
    assert sorted(healthy) == ["5", "6"]
    assert ["synthetic_mask" in healthy[number].flags for number in ("5", "6")] == [True, False]
    assert not slice_of(healthy["5"]).mask.any()
    assert fault_of(healthy["6"]) == "label_values"


def test_frames_without_cancer_may_come_with_empty_masks(tmp_path):
    put(pair(tmp_path, "train", FRAME.format(0)), "non-EEC/image/0.png", "non-EEC/image/1400.png")
    put(tmp_path, "non-EEC/mask/0.png", "non-EEC/mask/1400.png", "non-EEC/mask/8.png", content=BLACK)
    found = cases(tmp_path)
    for name in ("non-EEC+0", "non-EEC+1400"):
        assert (found[name].category, found[name].flags) == ("non-EEC", ("leak_risk",))
        assert not slice_of(found[name]).mask.any()
    assert fault_of(found["non-EEC+8"]) == "missing_image"


def test_numbers_are_healthy_by_their_place_only_beside_named_frames(tmp_path):
    put(tmp_path, "unlabeled/4.png", "more/5.png", "dataset/test/6.png")
    with pytest.raises(InputError, match="not recognised"):
        cases(tmp_path)
    found = {case.images[0].stem: case.category for case in cases(pair(tmp_path, "train", FRAME.format(0))).values()}
    assert [found[number] for number in "456"] == ["EEC", "non-EEC", "EEC"]


@pytest.mark.parametrize("image", ["img", "EEC_frames", "images", "EEC_test_dataset"])
@pytest.mark.parametrize("mask", ["EEC_test_dataset_label", "ROI", "EEC mask"])
@pytest.mark.parametrize("lost", [None, "image", "mask"])
def test_a_lost_file_makes_no_frame_healthy(tmp_path, image, mask, lost):
    folders = {"image": image, "mask": mask}
    for role, folder in folders.items():
        numbers = [number for number in range(1, 9) if lost != role or number != 3]
        for number in numbers:
            put(tmp_path, f"{folder}/{number}.png", content=png(1 if role == "mask" else None, shade=number))
    found = cases(tmp_path)
    assert {case.category for case in found.values()} == {"EEC"}
    whole = [case for case in found.values() if case.images and case.masks]
    assert len(whole) == (8 if lost is None else 7)
    assert all(slice_of(case).mask.any() for case in whole)
    broken = [fault_of(case) for case in found.values() if case not in whole]
    assert broken == ([] if lost is None else [f"missing_{lost}"])


def test_frames_whose_masks_are_all_gone_are_no_release(tmp_path):
    with pytest.raises(InputError, match="not recognised"):
        cases(put(tmp_path, *(f"EEC_frames/{number}.png" for number in range(1, 9))))


def test_the_set_in_the_name_of_the_only_folder_is_kept(tmp_path):
    found = cases(put(tmp_path, "EEC_test_dataset/1.png", "EEC_test_dataset mask/1.png"))
    assert {name: case.split for name, case in found.items()} == {"test+1": "test"}


def test_abnormal_is_not_normal(tmp_path):
    found = cases(put(pair(tmp_path, "train", FRAME.format(0)), "test/abnormal/5.png"))
    assert fault_of(found["test+5"]) == "missing_mask"


def test_numbers_beside_named_frames_show_no_cancer_and_their_set_is_kept(tmp_path):
    found = cases(put(pair(tmp_path, "test", FRAME.format(0)), "EEC/test/image/5.png"))
    case = found["non-EEC+test+5"]
    assert (case.category, case.split, case.fault) == ("non-EEC", "test", None)


def test_a_number_that_nobody_published_is_not_taken_for_healthy(tmp_path):
    found = cases(put(pair(tmp_path, "train", FRAME.format(0)), "non-EEC/1299.png", "non-EEC/1300.png"))
    assert slice_of(found["non-EEC+1299"])
    assert fault_of(found["non-EEC+1300"]) == "missing_mask"


def test_seven_and_007_are_two_frames(tmp_path):
    found = cases(put(pair(tmp_path, "train", FRAME.format(0)), "non-EEC/7.png", "non-EEC/007.png"))
    assert "padded_number" in found["non-EEC+007"].flags
    assert "padded_number" not in found["non-EEC+7"].flags


def test_frames_of_another_size_are_noted_and_kept(tmp_path):
    for name, shape in (("0", (480, 480)), ("1", (480, 481))):
        put(tmp_path, f"non-EEC/{name}.png", content=png(shape=shape, shade=int(name)))
    found = cases(tmp_path)
    assert slice_of(found["non-EEC+0"]).flags == ()
    assert slice_of(found["non-EEC+1"]).flags == ("unusual_size",)


@pytest.mark.parametrize("what", ["nothing", "text", "pictures"])
def test_another_folder_is_refused(tmp_path, what):
    if what == "text":
        (tmp_path / "notes.txt").write_text("no frames")
    elif what == "pictures":
        put(tmp_path, "holiday/beach.png", "holiday/hotel 2.png")
    with pytest.raises(InputError, match=r"not recognised.*non-EEC/0\.png"):
        cases(tmp_path)
    with pytest.raises(InputError, match="not recognised"):
        notes(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        cases(tmp_path / "none")


# --- options


def test_a_table_says_who_is_in_a_frame(tmp_path):
    raw = put(
        pair(pair(tmp_path, "train", FRAME.format(0)), "test", "lesion"), "EEC/non-EEC/5.png", "EEC/non-EEC/6.png"
    )
    (raw / "who.csv").write_text(
        f"file,patient\nlesion.png,Q7\n{FRAME.format(0)},other\nEEC/non-EEC/5.png,q7\nnot there.png,x\n"
    )
    bare, told = cases(raw), cases(raw, patients="who.csv")
    assert bare["test+lesion"].flags == ("patient_unknown",)
    assert (told["test+lesion"].patient, told["test+lesion"].group, told["test+lesion"].flags) == (
        "q7",
        "",
        ("patient_spelling",),
    )
    assert told[f"train+{FRAME.format(0)}"].patient == "other"
    healthy = told["non-EEC+5"]  # goes where its patient is
    assert (healthy.patient, healthy.split, healthy.group, healthy.flags) == ("q7", "test", "", ("synthetic_mask",))
    assert "leak_risk" in told["non-EEC+6"].flags
    assert notes(raw) == ("1 frames of cancer name no patient (--patients): test+lesion",)
    assert notes(raw, patients="who.csv") == ("1 lines of who.csv name no frame: not there.png",)
    assert cases(raw, patients=str(raw / "who.csv")) == told


def test_a_wrong_table_stops_everything(tmp_path):
    raw = pair(tmp_path, "train", FRAME.format(0))
    (raw / "who.csv").write_text("name\n")
    for name in ("who.csv", "none.csv"):
        with pytest.raises(InputError, match=name):
            cases(raw, patients=name)


@pytest.mark.parametrize("where", SPLITS)
def test_all_frames_without_cancer_may_go_to_one_set(phantom, where):
    found = cases(phantom[0], non_eec=where)
    assert {case.split for case in found.values() if case.category == "non-EEC"} == {where}
    assert [case for case in found.values() if case.category == "EEC"] == [
        case for case in cases(phantom[0]).values() if case.category == "EEC"
    ]


def test_frames_without_cancer_may_be_dropped_and_each_is_reported(phantom):
    raw, marker = phantom
    described = source.describe(registry.source("esophageal-cancer"), raw, options(non_eec="drop"))
    healthy = {name for name in [*marker["ids"], *marker["faults"]] if name.startswith("non-EEC")}
    assert set(described.excluded) == healthy
    assert set(cases(raw, non_eec="drop")) == set(cases(raw))
    assert not source.describe(registry.source("esophageal-cancer"), raw, options()).excluded


def test_chance_spreads_them_by_name_alone_and_by_the_shares(tmp_path):
    put(tmp_path, *(f"non-EEC/{number}.png" for number in range(0, 1300, 2)))
    few = tmp_path / "few"
    put(few, "elsewhere/healthy/4.png", "elsewhere/healthy/10.png")
    spread, alone = cases(tmp_path / "."), cases(few)
    counts = Counter(case.split for name, case in spread.items())
    assert 0.65 < counts["train"] / 650 < 0.75
    assert 0.10 < counts["valid"] / 650 < 0.20
    assert {name: case.split for name, case in alone.items()} == {
        name: spread[name].split for name in ("non-EEC+4", "non-EEC+10")
    }
    golden = {"0": "valid", "2": "train", "4": "train", "1298": "train"}
    assert {number: spread[f"non-EEC+{number}"].split for number in golden} == golden


def test_masks_may_end_in_anything(tmp_path):
    raw = put(tmp_path, f"train/{FRAME.format(0)}.png", f"train/{FRAME.format(0)}~outlined.png", content=png(1))
    with pytest.raises(InputError):
        cases(raw)
    (case,) = cases(raw, suffix="~outlined").values()
    assert slice_of(case).mask.any()


# --- what leaks


def test_a_patient_in_two_given_sets_is_told_and_nothing_is_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    for split, stem in (
        ("train", "a000OR"),
        ("train", "b000OR"),
        ("val", "c000OR"),
        ("val", "d000OR"),
        ("test", "a004OR"),
    ):
        pair(raw, split, stem)
    found = cases(raw)
    assert [name for name in found if "patient_in_splits" in found[name].flags] == ["test+a004OR", "train+a000OR"]
    assert {name: case.split for name, case in found.items()} == {name: name.split("+")[0] for name in found}
    told = "1 patients stand in several of the given sets, which split and verify will refuse: a (test and train)"
    assert notes(raw) == (told,)
    assert told in call("build", "esophageal-cancer", "--raw", raw)
    assert "IM008 patient 'a' stands in test (1 pairs), train (1 pairs)" in call("verify", code=5)
    assert "parts what belongs together: patient a (train, test)" in call("split", code=2)
    call("split", "--by", "patient", "--resplit")
    assert "no findings" in call("verify")
    (raw / "who.csv").write_text("file,patient\na004OR.png,e\n")
    call("build", "esophageal-cancer", "--raw", raw, "--patients", "who.csv", "--out", "datasets/told")
    call("split", "told")
    assert "no findings" in call("verify", "told")


def test_a_frame_in_two_given_sets_is_told(tmp_path):
    raw = pair(pair(tmp_path, "train", "a000OR", content=png(1)), "test", "b000OR", content=png(1))
    found = cases(raw)
    assert all("leak_risk" in case.flags for case in found.values())
    assert notes(raw) == ("2 frames lie in several of the given sets: test+b000OR, train+a000OR",)


def test_from_the_phantom_to_a_split_that_is_kept_and_never_drawn_by_image(phantom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw" / "esophageal-cancer"
    write(raw, patients=9, size=32, slices=8, seed=2, faults=False)
    assert "complete" in call("check", "esophageal-cancer")
    assert "8 empty, dropped" in call("build", "esophageal-cancer", "--out", "datasets/cancer")
    call("build", "esophageal-cancer", "--keep-empty", "--out", "datasets/all")
    for name in ("cancer", "all"):
        rows = manifest.read(Path("datasets", name))
        assert set(rows["split"]) == set(SPLITS)
        assert (rows["patient"] == "").any()
        call("split", name)
        kept = manifest.read(Path("datasets", name))
        assert kept["split"].equals(rows["split"]), "a given split was changed"
        assert "no findings" in call("verify", name)
        why = registry.source("esophageal-cancer").by_image
        assert why in call("split", name, "--by", "image", code=2)
        assert why in call("split", name, "--by", "image", "--resplit", code=2)
        call("split", name, "--by", "patient", "--resplit")
        drawn = manifest.read(Path("datasets", name))
        assert (drawn[drawn["patient"] != ""].groupby("patient")["split"].nunique() == 1).all()
        assert "no findings" in call("verify", name)
    empty = manifest.read(Path("datasets/all")).query("category == 'non-EEC'")
    assert len(empty) == 8
    assert set(empty["foreground"]) == {0}
    assert set(empty["flags"]) == {"leak_risk synthetic_mask unusual_size"}


def test_the_test_release_alone_is_a_test_set_and_cannot_be_split_at_random(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(1, 7):
        put(tmp_path / "raw", f"EEC/test/{number}.png", f"EEC/test mask/{number}.png")
    call("build", "esophageal-cancer", "--raw", "raw")
    call("split")
    assert set(manifest.read(Path("datasets/esophageal-cancer"))["split"]) == {"test"}
    said = call("split", "--resplit", code=2)
    assert "No case has a patient" in said
    assert "Keep the split that the source ships" in said
    (tmp_path / "raw" / "who.csv").write_text("file,patient\n" + "".join(f"{n},p{n // 2}\n" for n in range(1, 7)))
    call("build", "esophageal-cancer", "--raw", "raw", "--patients", "who.csv", "--out", "told")
    call("split", "told", "--resplit")
    assert manifest.read(Path("told"))["patient"].nunique() == 4
    assert "no findings" in call("verify", "told")


def test_where_there_is_no_split_to_keep_the_remedy_is_another_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(1, 7):
        put(tmp_path / "raw", f"EEC/img/{number}.png", f"EEC/mask/{number}.png")
    call("build", "esophageal-cancer", "--raw", "raw")
    said = " ".join(call("split", code=2).split())
    assert "imagemask build esophageal-cancer --help" in said
    assert "Keep the split" not in said


@pytest.mark.parametrize("name", ["EEC and non-EEC", "EEC, labelled", "non-EEC.zip.unpacked"])
def test_a_folder_around_all_of_them_says_nothing(tmp_path, name):
    places = ["test/1.png", "test mask/1.png", "test/2.png", "train/image/a000OR.png", "train/mask/a000OR.png"]
    found = cases(put(tmp_path, *(f"{name}/{place}" for place in places)))
    assert {case: (one.category, len(one.images), len(one.masks)) for case, one in found.items()} == {
        "test+1": ("EEC", 1, 1),
        "test+2": ("EEC", 1, 0),
        "train+a000OR": ("EEC", 1, 1),
    }


def test_a_name_that_is_not_text_harms_no_other(tmp_path):
    raw = pair(tmp_path, "train", FRAME.format(0))
    try:
        (raw / "EEC/train/image" / os.fsdecode(b"b\xff004OR.png")).write_bytes(b"another")
    except OSError:
        pytest.skip("this file system takes text only")
    assert sorted(cases(raw)) == [f"train+{FRAME.format(0)}", "train+b=FF004OR"]
    assert notes(raw)[0].endswith("train+b=FF004OR")
