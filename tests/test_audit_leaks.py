"""Leaks: no finding where patients are whole, and just the one that was parted where one is; by name and number."""

import json
import re

import pytest
import trees
from datasets import Dataset, patients
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import manifest, split
from imagemask.audit import leaks
from imagemask.audit.tree import open_tree

SPLITS = ("train", "valid", "test")
LEAKS = {"AU101", "AU102", "AU103", "AU104"}
HOMES = st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(1, 4)), min_size=1, max_size=8)


def whole(homes):
    """Rows of patients p0, p1, ... each in one split, with so many slices; the first slice of each with a copy."""
    return [
        {"case": f"p{number}", "slice": index, "split": home, "variant": variant}
        for number, (home, slices) in enumerate(homes)
        for index in range(slices)
        for variant in (("", "fliph") if index == 0 else ("",))
    ]


def found(folder, patient=None):
    return list(leaks.findings(open_tree(folder, patient)[0]))


def of(folder, code):
    return [one.message for one in found(folder) if one.code == code]


@pytest.fixture
def write(tmp_path):
    return lambda rows, **more: Dataset(tmp_path).write(rows, pictures=False, **more)


# Patients


@settings(max_examples=30)
@given(HOMES)
def test_whole_patients_do_not_leak(tmp_path_factory, homes):
    folder = tmp_path_factory.mktemp("dataset")
    Dataset(folder).write(whole(homes), pictures=False)
    assert not LEAKS.intersection(one.code for one in found(folder))


@settings(max_examples=40)
@given(HOMES, st.data())
def test_a_row_in_another_split_is_found_by_its_patient_s_name_and_numbers(tmp_path_factory, homes, data):
    folder = tmp_path_factory.mktemp("dataset")
    rows = whole(homes)
    plain = [place for place, row in enumerate(rows) if not row["variant"]]
    place = data.draw(st.sampled_from([at for at in plain if homes[int(rows[at]["case"][1:])][1] > 1] or plain))
    who, was = rows[place]["case"], rows[place]["split"]
    now = data.draw(st.sampled_from([name for name in SPLITS if name != was]))
    rows[place] = {**rows[place], "split": now}
    Dataset(folder).write(rows, pictures=False)
    frame = leaks.used(open_tree(folder)[0])
    counts = frame[frame["patient"] == who]["split"].value_counts()
    if len(counts) < 2:  # all that is left in its old split is a copy that nobody reads
        return
    (one,) = [one for one in found(folder) if one.code == "AU101"]
    assert one.message.startswith(f"patient {who} is in ")
    said = {name: int(number) for name, number in re.findall(r"(\w+) \((\d+) images?\)", one.message)}
    assert said == counts.to_dict()
    assert one.severity == "error"
    assert list(one.files) == frame[frame["patient"] == who]["image"].tolist()
    lines = (folder / "manifest.csv").read_text().splitlines()
    assert [f"images/{lines[line - 1].split(',')[0]}.png" for line in one.lines] == list(one.files)


def test_the_words_for_three_splits_and_for_one_image(write, tmp_path):
    write([{"case": "P1", "slice": n, "split": SPLITS[min(n, 2)]} for n in range(4)])
    assert of(tmp_path, "AU101") == ["patient P1 is in train (1 image), valid (1 image) and test (2 images)"]


def test_a_verdict_says_how_much_of_the_test_set_is_known(write, tmp_path):
    rows = [{"case": "a", "slice": n, "split": home} for n, home in enumerate(("train", "test", "test"))]
    write([*rows, {"case": "b", "split": "test"}, {"case": "c", "split": "train"}])
    (said,) = leaks.verdicts(open_tree(tmp_path)[0])
    assert said == (
        "1 of 3 patients is in several splits: 2 of 3 test images (67%) show a patient of the training set."
    )
    write([{"case": "a", "split": "train"}, {"case": "b", "split": "test"}])
    (said,) = leaks.verdicts(open_tree(tmp_path)[0])
    assert said == "No patient is in two splits (2 patients, 2 pairs)."
    write(patients(2))
    opened = open_tree(tmp_path)[0]
    assert list(leaks.verdicts(opened)) == []
    assert [text.split(":")[0] for text in leaks.unjudged(opened)] == ["Leaks, and whether the splits differ"]


