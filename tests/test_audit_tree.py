"""What is audited: a dataset of ours by its manifest, a foreign folder by its names, and copies that names betray."""

import os

import pytest
import trees
from datasets import Dataset, patients
from fifos import fifo
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import manifest
from imagemask.audit import siblings
from imagemask.audit.tree import CODES, COLUMNS, open_tree
from imagemask.errors import InputError, UsageError

PAIRS = ("train/P01_1", "train/P01_2", "train/P02_1", "valid/P03_1", "test/P04_1")


def codes(findings):
    return [one.code for one in findings]


def rows(tree, *columns):
    return list(tree.frame[list(columns)].itertuples(index=False, name=None))


# Ours


def test_a_dataset_is_read_by_its_manifest(tmp_path):
    dataset = Dataset(tmp_path).write(patients(3, split="train"), pictures=False)
    tree, findings = open_tree(tmp_path)
    assert (tree.manifest, findings, tree.values) == (True, [], None)
    assert tuple(tree.frame.columns) == COLUMNS
    ours = dataset.rows()
    for column in ("key", "patient", "group", "case", "slice", "variant", "split", "category"):
        assert tree.frame[column].tolist() == ours[column].tolist()
    assert tree.frame["image"].tolist() == [f"images/{key}.png" for key in ours["key"]]
    assert tree.frame["mask"].tolist() == [f"masks/{key}.png" for key in ours["key"]]


def test_a_row_knows_its_line_whatever_the_order_of_the_file_and_the_breaks_in_its_cells(tmp_path):
    Dataset(tmp_path).write(patients(3), pictures=False)
    path = tmp_path / "manifest.csv"
    header, *lines = path.read_text().splitlines()
    lines = [line.replace(",fake,", ',"fa\nke",', 1) if place % 3 == 0 else line for place, line in enumerate(lines)]
    path.write_text("\n".join([header, *reversed(lines)]) + "\n")
    written = path.read_text().splitlines()
    tree, _ = open_tree(tmp_path)
    assert tree.frame["key"].is_monotonic_increasing
    for key, line in rows(tree, "key", "line"):
        assert written[line - 1].startswith(f"{key},")


def test_the_values_of_masks_are_those_that_dataset_json_declares(tmp_path):
    Dataset(tmp_path).write(patients(1), pictures=False)
    (tmp_path / "dataset.json").write_text('{"labels": [{"mask_value": 1}, {"mask_value": 2}]}')
    assert open_tree(tmp_path)[0].values == (1, 2)
    (tmp_path / "dataset.json").unlink()
    assert open_tree(tmp_path)[0].values is None


def test_a_manifest_knows_its_patients_and_its_splits(tmp_path):
    dataset = Dataset(tmp_path).write(patients(1), pictures=False)
    with pytest.raises(UsageError, match="who is who"):
        open_tree(tmp_path, "(p)")
    manifest.write(tmp_path, dataset.rows().assign(split="tset"))
    with pytest.raises(InputError, match="tset"):
        open_tree(tmp_path)
    dataset.write([], pictures=False)
    with pytest.raises(InputError, match="no pair"):
        open_tree(tmp_path)


# Foreign


@pytest.mark.parametrize(
    ("folders", "image", "mask"),
    [
        (("train", "valid", "test"), "images", "masks"),
        (("Train", "VAL", "Testing"), "image", "mask"),
        (("training", "validation", "test"), "imgs", "labels"),
        (("train", "valid", "test"), "images", "annotations"),
    ],
)
@pytest.mark.parametrize("nested", ["", "Lung-Tumor"])
def test_a_foreign_tree_is_found_however_its_folders_are_called(tmp_path, folders, image, mask, nested):
    called = dict(zip(("train", "valid", "test"), folders, strict=True))
    names = [f"{called[name.split('/')[0]]}/{name.split('/')[1]}" for name in PAIRS]
    trees.write(tmp_path / nested if nested else tmp_path, *names, image=image, mask=mask)
    tree, findings = open_tree(tmp_path, r"(P\d+)_")
    assert not findings
    assert (tree.manifest, tree.values, len(tree.frame)) == (False, None, len(PAIRS))
    found = {(split, path.rsplit("/", 1)[-1], who) for split, path, who in rows(tree, "split", "image", "patient")}
    assert found == {(s, f"{name}.png", name[:3]) for s, name in (pair.split("/") for pair in PAIRS)}
    for picture, outline in rows(tree, "image", "mask"):
        assert (tmp_path / picture).is_file()
        assert (tmp_path / outline).is_file()
        assert f"/{image}/" in picture
        assert f"/{mask}/" in outline


