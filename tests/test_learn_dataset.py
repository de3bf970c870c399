"""A dataset as training reads it: sets from the split or a fold, variants for training only, a digest of its pixels."""

import json

import pytest
from datasets import Dataset, patients
from hypothesis import given
from hypothesis import strategies as st

from imagemask import manifest, split
from imagemask.errors import InputError, UsageError
from imagemask.learn import dataset

LABELS = [{"name": "tumour", "source_value": 2, "mask_value": 255}]


def row(case, where="train", **cells):
    return {"case": case, "split": where, **cells}


def write(folder, rows, labels=LABELS, **changes):
    """A dataset folder; ``changes`` replace whole columns."""
    made = Dataset(folder).write(rows, pictures=False)
    document = {"name": "fake", "labels": labels, "source": {"group": "patient"}}
    (folder / "dataset.json").write_text(json.dumps(document))
    if changes:
        manifest.write(folder, made.rows().assign(**changes))
    return folder


def keys(rows):
    return rows["key"].tolist()


SETS = [row("a"), row("b"), row("c", "valid"), row("d", "test")]


def test_sets_are_those_of_the_manifest(tmp_path):
    data = dataset.read(write(tmp_path, SETS))
    assert keys(data.part("train")) == ["a-0000", "b-0000"]
    assert keys(data.part("valid")) == ["c-0000"]
    assert keys(data.part("test")) == ["d-0000"]
    assert (data.name, data.folder, data.fold) == ("fake", tmp_path, None)


def test_rows_are_sorted_by_key_and_counted_from_0(tmp_path):
    write(tmp_path, SETS)
    path = tmp_path / "manifest.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(lines)]) + "\n")
    data = dataset.read(tmp_path)
    assert keys(data.rows) == ["a-0000", "b-0000", "c-0000", "d-0000"]
    assert data.rows.index.tolist() == [0, 1, 2, 3]


def test_variants_are_for_training_only(tmp_path):
    turned = [{**one, "variant": "fliph"} for one in SETS]
    data = dataset.read(write(tmp_path, SETS + turned))
    assert keys(data.part("train")) == ["a-0000", "a-0000~fliph", "b-0000", "b-0000~fliph"]
    assert keys(data.part("valid")) == ["c-0000"]
    assert keys(data.part("test")) == ["d-0000"]
    assert len(data.rows) == 8


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (LABELS, ("tumour",), 1),
        ([{"name": "nucleus", "mask_value": 1}, {"name": "cytoplasm", "mask_value": 2}], ("nucleus", "cytoplasm"), 3),
    ],
)
def test_one_class_is_told_by_one_channel_several_by_one_more(tmp_path, labels, names, classes):
    data = dataset.read(write(tmp_path, SETS, labels))
    assert (data.labels, data.classes) == (names, classes)


def test_size_is_known_where_all_pictures_have_it(tmp_path):
    assert dataset.read(write(tmp_path, SETS)).size == (2, 3)
    assert dataset.read(write(tmp_path, SETS, width=[3, 3, 4, 3])).size is None
    assert dataset.read(write(tmp_path, SETS, height=[2, 3, 2, 2], width=[3, 2, 3, 3])).size is None


# --- folds ---


def in_folds(folder, count, folds=5):
    write(folder, patients(count))
    split.split(folder, split.Request(by="patient", folds=folds, layout="none"))
    return folder