def test_a_verdict_names_the_set_that_the_leak_is_in(write, tmp_path):
    """Not the test set, where that is not the one; and nothing where no trained patient is held out."""
    rows = [{"case": "a", "slice": n, "split": home} for n, home in enumerate(("train", "valid"))]
    write([*rows, {"case": "b", "split": "test"}])
    (said,) = leaks.verdicts(open_tree(tmp_path)[0])
    assert said.endswith("in several splits: 1 of 1 valid images (100%) show a patient of the training set.")
    rows = [{"case": "a", "slice": n, "split": home} for n, home in enumerate(("test", "valid"))]
    write([*rows, {"case": "b", "split": "train"}])
    (said,) = leaks.verdicts(open_tree(tmp_path)[0])
    assert said == "1 of 2 patients is in several splits."


# Groups, cases, copies


def test_a_group_and_a_case_are_found_where_no_patient_is_known(write, tmp_path):
    rows = [{"case": f"c{n}", "patient": "", "group": "g", "split": SPLITS[n]} for n in range(2)]
    rows += [{"case": "d", "slice": n, "patient": "", "group": "", "split": SPLITS[n]} for n in range(2)]
    write(rows)
    assert [(one.code, one.message) for one in found(tmp_path)] == [
        ("AU102", "group g is in train (1 image) and valid (1 image)"),
        ("AU103", "case d is in train (1 image) and valid (1 image)"),
    ]


def test_what_is_parted_as_a_patient_is_not_said_again_as_a_group_or_case(write, tmp_path):
    write([{"case": "a", "slice": n, "split": SPLITS[n]} for n in range(2)])
    assert [one.code for one in found(tmp_path)] == ["AU101"]


def test_a_copy_of_a_test_image_in_the_training_set(write, tmp_path):
    rows = [{"case": "a", "slice": 7, "split": "test"}, {"case": "a", "slice": 7, "variant": "fliph", "split": "train"}]
    write(rows)
    assert of(tmp_path, "AU104") == ["a-0007 and what was made of it are in train (1 image) and test (1 image)"]


def test_published_names_of_copies_are_known_in_a_foreign_tree(tmp_path):
    trees.write(tmp_path, "train/rotated_90_10036_153", "train/10036_153", "test/hflipped_10036_153", "test/10040_1")
    (one, copies) = found(tmp_path)
    assert (one.code, copies.code) == ("AU104", "AU106")
    assert one.message == "10036_153 and what was made of it are in train (2 images) and test (1 image)"
    assert len(one.files) == 3
    assert one.lines == ()
    assert copies.files == ("test/images/hflipped_10036_153.png",)


def test_a_turn_by_nothing_ties_and_is_no_alteration(tmp_path):
    trees.write(tmp_path, "train/a", "test/rotated_0_a")
    assert [one.code for one in found(tmp_path)] == ["AU104"]


def test_a_name_that_is_there_twice_by_accident_is_no_leak(tmp_path):
    trees.write(tmp_path, *(f"train/a{n}" for n in range(30)), *(f"test/b{n}" for n in range(30)), "test/a0")
    assert found(tmp_path) == []


# The source's own split, and copies in the test set


def fragments(dataset, **shipped):
    for case, home in shipped.items():
        path = dataset.folder / "fragments" / f"{case}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"rows": [{"split": home}]}))


