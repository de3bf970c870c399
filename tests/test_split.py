"""Splits of whole datasets: nobody is parted, nobody wanders, and the second run changes nothing."""

import json
from dataclasses import asdict

import pytest
from datasets import Dataset, patients
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import split
from imagemask.errors import UsageError
from imagemask.split import Request
from imagemask.types import SPLITS

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
FLAT = Request(layout="none")
LEVELS = ("patient", "group", "case")


def sets_of(dataset, column="patient"):
    """Unit: its set; every unit must be in one."""
    found = dataset.column(column)
    assert all(len(sets) == 1 and sets <= {*SPLITS} for sets in found.values()), found
    return {unit: sets.pop() for unit, sets in found.items()}


@st.composite
def tangles(draw):
    """Cases of patients in groups that overlap in any way."""
    people = draw(st.lists(NAMES, min_size=3, max_size=9, unique=True))
    groups = draw(st.lists(NAMES, min_size=1, max_size=4))
    found = []
    for number in range(draw(st.integers(len(people), 12))):
        person = people[number % len(people)]
        group = draw(st.sampled_from([person, person, *groups]))
        cells = {"case": f"c{number}", "patient": person, "group": group}
        found += [cells | {"slice": index, "foreground": index} for index in range(draw(st.integers(1, 3)))]
    return found


REQUESTS = st.builds(
    Request,
    by=st.sampled_from([None, "patient", "group"]),
    ratios=st.sampled_from([None, (60, 20, 20), (1, 1, 0)]),
    seed=st.none() | st.integers(0, 99),
    layout=st.just("none"),
) | st.builds(Request, folds=st.just(3), fold=st.none() | st.integers(0, 2), layout=st.just("none"))


@settings(max_examples=40)
@given(tangles(), REQUESTS)
def test_nobody_is_parted_and_the_second_run_changes_nothing(tmp_path_factory, rows, asked):
    dataset = Dataset(tmp_path_factory.mktemp("d")).write(rows, pictures=False)
    try:
        report = split.split(dataset.folder, asked)
    except UsageError as error:  # all hang together in fewer bundles than there are sets
        if "share nothing" not in str(error):
            raise
        return
    for column in LEVELS:
        sets_of(dataset, column)
    assert {part.name for part in report.parts if part.units} == {part.name for part in report.parts if part.ratio}
    before = dataset.tree()
    again = split.split(dataset.folder, asked)
    assert dataset.tree() == before
    assert (again.parts, again.kept, again.drawn) == (report.parts, report.drawn, 0)


@settings(max_examples=20)
@given(st.integers(3, 12), st.integers(1, 12), st.booleans())
def test_who_is_in_a_set_stays_there_when_others_come(tmp_path_factory, count, more, folds):
    asked = Request(folds=3 if folds else None, layout="none")
    dataset = Dataset(tmp_path_factory.mktemp("d")).write(patients(count), pictures=False)
    split.split(dataset.folder, asked)
    before, fold_before = sets_of(dataset), dataset.column("patient", "fold")
    dataset.write(patients(count + more), pictures=False)
    assert sum(sets == {""} for sets in dataset.column("patient").values()) == more
    report = split.split(dataset.folder, asked)
    assert (report.kept, report.drawn) == (count, more)
    assert f"kept {count} patients where they were, and placed {more} new ones" in report.notes
    assert before.items() <= sets_of(dataset).items()
    assert fold_before.items() <= dataset.column("patient", "fold").items()


@settings(max_examples=12)
@given(st.integers(3, 6), st.integers(6, 15))
def test_each_patient_is_tested_once_over_the_folds_and_the_folds_stay(tmp_path_factory, folds, count):
    dataset = Dataset(tmp_path_factory.mktemp("d")).write(patients(count), pictures=False)
    tested, drawn = [], []
    for fold in range(folds):
        report = split.split(dataset.folder, Request(folds=folds, fold=fold, layout="none"))
        drawn.append(dataset.column("patient", "fold"))
        tested += [unit for unit, where in sets_of(dataset).items() if where == "test"]
        assert f"fold {fold} of {folds} is the test set, fold {(fold + 1) % folds} the validation set" in report.notes
        assert sum(part.units for part in report.folds) == count
        assert report.fold == fold
    assert sorted(tested) == sorted(drawn[0])
    assert all(one == drawn[0] for one in drawn)
    assert split.split(dataset.folder, FLAT).fold == folds - 1


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "fake").write(patients(12), pictures=False)