@given(st.integers(3, 6), st.data())
def test_a_fold_is_tested_the_next_validated_the_others_trained_on(tmp_path_factory, folds, draw):
    folder = in_folds(tmp_path_factory.mktemp("set"), 3 * folds, folds)
    fold = draw.draw(st.integers(0, folds - 1))
    data = dataset.read(folder, fold=fold)
    assert data.fold == fold
    for name, rows in data.rows.groupby("split"):
        found = {int(one) for one in rows["fold"]}
        wanted = {"test": {fold}, "valid": {(fold + 1) % folds}}
        assert found == wanted.get(name, set(range(folds)) - {fold, (fold + 1) % folds})
    parts = [set(data.part(name)["patient"]) for name in ("train", "valid", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 3 * folds


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_gives_the_sets_that_split_gives(tmp_path, fold):
    """`train --fold 2` and `split --fold 2` then `train` are the same."""
    folder = in_folds(tmp_path, 10)
    asked = dataset.read(folder, fold=fold)
    split.split(folder, split.Request(folds=5, fold=fold))
    assert dataset.read(folder).rows["split"].tolist() == asked.rows["split"].tolist()


def test_every_patient_is_tested_in_one_fold(tmp_path):
    folder = in_folds(tmp_path, 11)
    tested = [one for fold in range(5) for one in sorted(set(dataset.read(folder, fold=fold).part("test")["patient"]))]
    assert len(tested) == len(set(tested)) == 11


@pytest.mark.parametrize("fold", [5, 99])
def test_a_fold_that_there_is_not_is_refused(tmp_path, fold):
    with pytest.raises(UsageError, match=f"has no fold {fold}") as caught:
        dataset.read(in_folds(tmp_path, 10), fold=fold)
    assert "0 to 4" in caught.value.remedy


def test_a_fold_of_a_dataset_without_folds_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not split into folds") as caught:
        dataset.read(write(tmp_path, SETS), fold=0)
    assert "--folds" in caught.value.remedy


def test_a_patient_without_a_fold_is_not_trained_on_by_chance(tmp_path):
    folder = in_folds(tmp_path, 10)
    rows = manifest.read(folder)
    new = rows["patient"] == "p04"
    manifest.write(folder, rows.assign(fold=rows["fold"].mask(new, ""), split=rows["split"].mask(new, "")))
    for fold in (None, 0):
        with pytest.raises(UsageError, match=r"of 1 patients have no split \(p04"):
            dataset.read(folder, fold=fold)


# --- another split than its own ---


def test_an_assignment_takes_the_place_of_the_datasets_own(tmp_path):
    write(tmp_path, SETS)
    before = dataset.read(tmp_path)
    moved = split.Assignment("patient", {"a": "test", "b": "valid", "c": "train", "d": "train"})
    after = dataset.read(tmp_path, assignment=moved)
    assert after.rows["split"].tolist() == ["test", "valid", "train", "train"]
    assert after.digest == before.digest
    assert dataset.read(tmp_path).rows["split"].tolist() == before.rows["split"].tolist()


def test_the_folds_are_the_assignments_too(tmp_path):
    write(tmp_path, SETS)
    folds = {"a": "2", "b": "1", "c": "0", "d": "2"}
    sets = dict.fromkeys("abcd", "train")
    data = dataset.read(tmp_path, fold=2, assignment=split.Assignment("patient", sets, folds))
    assert data.rows["split"].tolist() == ["test", "train", "valid", "test"]


def test_who_is_not_in_the_assignment_is_named(tmp_path):
    write(tmp_path, SETS)
    with pytest.raises(UsageError, match=r"1 pairs of 1 patients have no split \(d"):
        dataset.read(tmp_path, assignment=split.Assignment("patient", {"a": "train", "b": "valid", "c": "test"}))


# --- what cannot be trained on ---


def test_a_dataset_that_was_not_split_is_refused(tmp_path):
    with pytest.raises(UsageError, match="was not split") as caught:
        dataset.read(write(tmp_path, [row(case, "") for case in "abc"]))
    assert "imagemask split" in caught.value.remedy


def test_cases_stand_for_patients_that_are_not_known(tmp_path):
    rows = [*SETS, row("x", "", patient=""), row("y", "", patient=""), row("z", "", slice=1, patient="")]
    with pytest.raises(UsageError, match=r"3 pairs of 3 patients have no split \(x, y, z"):
        dataset.read(write(tmp_path, rows))


@pytest.mark.parametrize("empty", ["train", "valid", "test"])
def test_an_empty_set_is_refused(tmp_path, empty):
    with pytest.raises(UsageError, match=f": {empty} holds no pair"):
        dataset.read(write(tmp_path, [one for one in SETS if one["split"] != empty]))


def test_a_set_of_variants_alone_is_empty(tmp_path):
    with pytest.raises(UsageError, match="test holds no pair"):
        dataset.read(write(tmp_path, [*SETS[:3], {**SETS[3], "variant": "fliph"}]))


def test_a_dataset_without_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pair"):
        dataset.read(write(tmp_path, []))


@pytest.mark.parametrize("name", ["manifest.csv", "dataset.json"])
def test_a_dataset_without_its_tables_is_refused(tmp_path, name):
    write(tmp_path, SETS)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name):
        dataset.read(tmp_path)


# --- the digest ---


@pytest.mark.parametrize("column", ["split", "fold", "patient", "flags", "source"])
def test_the_digest_does_not_ask_who_is_where(tmp_path, column):
    before = dataset.read(write(tmp_path, SETS)).digest
    # Of the sets, one another that leaves none of them empty.
    values = ["valid", "train", "test", "train"] if column == "split" else ["1", "2", "3", "4"]
    assert dataset.read(write(tmp_path, SETS, **{column: values})).digest == before


def test_the_digest_is_of_pixels_keys_and_labels(tmp_path):
    one = dataset.read(write(tmp_path, SETS))
    digests = one.rows["digest"].tolist()
    changed = [
        write(tmp_path / "pixels", SETS, digest=["0" * 64, *digests[1:]]),
        write(tmp_path / "swapped", SETS, digest=[digests[1], digests[0], *digests[2:]]),
        write(tmp_path / "fewer", SETS[1:]),
        write(tmp_path / "key", [{**SETS[0], "slice": 1}, *SETS[1:]], digest=digests),
        write(tmp_path / "label", SETS, [{**LABELS[0], "name": "cyst"}]),
        write(tmp_path / "value", SETS, [{**LABELS[0], "mask_value": 1}]),
    ]
    found = [dataset.read(folder).digest for folder in changed]
    assert len({one.digest, *found}) == 1 + len(changed)
    assert all(len(digest) == 64 for digest in found)


def test_the_digest_is_the_same_everywhere(tmp_path):
    """Written down: a run is bound to it."""
    assert dataset.read(write(tmp_path, SETS)).digest == GOLDEN


GOLDEN = "2c5c029007a574a5205b88b22e0455318546d23744afb74f35d5a3a1cebe7331"