def test_roles_may_differ_from_split_to_split_and_lie_above_the_splits(tmp_path):
    trees.write(tmp_path, "train/a", image="images", mask="masks")
    trees.write(tmp_path, "test/b", image="imgs", mask="labels")
    assert rows(open_tree(tmp_path)[0], "split", "key") == [("test", "test/b"), ("train", "train/a")]
    other = tmp_path / "other"
    for split, name in (("train", "a"), ("val", "b")):
        for role, pixels in (("images", 0), ("masks", 1)):
            (other / role / split).mkdir(parents=True)
            data = trees.images.encode_png(trees.drawn(name)[pixels], level=1)
            (other / role / split / f"{name}.png").write_bytes(data)
    assert rows(open_tree(other)[0], "split", "image") == [
        ("train", "images/train/a.png"),
        ("valid", "images/val/b.png"),
    ]


def test_a_folder_without_splits_has_none_and_a_category_is_no_split(tmp_path):
    trees.write(tmp_path, "Benign/a", "Malignant/b")
    assert rows(open_tree(tmp_path)[0], "split", "category") == [("", "Benign"), ("", "Malignant")]


def test_a_folder_that_names_a_split_in_a_word_is_no_category(tmp_path):
    for split, name in (("train", "hflipped_a"), ("test", "a"), ("test", "b")):
        trees.write(tmp_path / f"EEC_{split}_dataset", f"Benign/{name}")
    assert rows(open_tree(tmp_path)[0], "split", "category", "case") == [
        ("test", "EEC_dataset/Benign", "EEC_dataset/Benign/a"),
        ("test", "EEC_dataset/Benign", "EEC_dataset/Benign/b"),
        ("train", "EEC_dataset/Benign", "EEC_dataset/Benign/a"),
    ]


def test_a_word_is_no_split_where_a_folder_is_called_after_one(tmp_path):
    for role in ("imagesTr", "labelsTr"):
        for name in ("stress", "stress test"):
            trees.write(tmp_path / role, "a", image=name, mask=name)
    assert rows(open_tree(tmp_path)[0], "split", "category") == [("train", "stress test"), ("train", "stress")]


NAMES = st.lists(st.text("abcP019_", min_size=1, max_size=6), min_size=1, max_size=6, unique=True)


@settings(max_examples=25)
@given(NAMES, NAMES, st.data())
def test_pairs_are_made_by_stem_and_what_lacks_half_is_named(tmp_path_factory, train, test, data):
    folder = trees.write(tmp_path_factory.mktemp("tree"), "train/whole", *(f"train/{name}" for name in train))
    trees.write(folder, *(f"test/{name}" for name in test))
    lost = data.draw(st.sets(st.sampled_from([f"train/{name}" for name in train])))
    for name in lost:
        role = data.draw(st.sampled_from(["images", "masks"]))
        (folder / name.replace("/", f"/{role}/")).with_suffix(".png").unlink()
    tree, findings = open_tree(folder)
    whole = {f"train/{name}" for name in train} - lost | {f"test/{name}" for name in test} | {"train/whole"}
    assert {key for key, image, mask in rows(tree, "key", "image", "mask") if image and mask} == whole
    half = {one.files[0] for one in findings if one.code in ("AU002", "AU003")}
    assert {f"train/{file.split('/')[-1].removesuffix('.png')}" for file in half} == lost
    for key, image, mask in rows(tree, "key", "image", "mask"):
        stems = {path.split("/")[-1].removesuffix(".png") for path in (image, mask) if path}
        assert stems == {key.split("/")[-1]}


def test_what_is_odd_about_a_tree_is_said_with_its_files(tmp_path):
    trees.write(tmp_path, *PAIRS)
    for name in ("train/images/P09_1.png", "train/masks/P08_1.png", "train/images/P01_1.jpg", "overview.png"):
        (tmp_path / name).write_bytes((tmp_path / "train/images/P01_1.png").read_bytes())
    tree, findings = open_tree(tmp_path, r"(P0[1-4])_")
    assert {one.code: one.files for one in findings} == {
        "AU002": ("train/images/P09_1.png",),
        "AU003": ("train/masks/P08_1.png",),
        "AU004": ("train/images/P01_1.jpg", "train/images/P01_1.png"),
        "AU005": ("train/masks/P08_1.png", "train/images/P09_1.png"),
        "AU006": ("overview.png",),
    }
    assert all(one.severity == CODES[one.code].severity and not one.lines for one in findings)
    assert len(tree.frame) == len(PAIRS) + 2


def test_a_name_that_is_not_text_is_a_finding_and_not_a_crash(tmp_path):
    trees.write(tmp_path, *PAIRS)
    for role in ("images", "masks"):
        try:
            os.link(tmp_path / f"train/{role}/P01_1.png", tmp_path / f"train/{role}/P01_\udcff.png")
        except OSError:
            pytest.skip("this file system takes no such name")
    tree, findings = open_tree(tmp_path)
    assert codes(findings) == ["AU001", "AU001"]
    assert r"\xff" in findings[0].message
    assert len(tree.frame) == len(PAIRS)


def test_spellings_of_a_patient_are_one(tmp_path):
    trees.write(tmp_path, "train/jhx_1", "test/JHX_2", "test/abc_1")
    assert open_tree(tmp_path, "^([a-zA-Z]+)_")[0].frame["patient"].nunique() == 2