def test_another_fold_is_said_to_make_other_sets_of_the_same_folds(dataset):
    split.split(dataset.folder, Request(folds=4, layout="none"))
    assert split.split(dataset.folder, Request(fold=1)).notes == (
        "kept the present folds; --resplit draws another",
        "other sets than before, from the same folds: the test set was fold 0",
        "fold 1 of 4 is the test set, fold 2 the validation set",
    )
    assert split.split(dataset.folder, Request(fold=1)).notes == (
        "kept the present split; --resplit draws another",
        "fold 1 of 4 is the test set, fold 2 the validation set",
    )
    dataset.write(patients(13), pictures=False)
    assert split.split(dataset.folder, Request(fold=0)).notes[:2] == (
        "kept 12 patients in their folds, and placed 1 new ones",
        "other sets than before, from the same folds: the test set was fold 1",
    )


def test_split_csv_names_each_unit_once_and_the_manifest_agrees(dataset):
    split.split(dataset.folder, Request(folds=4, layout="none"))
    text = (dataset.folder / "split.csv").read_text()
    lines = [line.split(",") for line in text.splitlines()]
    assert lines[0] == ["patient", "split", "fold"]
    assert [line[0] for line in lines[1:]] == [f"p{number:02d}" for number in range(12)]
    assert {line[0]: {line[1]} for line in lines[1:]} == dataset.column("patient")
    assert {line[0]: {line[2]} for line in lines[1:]} == dataset.column("patient", "fold")
    assert split.read_assignment(dataset.folder).to_bytes() == text.encode()


def test_the_report_counts_what_the_manifest_holds(tmp_path):
    rows = patients(20) + [row | {"variant": "fliph"} for row in patients(20)]
    dataset = Dataset(tmp_path / "fake").write(rows, pictures=False)
    report = split.split(dataset.folder, Request(ratios=(60, 20, 20), layout="none"))
    frame = dataset.rows()
    plain = frame[frame["variant"] == ""]
    foreground = plain[plain["foreground"] > 0]
    for part in report.parts:
        inside = plain["split"] == part.name
        assert part.images == inside.sum() == part.variants
        assert part.foreground == (foreground["split"] == part.name).sum()
        assert part.units == part.patients == plain["patient"][inside].nunique()
        assert part.image_share == pytest.approx(part.images / len(plain))
        off = abs(part.image_share - part.ratio), abs(part.foreground / len(foreground) - part.ratio)
        assert part.deviation == pytest.approx(100 * max(off))
        assert part.deviation < 2
    assert json.loads(json.dumps(asdict(report)))["by"] == "patient"


def test_variants_weigh_nothing(tmp_path, dataset):
    copies = [
        row | {"variant": f"rot{angle}"}
        for row in patients(12)
        for angle in range(int(row["case"][1:]) % 5)
        if row["slice"]
    ]
    other = Dataset(tmp_path / "other").write([*patients(12), *copies], pictures=False)
    for one in (dataset, other):
        split.split(one.folder, FLAT)
    assert sets_of(other) == sets_of(dataset)


def test_without_any_foreground_only_images_count(tmp_path):
    rows = [{"case": f"p{number}", "foreground": 0} for number in range(10)]
    dataset = Dataset(tmp_path / "fake").write(rows, pictures=False)
    report = split.split(dataset.folder, Request(ratios=(80, 10, 10), layout="none"))
    assert [part.images for part in report.parts] == [8, 1, 1]
    assert [part.deviation for part in report.parts] == pytest.approx([0, 0, 0])


def test_another_request_is_refused_until_it_is_drawn_anew(dataset):
    split.split(dataset.folder, FLAT)
    before = dataset.tree()
    for asked in ({"ratios": (50, 25, 25)}, {"seed": 1}, {"folds": 3}, {"by": "image"}):
        with pytest.raises(UsageError, match="split already, otherwise"):
            split.split(dataset.folder, Request(**asked))
        assert dataset.tree() == before
    report = split.split(dataset.folder, Request(ratios=(50, 25, 25), resplit=True, layout="none"))
    assert [part.ratio for part in report.parts] == [0.5, 0.25, 0.25]
    assert split.split(dataset.folder, FLAT).parts == report.parts
    assert "kept the present split; --resplit draws another" in split.split(dataset.folder, FLAT).notes


