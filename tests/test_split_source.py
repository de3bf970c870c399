"""A split that the source ships, and a split.csv: what is there is kept, or refused, never quietly changed."""

import json

import pytest
from datasets import Dataset

from imagemask import files, manifest, split
from imagemask.errors import InputError, UsageError
from imagemask.split import Assignment, Request

FLAT = Request(layout="none")
SHIPPED = {"a": "test", "b": "train", "c": "valid", "d": "train", "e": "test", "f": "train"}


def rows(**sets):
    """Two slices of each patient, with the set that the source ships."""
    return [{"case": unit, "slice": index, "split": where} for unit, where in sets.items() for index in (0, 1)]


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "fake").write(rows(**SHIPPED), pictures=False)


def sets_of(dataset):
    return {unit: "/".join(sorted(sets)) for unit, sets in dataset.column("patient").items()}


def test_it_is_kept_and_the_report_says_so(dataset):
    report = split.split(dataset.folder, FLAT)
    assert "kept the split that the source ships; --resplit draws another" in report.notes
    assert (report.kept, report.drawn) == (6, 0)
    assert sets_of(dataset) == SHIPPED == dict(split.read_assignment(dataset.folder).split)


def test_patients_that_the_source_leaves_out_are_placed(tmp_path):
    dataset = Dataset(tmp_path).write(rows(**SHIPPED, x="", y="", z=""), pictures=False)
    report = split.split(dataset.folder, FLAT)
    assert (report.kept, report.drawn) == (6, 3)
    assert report.notes[0].startswith(
        "kept the split that the source ships for 6 patients, and placed 3 that it leaves out"
    )
    assert SHIPPED.items() <= sets_of(dataset).items()


def test_new_patients_are_where_the_source_says(dataset):
    split.split(dataset.folder, FLAT)
    dataset.write(rows(**SHIPPED, x="test", y="valid"), pictures=False)
    assert sets_of(dataset) == {**SHIPPED, "x": "test", "y": "valid"}
    report = split.split(dataset.folder, FLAT)
    assert (report.kept, report.drawn) == (8, 0)
    assert sets_of(dataset) == {**SHIPPED, "x": "test", "y": "valid"}


def test_resplit_draws_another_and_the_source_s_does_not_come_back(dataset):
    for seed in range(9):
        split.split(dataset.folder, Request(resplit=True, seed=seed, layout="none"))
        if sets_of(dataset) != SHIPPED:
            break
    drawn = sets_of(dataset)
    dataset.write(rows(**SHIPPED, x="test"), pictures=False)
    assert sets_of(dataset) == {**drawn, "x": ""}
    split.split(dataset.folder, FLAT)
    assert drawn.items() <= sets_of(dataset).items()


def test_a_patient_on_two_sides_is_refused_by_name(tmp_path):
    torn = [*rows(**SHIPPED), {"case": "b", "slice": 9, "split": "test"}]
    dataset = Dataset(tmp_path).write(torn, pictures=False)
    with pytest.raises(UsageError, match=r"parts what belongs together: patient b \(train, test\).*--resplit"):
        split.split(dataset.folder, FLAT)
    split.split(dataset.folder, Request(resplit=True, layout="none"))
    assert "/" not in "".join(sets_of(dataset).values())


def test_folds_do_not_replace_it_unasked(dataset):
    with pytest.raises(UsageError, match=r"the source ships its own split, and 3 folds would replace it.*--resplit"):
        split.split(dataset.folder, Request(folds=3))
    assert len(split.split(dataset.folder, Request(folds=3, resplit=True, layout="none")).folds) == 3


def test_a_set_that_the_source_lacks_is_a_warning(tmp_path):
    dataset = Dataset(tmp_path).write(rows(a="train", b="test"), pictures=False)
    report = split.split(dataset.folder, FLAT)
    assert report.warnings == ("valid is empty: no patient is in it",)
    assert sets_of(dataset) == {"a": "train", "b": "test"}


def test_a_set_with_an_unknown_name_is_an_error(tmp_path):
    dataset = Dataset(tmp_path).write(rows(a="train", b="val", c="test"), pictures=False)
    with pytest.raises(InputError, match=r"column split holds val. It may hold train, valid, test"):
        split.split(dataset.folder, FLAT)