def test_an_expression_may_look_at_the_whole_path(tmp_path):
    trees.write(tmp_path, "train/P01/1", "test/P02/1")
    assert {*open_tree(tmp_path, r"/(P\d+)/")[0].frame["patient"]} == {"P01", "P02"}


@pytest.mark.parametrize(("patient", "why"), [("(", "not a regular"), ("P.", "no group"), ("(Q)", "finds nothing")])
def test_an_expression_that_cannot_serve_is_refused(tmp_path, patient, why):
    trees.write(tmp_path, *PAIRS)
    with pytest.raises(UsageError, match=why) as caught:
        open_tree(tmp_path, patient)
    assert caught.value.remedy or "regular" in why


def test_a_folder_without_one_pair_is_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        open_tree(tmp_path / "nowhere")
    trees.write(tmp_path, "train/a")
    (tmp_path / "train/masks/a.png").rename(tmp_path / "train/masks/b.png")
    with pytest.raises(InputError, match="not one image with a mask among 2 pictures") as caught:
        open_tree(tmp_path)
    assert "train/images" in caught.value.remedy


def test_pipes_are_counted_and_not_opened(tmp_path):
    trees.write(tmp_path, "train/a", "train/b")
    with fifo(tmp_path / "train" / "images" / "c.png"):
        _, findings = open_tree(tmp_path)
    assert [(one.code, one.message) for one in findings] == [
        ("AU006", "1 special file not looked at: train/images/c.png")
    ]


def test_links_that_lead_out_are_counted_and_not_followed(tmp_path):
    home = trees.write(tmp_path / "home", "train/a", "train/b")
    elsewhere = trees.write(tmp_path / "elsewhere", "train/c")
    (home / "more").symlink_to(elsewhere)
    _, findings = open_tree(home)
    assert [(one.code, one.files) for one in findings] == [("AU006", ("more",))]
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "train").symlink_to(home / "train")
    with pytest.raises(InputError, match="1 links that lead out"):
        open_tree(linked)


# Names that say what a file was made from

STEMS = st.from_regex(r"\A(P[0-9]{2}|case|10036|PANCREAS_0001)[-_][0-9]{1,4}\Z")
ALTERED = (
    "hflipped_{}",
    "vflipped_{}",
    "mirrored_{}",
    "flipped_{}",
    "flipped--1-{}",
    "rotated_5_{}",
    "rotated-90-{}",
    "distorted_0.01_rsigma0.5_sigma40_{}",
    "deformed_alpha_1300_sigmoid_8.0_{}",
    "shrinked_0.8_{}",
    "sheared_0.1_{}",
    "barrdistorted_1_{}",
    "brightened_1.2_10_{}",
    "{}~fliph+rot5",
)


@given(STEMS, st.lists(st.sampled_from(ALTERED), max_size=3))
def test_what_was_done_to_a_picture_is_taken_off_its_name(stem, done):
    name = stem
    for one in sorted(done, key=lambda text: text.startswith("{}")):  # ours is at the end, and there once
        name = one.format(name) if "~" not in name else name
    origin = siblings.origin_of(name)
    assert origin.stem == stem
    assert bool(origin.variant) == bool(name != stem)


@pytest.mark.parametrize(
    ("name", "stem", "variant"),
    [
        ("PANCREAS_0001-cropped-0-1110", "PANCREAS_0001-1110", "cropped-0"),
        ("PANCREAS_0001-mirrored-1110", "PANCREAS_0001-1110", "mirrored"),
        ("rotated-0-_Metaplastic__1001_190", "_Metaplastic__1001_190", ""),
        ("rotated_360_7", "7", ""),
        ("flipped", "flipped", ""),
        ("rotated_left_7", "rotated_left_7", ""),
        ("mirror_box_7", "mirror_box_7", ""),
    ],
)
def test_names_as_they_are_published(name, stem, variant):
    assert siblings.origin_of(name) == (stem, variant)


def test_a_name_without_company_is_a_name(tmp_path):
    trees.write(tmp_path, "train/flipped_coil_1", "train/rotated_90_a", "test/a")
    found = rows(open_tree(tmp_path)[0], "key", "case", "variant")
    assert found == [
        ("test/a", "a", ""),
        ("train/flipped_coil_1", "flipped_coil_1", ""),
        ("train/rotated_90_a", "a", "rotated_90"),
    ]


def test_where_splits_repeat_each_other_s_names_nothing_is_tied_across_them(tmp_path):
    trees.write(
        tmp_path,
        *(f"{split}/{turn}{n}" for split in ("train", "test") for n in range(3) for turn in ("", "rotated_90_")),
    )
    found = rows(open_tree(tmp_path)[0], "split", "case")
    assert all(case.startswith(f"{split}/") for split, case in found)
    assert len({*found}) == 6


def test_copies_are_of_one_category(tmp_path):
    trees.write(tmp_path, "train/Benign/1", "test/Malignant/hflipped_1", "test/Malignant/1")
    cases = open_tree(tmp_path)[0].frame["case"].tolist()
    assert cases == ["Malignant/1", "Malignant/1", "Benign/1"]