def test_resplit_forgets_folds_and_draws_the_same_each_time(dataset):
    split.split(dataset.folder, FLAT)
    plain = dataset.tree()
    split.split(dataset.folder, Request(folds=3, resplit=True))
    assert "" not in dataset.rows()["fold"].tolist()
    for _ in range(2):
        split.split(dataset.folder, Request(resplit=True))
        assert dataset.tree() == plain


def test_another_seed_draws_another_split(dataset):
    drawn = set()
    for seed in range(4):
        split.split(dataset.folder, Request(seed=seed, resplit=True, layout="none"))
        drawn.add((dataset.folder / "split.csv").read_bytes())
    assert len(drawn) == 4


def test_a_split_csv_that_was_edited_by_hand_is_obeyed(dataset):
    split.split(dataset.folder, FLAT)
    moved = next(unit for unit, where in sets_of(dataset).items() if where == "test")
    path = dataset.folder / "split.csv"
    path.write_text(path.read_text().replace(f"{moved},test", f"{moved},train"))
    report = split.split(dataset.folder, Request(ratios=(50, 25, 25)))
    assert sets_of(dataset)[moved] == "train"
    assert (report.kept, report.drawn) == (12, 0)


def test_a_patient_that_is_gone_for_a_while_comes_back_to_its_set(dataset):
    split.split(dataset.folder, FLAT)
    before, listed = sets_of(dataset), (dataset.folder / "split.csv").read_bytes()
    dataset.write(patients(7), pictures=False)
    split.split(dataset.folder, FLAT)
    assert (dataset.folder / "split.csv").read_bytes() == listed
    dataset.write(patients(12), pictures=False)
    assert sets_of(dataset) == before


def test_a_patient_that_went_and_came_back_is_in_the_present_fold_s_set(dataset):
    split.split(dataset.folder, Request(folds=3, layout="none"))
    dataset.write(patients(7), pictures=False)
    split.split(dataset.folder, Request(fold=1))
    dataset.write(patients(12), pictures=False)
    fold, where = dataset.column("patient", "fold"), sets_of(dataset)
    assert {unit for unit in where if where[unit] == "test"} == {unit for unit in fold if fold[unit] == {"1"}}


@settings(max_examples=40)
@given(st.integers(3, 7), st.sets(st.integers(0, 6), min_size=1), st.integers(0, 3), st.sampled_from([None, 3]))
def test_a_set_whose_patients_are_gone_is_filled_with_new_ones_or_refused(tmp_path_factory, count, gone, new, folds):
    asked = Request(folds=folds, layout="none")
    dataset = Dataset(tmp_path_factory.mktemp("d")).write(patients(count), pictures=False)
    split.split(dataset.folder, asked)
    named = dataset.column("patient", "fold" if folds else "split")
    left = [row for row in patients(count) if int(row["case"][1:]) not in gone]
    if not left + patients(new):
        return
    dataset.write(left + patients(new, first=20), pictures=False)
    kept = {row["case"] for row in left}
    emptied = set.union(*named.values()) - set.union(set(), *(named[one] for one in kept))
    before = dataset.tree()
    if len(emptied) > new:
        with pytest.raises(
            UsageError, match=r"would be empty: its patients are not in the dataset any more.*--resplit"
        ):
            split.split(dataset.folder, asked)
        assert dataset.tree() == before
        return
    split.split(dataset.folder, asked)
    after = dataset.column("patient", "fold" if folds else "split")
    assert set.union(*after.values()) == set.union(*named.values())
    assert {one: after[one] for one in kept} == {one: named[one] for one in kept}


def test_a_set_that_a_split_csv_written_by_hand_leaves_empty_is_only_warned_of(dataset):
    lines = [f"p{number:02d},{'test' if number < 3 else 'train'},\n" for number in range(12)]
    (dataset.folder / "split.csv").write_text("patient,split,fold\n" + "".join(lines))
    assert split.split(dataset.folder, FLAT).warnings == ("valid is empty: no patient is in it",)