def test_a_split_that_contradicts_the_source_s_own_is_named_by_both(write, tmp_path):
    dataset = write([{"case": name, "split": home} for name, home in zip("abcd", (*SPLITS, "test"), strict=True)])
    fragments(dataset, a="train", b="valid", c="test", d="")
    assert found(tmp_path) == []
    fragments(dataset, a="test", b="train")
    assert of(tmp_path, "AU105") == [
        "1 pair of the source's test set in train",
        "1 pair of the source's train set in valid",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": []}', '{"rows": [{}]}', '{"rows": [{"split": "odd"}]}'])
def test_a_fragment_that_says_nothing_is_no_contradiction(write, tmp_path, text):
    dataset = write([{"case": "a", "split": "train"}])
    fragments(dataset, a="test")
    (tmp_path / "fragments" / "a.json").write_text(text)
    assert found(tmp_path) == []


def test_a_source_s_split_that_was_drawn_anew_shows_and_can_be_had_again(write, tmp_path):
    shipped = {name: SPLITS[place % 3] for place, name in enumerate("abcdefghi")}
    dataset = write([{"case": name, "split": home} for name, home in shipped.items()])
    fragments(dataset, **shipped)
    split.split(tmp_path, split.Request(layout="none"))
    assert found(tmp_path) == []
    split.split(tmp_path, split.Request(layout="none", resplit=True, ratios=(1, 1, 7)))
    assert of(tmp_path, "AU105")
    (tmp_path / "split.csv").unlink()
    dataset.write([{"case": name, "split": home} for name, home in shipped.items()], pictures=False)  # what merge does
    split.split(tmp_path, split.Request(layout="none"))
    assert found(tmp_path) == []


@pytest.mark.parametrize("variants", ["train", "everywhere"])
def test_copies_in_the_test_set_are_found_where_they_are_laid_out(tmp_path, variants):
    rows = [{"case": name, "variant": variant} for name in "abcdefghi" for variant in ("", "fliph")]
    dataset = Dataset(tmp_path).write(rows)
    split.split(tmp_path, split.Request(variants=variants))
    counts = dataset.rows()["split"].value_counts() // 2
    wanted = [f"{counts[name]} of {2 * counts[name]} images in {name} are augmented copies" for name in SPLITS[1:]]
    assert of(tmp_path, "AU106") == (wanted if variants == "everywhere" else [])


# What could not be judged


def test_what_nobody_knows_is_said_and_what_would_help(tmp_path):
    trees.write(
        tmp_path, *(f"train/PANCREAS_{n:04d}-{1100 + k}" for n in range(4) for k in range(3)), "test/PANCREAS_0001-1"
    )
    (said,) = leaks.unjudged(open_tree(tmp_path)[0])
    assert "Give --patient REGEX" in said
    expression = re.search("perhaps --patient '(.*)'", said)[1]
    (one,) = found(tmp_path, expression)
    assert one.message == "patient PANCREAS_0001 is in train (3 images) and test (1 image)"
    assert list(leaks.unjudged(open_tree(tmp_path, expression)[0])) == []


def test_no_expression_is_proposed_where_each_name_is_its_own(tmp_path):
    trees.write(tmp_path, *(f"train/scan{n}_x" for n in range(9)), "test/y")
    (said,) = leaks.unjudged(open_tree(tmp_path)[0])
    assert "perhaps" not in said


def test_names_that_repeat_are_said_to_say_nothing(tmp_path):
    trees.write(tmp_path, "train/1", "train/2", "test/1", "test/2")
    assert any("repeat each other's names" in said for said in leaks.unjudged(open_tree(tmp_path)[0]))


def test_a_dataset_with_some_patients_or_none_says_so(write, tmp_path):
    write([{"case": "a", "split": "train"}, {"case": "b", "patient": "", "group": "", "split": "test"}])
    assert list(leaks.unjudged(open_tree(tmp_path)[0])) == ["Leaks through 1 pair of 2: nobody knows whose they are."]
    write(
        [
            {"case": "b", "patient": "", "group": "g", "split": "test"},
            {"case": "c", "patient": "", "group": "h", "split": "train"},
        ]
    )
    assert "the manifest knows none" in next(leaks.unjudged(open_tree(tmp_path)[0]))
    assert next(leaks.verdicts(open_tree(tmp_path)[0])) == "No group is in two splits (2 groups, 2 pairs)."
    assert manifest.read(tmp_path)["patient"].eq("").all()