class TestByImage:
    """A source that says why its images must not be split one by one."""

    WHY = "frames of one patient are all but the same"

    @pytest.fixture
    def strict(self, dataset):
        facts = {"name": "fake", "source": {"group": "patient", "by_image": self.WHY}}
        (dataset.folder / "dataset.json").write_text(json.dumps(facts))
        return dataset

    def refused(self, dataset, request):
        before = dataset.tree()
        with pytest.raises(UsageError, match=f"a split by image is refused: {self.WHY}.*--by patient --resplit"):
            split.split(dataset.folder, request)
        assert dataset.tree() == before

    @pytest.mark.parametrize("more", [{}, {"resplit": True}, {"folds": 3, "resplit": True}, {"seed": 4}])
    def test_it_is_refused_in_the_source_s_words(self, strict, more):
        self.refused(strict, Request(by="image", layout="none", **more))

    def test_patients_may_be_drawn_anew(self, strict):
        split.split(strict.folder, Request(by="patient", resplit=True, layout="none"))
        self.refused(strict, Request(by="image", resplit=True))
        assert split.split(strict.folder, FLAT).by == "patient"

    def test_a_present_one_is_not_gone_on_with(self, dataset, strict):
        units = sorted(SHIPPED)
        (strict.folder / "split.csv").write_bytes(Assignment("case", dict.fromkeys(units, "train")).to_bytes())
        self.refused(strict, FLAT)
        split.split(strict.folder, Request(resplit=True, layout="none"))

    @pytest.mark.parametrize("together", [False, True])
    def test_where_nobody_is_known_the_given_split_is_kept_and_none_is_drawn(self, tmp_path, together):
        """Unless there are groups that hold several cases together."""
        given = [
            {**row, "patient": "", "group": "bd" if together and row["case"] in "bd" else row["case"]}
            for row in rows(**{**SHIPPED, "d": "train", "b": "train"})
        ]
        dataset = Dataset(tmp_path).write(given, pictures=False)
        facts = {"name": "fake", "source": {"group": "patient", "by_image": self.WHY}}
        (dataset.folder / "dataset.json").write_text(json.dumps(facts))
        assert split.split(dataset.folder, FLAT).drawn == 0
        anew = Request(by="patient", resplit=True, layout="none")
        if together:
            assert split.split(dataset.folder, anew).drawn == 5
            return
        with pytest.raises(UsageError, match=f"refused: {self.WHY}. No case has a patient.*Keep the split that"):
            split.split(dataset.folder, anew)
        assert split.split(dataset.folder, FLAT).drawn == 0

    def test_without_a_reason_it_is_a_warning(self, dataset):
        report = split.split(dataset.folder, Request(by="image", resplit=True, layout="none"))
        assert any("split by image" in warning for warning in report.warnings)


class TestApply:
    """What merge does with split.csv."""

    def test_rows_without_an_assignment_stay_blank_and_are_counted(self, dataset):
        frame = dataset.rows().assign(split="")
        applied, blank = split.apply(frame, Assignment("patient", {"a": "test", "b": "train"}, {"a": "1", "b": "0"}))
        assert blank == 8
        assert applied["split"].tolist() == ["test"] * 2 + ["train"] * 2 + [""] * 8
        assert applied["fold"].tolist() == ["1"] * 2 + ["0"] * 2 + [""] * 8
        assert frame["split"].tolist() == [""] * 12

    def test_it_goes_by_the_column_that_was_kept_whole(self, dataset):
        applied, blank = split.apply(
            dataset.rows().assign(split=""), Assignment("case", dict.fromkeys("abcdef", "valid"))
        )
        assert (set(applied["split"]), blank) == ({"valid"}, 0)

    def test_the_columns_are_of_the_manifest_s_own_type(self, dataset):
        frame = dataset.rows()
        applied, _ = split.apply(frame, Assignment("patient", SHIPPED))
        assert applied.equals(frame)
        assert manifest.to_bytes(applied) == (dataset.folder / "manifest.csv").read_bytes()

    def test_no_rows_are_no_trouble(self, dataset):
        applied, blank = split.apply(dataset.rows().iloc[:0], Assignment("patient", SHIPPED))
        assert (len(applied), blank) == (0, 0)


class TestAssignment:
    """split.csv."""

    def test_there_may_be_none(self, tmp_path):
        assert split.read_assignment(tmp_path) is None

    @pytest.mark.parametrize("unit", ["a,b", 'say "a"', "größer", " a ", "=1+1", "-", "a\tb"])
    def test_any_name_comes_back(self, tmp_path, unit):
        one = Assignment("group", {unit: "valid", "other": "test"}, {unit: "2", "other": "0"})
        (tmp_path / "split.csv").write_bytes(one.to_bytes())
        read = split.read_assignment(tmp_path)
        assert read == one
        assert (read.folds, read.test_fold) == (3, 0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "the first line is ''"),
            ("patients,split,fold\n", "the first line is 'patients,split,fold'"),
            ("patient,split\na,train\n", "the first line"),
            ("patient,split,fold\na,val,\n", "line 2 is 'a,val,'"),
            ("patient,split,fold\na,train,\na,test,\n", "line 3 is 'a,test,'"),
            ("patient,split,fold\na,train\n", "line 2"),
            ("patient,split,fold\na,train,one\n", "line 2"),
            (b"\xff", "cannot be read"),
        ],
    )
    def test_a_damaged_one_is_an_error_that_resplit_ends(self, dataset, text, message):
        path = dataset.folder / "split.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match=f"split.csv: .*{message}.*--resplit"):
            split.split(dataset.folder, FLAT)
        split.split(dataset.folder, Request(resplit=True, layout="none"))
        assert split.read_assignment(dataset.folder) is not None


class TestRefusals:
    """A dataset that cannot be split."""

    def test_no_dataset_is_an_error_and_makes_none(self, tmp_path):
        with pytest.raises(InputError, match="there is no manifest"):
            split.split(tmp_path / "none", FLAT)
        assert not list(tmp_path.iterdir())

    def test_no_rows_are_an_error(self, tmp_path):
        dataset = Dataset(tmp_path).write([], pictures=False)
        with pytest.raises(InputError, match="holds no rows"):
            split.split(dataset.folder, FLAT)

    def test_another_run_in_the_same_folder_is_not_disturbed(self, dataset):
        (dataset.folder / "fragments").mkdir()
        with (
            files.lock(dataset.folder / "fragments" / ".lock"),
            pytest.raises(UsageError, match="another run is working"),
        ):
            split.split(dataset.folder, FLAT)
        assert not (dataset.folder / "split.csv").exists()