class TestTies:
    """Patients that share a group, such as a scan that was published twice."""

    @pytest.mark.parametrize("folds", [None, 4])
    def test_they_go_together(self, tmp_path, folds):
        rows = patients(12)
        for row in rows:
            row["group"] = "twins" if row["case"] in ("p03", "p08", "p11") else row["case"]
        dataset = Dataset(tmp_path).write(rows, pictures=False)
        split.split(dataset.folder, Request(folds=folds, layout="none"))
        where = sets_of(dataset)
        assert where["p03"] == where["p08"] == where["p11"]

    def test_a_new_one_follows_the_other(self, dataset):
        split.split(dataset.folder, FLAT)
        tested = next(unit for unit, where in sets_of(dataset).items() if where == "test")
        twin = [{"case": "new", "slice": index, "group": tested} for index in range(30)]
        dataset.write(patients(12) + twin, pictures=False)
        split.split(dataset.folder, FLAT)
        assert sets_of(dataset)["new"] == "test"

    def test_one_that_ties_what_is_in_two_sets_is_refused(self, dataset):
        split.split(dataset.folder, FLAT)
        where = sets_of(dataset)
        rows = [*patients(12), {"case": "p00", "slice": 90, "group": "shared"}]
        other = next(unit for unit in where if where[unit] != where["p00"])
        rows.append({"case": other, "slice": 91, "group": "shared"})
        dataset.write(rows, pictures=False)
        named = sorted([f"p00 \\({where['p00']}\\)", f"{other} \\({where[other]}\\)"])
        with pytest.raises(UsageError, match=f"parts what belongs together: patient {', '.join(named)}.*--resplit"):
            split.split(dataset.folder, FLAT)
        split.split(dataset.folder, Request(resplit=True))
        assert sets_of(dataset)["p00"] == sets_of(dataset)[other]


@pytest.mark.parametrize(
    ("cells", "source", "by", "column"),
    [
        ({}, "patient", None, "patient"),
        ({}, "patient", "group", "group"),
        ({}, "patient", "image", "case"),
        ({"patient": ""}, "patient", "image", "case"),
        ({"group": ""}, "none", None, "patient"),
        ({"group": "case"}, "none", None, "group"),
        ({"group": "case"}, "image", "patient", "group"),
        ({"patient": "", "group": "case"}, "image", None, "group"),
        ({"patient": "", "group": "case"}, "patient", None, "group"),
        ({"patient": "", "group": ""}, "none", None, "no grouping.*--patient REGEX.*--by image"),
        ({"patient": "", "group": ""}, "none", "group", "12 cases have no group: p00, p01, p02, p03, p04 and 7 more"),
        ({"group": ""}, "patient", "group", "12 cases have no group"),
    ],
)
def test_what_is_kept_whole(tmp_path, cells, source, by, column):
    rows = [row | {key: row.get(value, value) for key, value in cells.items()} for row in patients(12)]
    dataset = Dataset(tmp_path).write(rows, group=source, pictures=False)
    if column not in LEVELS:
        with pytest.raises(UsageError, match=column):
            split.split(dataset.folder, Request(by=by))
        return
    for _ in range(2):  # also where it is split already
        report = split.split(dataset.folder, Request(by=by, layout="none"))
        assert split.read_assignment(dataset.folder).column == column
        assert sets_of(dataset, column)
        instead = any("publishes no patients: split by its" in note for note in report.notes)
        assert instead == (column == "group" and by != "group")


def test_a_case_with_neither_patient_nor_group_among_others_is_named(tmp_path):
    rows = [*patients(12), {"case": "stray", "patient": "", "group": ""}]
    dataset = Dataset(tmp_path).write(rows, pictures=False)
    for by in (None, "patient"):
        with pytest.raises(UsageError, match=r"1 cases have no patient: stray.*--by group or --by image"):
            split.split(dataset.folder, Request(by=by, layout="none"))


@settings(max_examples=25)
@given(tangles(), st.sets(st.integers(0, 11)), st.sampled_from([None, 3]))
def test_a_group_stands_in_for_a_patient_row_by_row_and_nobody_is_parted(tmp_path_factory, rows, unknown, folds):
    """Cases of no known patient, beside others, in groups of their own or in those of known ones."""
    rows = [{**row, "patient": "" if int(row["case"][1:]) in unknown else row["patient"]} for row in rows]
    dataset = Dataset(tmp_path_factory.mktemp("d")).write(rows, pictures=False)
    blank = {row["case"] for row in rows if not row["patient"]}
    try:
        report = split.split(dataset.folder, Request(by="patient", folds=folds, layout="none"))
    except UsageError as error:
        if "share nothing" not in str(error):
            raise
        return
    mixed = 0 < len(blank) < len({row["case"] for row in rows})
    assert split.read_assignment(dataset.folder).column == ("group" if blank else "patient")
    assert any("its group stands for it" in note for note in report.notes) == mixed
    assert any(f"{len(blank)} cases have no patient" in warning for warning in report.warnings) == mixed
    sets_of(dataset, "group")
    found = dataset.column("patient")
    assert all(len(sets) == 1 for patient, sets in found.items() if patient)
    before = dataset.tree()
    assert split.split(dataset.folder, Request(by="patient", folds=folds, layout="none")).drawn == 0
    assert dataset.tree() == before


def test_by_image_keeps_a_case_whole_and_warns_of_the_leak(tmp_path):
    rows = [
        {"case": f"c{number:02d}", "slice": index, "patient": "ab"[number % 2]}
        for number in range(20)
        for index in (0, 1)
    ]
    dataset = Dataset(tmp_path / "known").write(rows, pictures=False)
    report = split.split(dataset.folder, Request(by="image", layout="none"))
    sets_of(dataset, "case")
    assert any("2 patients are in more than one set" in warning for warning in report.warnings)
    dataset = Dataset(tmp_path / "unknown").write([row | {"patient": ""} for row in rows], pictures=False)
    report = split.split(dataset.folder, Request(by="image", layout="none"))
    assert any("scores may be too good" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("count", "asked", "message"),
    [
        (2, {}, "3 sets need 3 patients at least that share nothing, and there are 2.*--ratios 80,20,0"),
        (1, {"ratios": (1, 1, 0)}, "2 sets need 2 patients"),
        (4, {"folds": 5}, "5 folds need 5 patients.*fewer folds"),
    ],
)
def test_too_few_patients_are_an_error_that_says_how_many_are_needed(tmp_path, count, asked, message):
    dataset = Dataset(tmp_path).write(patients(count), pictures=False)
    before = dataset.tree()
    with pytest.raises(UsageError, match=message):
        split.split(dataset.folder, Request(**asked))
    assert dataset.tree() == before


def test_just_enough_patients_are_enough(tmp_path):
    for count, ratios in ((3, (98, 1, 1)), (2, (1, 0, 1)), (1, (1, 0, 0))):
        dataset = Dataset(tmp_path / str(count)).write(patients(count), pictures=False)
        report = split.split(dataset.folder, Request(ratios=ratios, layout="none"))
        assert [part.units for part in report.parts] == [int(ratio > 0) for ratio in ratios]
        assert not report.warnings


@given(st.integers(0, 99), st.sets(st.integers(0, 11), min_size=2, max_size=5))
def test_copies_of_one_file_are_kept_together_when_a_split_is_drawn(tmp_path_factory, seed, alike):
    rows = [row | {"sha256": "a" * 64 * (int(row["case"][1:]) in alike)} for row in patients(12)]
    made = Dataset(tmp_path_factory.mktemp("copies")).write(rows, pictures=False)
    split.split(made.folder, Request(seed=seed, layout="none"))
    sets = made.column("case")
    assert len(set.union(*(sets[f"p{number:02d}"] for number in alike))) == 1
    assert set.union(*sets.values()) == {"train", "valid", "test"}


def test_a_split_that_the_source_ships_may_part_copies(tmp_path):
    rows = [row | {"sha256": "a" * 64, "split": "train" if row["case"] < "p03" else "test"} for row in patients(6)]
    made = Dataset(tmp_path / "shipped").write(rows)
    split.split(made.folder, Request())
    assert made.column("case")["p00"] == {"train"}
    assert made.column("case")["p05"] == {"test"}
