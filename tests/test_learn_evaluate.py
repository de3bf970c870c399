"""Evaluation of a run: what is written, and that a perfect, a blind and a shifted model get their due."""

import csv
import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from oracles import Constant, Oracle, built, pictures, run_of, workspace

from imagemask import images, manifest
from imagemask.build import fragments
from imagemask.errors import InputError, UsageError
from imagemask.learn import evaluate as library
from imagemask.learn import held_out
from imagemask.learn.evaluate import choose_threshold, evaluate
from imagemask.learn.run import Run

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

SOURCE = "lung-tumor"
FILES = {
    *("evaluation.csv", "per_patient.csv", "per_image.csv", "calibration.csv", "curves.png"),
    *("cases.png", "cases.csv", "cases", "evaluation.json"),
}


@pytest.fixture(scope="module")
def lung(tmp_path_factory):
    """The raw folder, the dataset, and beside it one of the same source with every empty slice in it."""
    folder = tmp_path_factory.mktemp("lung")
    home = workspace(folder)
    return folder / "raw" / SOURCE, home, built(folder, folder / "datasets" / "everything", keep_empty=True)


@pytest.fixture
def run(lung, tmp_path):
    return run_of(lung[1], tmp_path / "runs" / "1")


@pytest.fixture
def drawn():
    """For a test that looks at pictures."""


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    """Pictures take most of the time: only tests that ask for them draw any."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(library.curves, "evaluation_curves", lambda out, *_, **__: out.write_bytes(b""))
        monkeypatch.setattr(library.sheets, "cases_sheet", lambda out, *_, **__: out.write_bytes(b""))


def table(run, name="evaluation.csv", split="test"):
    with (run.folder / split / name).open(newline="") as file:
        return list(csv.DictReader(file))


def measures(run, split="test"):
    return {row["metric"]: row for row in table(run, split=split)}


def value(run, metric):
    return float(measures(run)[metric]["value"])


def test_a_perfect_model_gets_everything_right(lung, run):
    evaluate(run, model=Oracle(lung[2]), raw=lung[0])
    for metric in ("dice", "iou", "sensitivity", "precision", "specificity", "nsd", "dice_median", "dice_of_images"):
        assert value(run, metric) == 1, metric
    for metric in ("hd95", "area_error", "ece", "ece_relevant", "missed"):
        assert value(run, metric) == 0, metric
    assert value(run, "volume_dice") == 1
    for metric in ("volume_error", "false_positive_slices", "false_positive_share", "false_positive_area"):
        assert value(run, metric) == 0, metric
    assert int(measures(run)["false_positive_slices"]["n"]) > 20


def test_a_blind_model_gets_dice_0_and_the_pooled_formulas_what_they_give_away(lung, run):
    evaluate(run, model=Constant(0), raw=lung[0])
    assert (value(run, "dice"), value(run, "nsd"), value(run, "volume_dice")) == (0, 0, 0)
    assert value(run, "missed") == int(measures(run)["missed"]["n"]) == len(table(run, "per_image.csv"))
    assert measures(run)["hd95"]["value"] == measures(run)["precision"]["value"] == ""
    pooled = [row for row in table(run) if row["metric"].startswith("pooled_")]
    assert len(pooled) >= 5
    for row in pooled:
        assert float(row["value"]) == pytest.approx(float(row["all_background"]), abs=1e-12), row["metric"]
    assert value(run, "pooled_binary_accuracy") > 0.98


def test_a_shifted_model_gets_the_dice_that_numpy_says(lung, run):
    _, home, everything = lung
    evaluate(run, model=Oracle(everything, shift=2))
    by_patient, rows = {}, manifest.read(home).query("split == 'test'")
    for row in rows.itertuples():
        truth = images.read_png(home / "masks" / f"{row.key}.png") > 0
        shifted = np.roll(truth, 2, 0)
        dice = 2 * (truth & shifted).sum() / (truth.sum() + shifted.sum())
        by_patient.setdefault(row.patient, []).append(dice)
    means = {patient: np.mean(scores) for patient, scores in by_patient.items()}
    found = {row["patient"]: float(row["dice"]) for row in table(run, "per_patient.csv")}
    assert found == pytest.approx(means)
    assert value(run, "dice") == pytest.approx(np.mean(list(means.values())))
    assert value(run, "dice_median") == pytest.approx(np.median(list(means.values())))
    assert value(run, "dice_of_images") == pytest.approx(
        np.mean([one for scores in by_patient.values() for one in scores])
    )
    # Rows lie 0.785 mm apart: what was moved by two is nowhere further away.
    assert 0 < value(run, "hd95") <= 2 * rows["spacing_y"].iloc[0] + 1e-9
    assert measures(run)["hd95"]["unit"] == "mm"


def test_all_files_are_there_and_no_others(lung, run, drawn):
    evaluate(run, model=Oracle(lung[2]), raw=lung[0])
    assert {path.name for path in (run.folder / "test").iterdir()} == {*FILES, "per_volume.csv"}
    evaluate(run, model=Oracle(lung[2]))
    assert {path.name for path in (run.folder / "test").iterdir()} == FILES  # what is not of this evaluation is gone
    for name in ("curves.png", "cases.png"):
        assert images.read_image(run.folder / "test" / name).shape[1] > 600


def test_equal_input_gives_equal_bytes(lung, run, drawn):
    found = []
    for _ in range(2):
        evaluate(run, model=Oracle(lung[2], shift=1, sure=0.9), raw=lung[0])
        paths = [path for path in (run.folder / "test").rglob("*") if path.is_file()]
        found.append({path.relative_to(run.folder): path.read_bytes() for path in paths})
    assert found[0] == found[1]


def test_every_image_of_the_set_is_scored_once_and_every_patient_has_a_row(lung, run):
    evaluate(run, model=Constant(0))
    rows = manifest.read(lung[1]).query("split == 'test' and variant == ''")
    assert [row["key"] for row in table(run, "per_image.csv")] == rows["key"].tolist()
    patients = table(run, "per_patient.csv")
    assert [row["patient"] for row in patients] == sorted(set(rows["patient"]))
    assert sum(int(row["images"]) for row in patients) == len(rows)
    volumes = evaluate(run, model=Constant(0), raw=lung[0])
    assert [row["case"] for row in table(run, "per_volume.csv")] == sorted(set(rows["case"]))
    assert not volumes.failures


def test_the_document_says_what_the_table_says(lung, run):
    done = evaluate(run, model=Oracle(lung[2], shift=1))
    document = json.loads((run.folder / "test" / "evaluation.json").read_text())
    assert document == done.document()
    assert (document["threshold"], document["split"], document["digest"]) == (0.5, "test", run.record.digest)
    for row, one in zip(table(run), document["measures"], strict=True):
        assert (row["metric"], row["class"]) == (one["metric"], one["label"])
        assert row["value"] == ("" if one["value"] is None else str(one["value"]))
    assert done.value("dice") == value(run, "dice")
    assert str(run.folder) not in json.dumps(document)


def test_intervals_need_eight_patients(lung, run):
    """Nine are in the test set, two in the validation set."""
    evaluate(run, model=Oracle(lung[2], shift=1))
    row = measures(run)["dice"]
    assert int(row["n"]) >= 8
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    evaluate(run, split="valid", model=Oracle(lung[2], shift=1))
    row = measures(run, "valid")["dice"]
    assert (row["low"], row["high"], row["interval"]) == ("", "", f"n/a ({row['n']} patients)")


def test_the_statement_opens_with_what_is_not_there(lung, run):
    rows = manifest.read(lung[1]).query("split == 'test'")
    every = manifest.read(lung[2])
    empties = int((every["case"].isin(rows["case"]) & (every["foreground"] == 0)).sum())
    done = evaluate(run, model=Constant(0))
    assert done.statement == (
        f"scored on {len(rows)} slices that contain the target; "
        f"{empties} empty slices of the same patients are not in the data set"
    )


def test_a_dataset_with_its_empty_slices_says_so_and_counts_false_alarms(lung, tmp_path):
    everything = tmp_path / "datasets" / "everything"
    shutil.copytree(lung[2], everything)
    from imagemask import split

    split.split(everything, split.Request(by="patient", ratios=(0.3, 0.2, 0.5)))
    run = run_of(everything, tmp_path / "runs" / "1")
    done = evaluate(run, model=Constant(1))
    rows = manifest.read(everything).query("split == 'test'")
    some, none = int((rows["foreground"] > 0).sum()), int((rows["foreground"] == 0).sum())
    assert done.statement == (
        f"scored on {some} slices that contain the target and {none} that do not; "
        "no empty slice of the same patients was left out of the data set"
    )
    assert (value(run, "false_alarms"), int(measures(run)["false_alarms"]["n"])) == (none, none)
    assert evaluate(run, model=Oracle(everything)).value("false_alarms") == 0
    assert value(run, "dice") == 1


def test_of_a_run_that_sees_the_centre_the_whole_picture_is_scored(lung, tmp_path):
    """A model that finds everything finds the centre; what lies outside it is truth all the same."""
    run = run_of(lung[1], tmp_path / "runs" / "1", crop_share=0.25, height=24, width=24)
    done = evaluate(run, model=Constant(1), raw=lung[0])
    rows = pd.read_csv(done.folder / "per_image.csv")
    data = held_out.of_run(run, "test")
    assert set(rows["predicted"]) == {24 * 24}
    whole = data.rows.set_index("key")["foreground"]
    assert rows["foreground"].tolist() == whole.loc[rows["key"]].tolist()
    volumes = pd.read_csv(done.folder / "per_volume.csv")
    assert (volumes["predicted"] == 24 * 24 * volumes["slices"]).all()
    truths = [one.truth for one in held_out.predictions(data, Constant(0))]
    outside = 1 - sum(np.count_nonzero(one[12:36, 12:36]) for one in truths) / sum(map(np.count_nonzero, truths))
    assert any(f"{outside:.1%} of the foreground lies outside it" in note for note in done.notes)
    assert done.document()["crop_share"] == 0.25


def test_without_fragments_the_statement_says_that_nobody_knows(lung, tmp_path):
    home = tmp_path / "datasets" / SOURCE
    shutil.copytree(lung[1], home)
    shutil.rmtree(home / manifest.FRAGMENTS)
    done = evaluate(run_of(home, tmp_path / "runs" / "1"), model=Constant(0))
    assert "how many empty slices of the same patients were left out is not known" in done.statement
    assert manifest.FRAGMENTS == fragments.FOLDER


@pytest.mark.parametrize("same", [True, False])
def test_the_empty_slices_of_a_volume_without_any_target_count_too(lung, tmp_path, same):
    """A second volume of a test patient, of which nothing is in the dataset: no row says whose it is."""
    home = tmp_path / "datasets" / SOURCE
    shutil.copytree(lung[1], home)
    run = run_of(home, tmp_path / "runs" / "1")
    before = sum(manifest.slice_counts(home, case)[1] for case in held_out.of_run(run, "test").cases)
    rows = manifest.read(home)
    tested = rows[(rows["split"] == "test") == same]["case"].iloc[0]
    fragment = fragments.read(home, tested)
    assert fragment.patient == rows.set_index("case")["patient"].loc[[tested]].iloc[0]
    fragments.write(home, dataclasses.replace(fragment, case="other", rows=(), sizes=(), read=40, kept=0, empty=40))
    assert f"{before + 40 * same} empty slices of the same patients" in evaluate(run, model=Constant(0)).statement


def test_pictures_are_called_images_and_pooled_by_patient(tmp_path):
    home, everything = pictures(tmp_path)
    run = run_of(home, tmp_path / "runs" / "1")
    done = evaluate(run, model=Oracle(everything), raw=tmp_path / "raw" / "folder")
    count, left = len(table(run, "per_image.csv")), manifest.read_dataset(home)["counts"]["slices_empty"]
    assert left > 1
    assert done.statement == (
        f"scored on {count} images that contain the target; {left} empty images of all patients are not in the data set"
    )
    assert value(run, "volume_dice") == 1
    assert int(measures(run)["false_positive_slices"]["n"]) > 0
    assert [row["case"] for row in table(run, "per_volume.csv")] == sorted(
        {row["patient"] for row in table(run, "per_image.csv")}
    )


@pytest.mark.parametrize("split", ["valid", "train"])
def test_a_set_that_was_learnt_from_says_so(lung, run, split):
    done = evaluate(run, split=split, model=Constant(0))
    assert any("chosen on this set" in note or "trained on" in note for note in done.notes)
    assert not evaluate(run, model=Constant(0)).notes


def unspaced(home, keys):
    rows = manifest.read(home)
    rows.loc[rows["key"].isin(keys), ["spacing_y", "spacing_x"]] = np.nan
    manifest.write(home, rows)


def test_distances_are_in_pixels_where_a_spacing_is_not_known(lung, tmp_path):
    home = tmp_path / "datasets" / SOURCE
    shutil.copytree(lung[1], home)
    run = run_of(home, tmp_path / "runs" / "1")
    keys = manifest.read(home).query("split == 'test'")["key"].tolist()
    unspaced(home, keys[:1])
    done = evaluate(run, model=Oracle(lung[2], shift=2))
    assert measures(run)["hd95"]["unit"] == "px"
    assert 0 < value(run, "hd95") <= 2
    assert done.notes == (f"the spacing of 1 of {len(keys)} images is not known: distances are in pixels",)
    unspaced(home, keys)
    assert evaluate(run, model=Oracle(lung[2], shift=2)).notes == ()


def test_the_threshold_is_chosen_on_the_validation_set_and_kept(lung, tmp_path):
    """At 0.5 this model finds nothing; at what is chosen, everything."""
    run = run_of(lung[1], tmp_path / "runs" / "1", threshold=None)
    hesitant = Hesitant(lung[2])
    chosen = choose_threshold(run, model=hesitant)
    assert 0.1 < chosen.threshold <= 0.35
    assert Run.open(run.folder).threshold == chosen.threshold
    validation = set(manifest.read(lung[1]).query("split == 'valid'")["key"])
    assert hesitant.asked == 8 * math.ceil(len(validation) / 8)
    evaluate(chosen, model=hesitant)
    assert value(run, "dice") == 1


class Hesitant(Oracle):
    """0.35 where foreground is, 0.1 elsewhere."""

    def say(self, picture):
        return super().say(picture) * np.float32(0.25) + np.float32(0.1)


def test_a_run_without_a_threshold_gets_one_before_it_is_scored(lung, tmp_path):
    run = run_of(lung[1], tmp_path / "runs" / "1", threshold=None)
    done = evaluate(run, model=Hesitant(lung[2]))
    assert done.document()["threshold"] == Run.open(run.folder).record.threshold
    assert done.value("dice") == 1


def test_the_test_set_never_chooses_the_threshold(lung, tmp_path):
    """Of the test set this model knows nothing, and of the validation set all."""
    run = run_of(lung[1], tmp_path / "runs" / "1", threshold=None)
    rows = manifest.read(lung[1])
    model = Hesitant(lung[1])
    tested = rows.query("split == 'test'")["key"]
    for key in tested:
        model.known.pop(images.read_png(lung[1] / "images" / f"{key}.png").tobytes())
    assert evaluate(run, model=model).value("dice") == 0
    assert Run.open(run.folder).threshold == choose_threshold(run, model=Hesitant(lung[1])).threshold


def test_several_classes_have_a_line_each_and_one_for_all(tmp_path):
    """Two classes of one image: the first right, the second missed."""
    from trainable import picture, write

    from imagemask.learn import dataset

    home = write(tmp_path / "data", {f"p{at}": picture(at, classes=2) for at in range(6)}, classes=2)
    model = OneOfTwo(home, classes=3)
    run = by_hand(home, tmp_path / "runs" / "1")
    done = evaluate(run, model=model)
    rows = table(run, "per_image.csv")
    data = dataset.read(home)
    assert [row["class"] for row in rows] == ["(all)", *data.labels] * len(data.part("test"))
    dice = {row["class"]: float(row["value"]) for row in table(run) if row["metric"] == "dice"}
    assert dice == {"(all)": 0.5, data.labels[0]: 1, data.labels[1]: 0}
    assert done.value("dice") == 0.5
    assert [row["class"] for row in table(run, "per_patient.csv")] == ["(all)", *data.labels] * len(data.part("test"))
    first = {label["mask_value"] for label in data.document["labels"][:1]}
    for path in (run.folder / "test" / "cases").iterdir():
        assert set(np.unique(images.read_png(path))) == {0, *first}


class OneOfTwo(Oracle):
    """Knows the first class, and calls the second background."""

    def say(self, picture):
        found = super().say(picture)
        found[..., 0] += found[..., 2]
        found[..., 2] = 0
        return found


def by_hand(home, folder):
    """A run over a dataset of tests/trainable.py, which has no split.csv: the source's own split."""
    (home / "split.csv").write_bytes(b"")
    made = run_of(home, folder)
    (home / "split.csv").unlink()
    return made


def test_a_leak_is_refused_before_anything_is_written(lung, tmp_path):
    home = tmp_path / "datasets" / SOURCE
    shutil.copytree(lung[1], home)
    run = run_of(home, tmp_path / "runs" / "1")
    rows = manifest.read(home)
    rows.loc[rows["split"] == "train", "split"] = "test"
    manifest.write(home, rows)
    model = Constant(0)
    with pytest.raises(UsageError, match="was split anew"):
        evaluate(run, model=model)
    assert not (run.folder / "test").exists()


def test_a_raw_folder_that_is_not_there_is_refused_before_anything_is_scored(lung, run, tmp_path):
    model = Oracle(lung[2])
    with pytest.raises(InputError, match="none: is not a folder"):
        evaluate(run, model=model, raw=tmp_path / "none")
    assert not model.asked


def test_progress_is_told(lung, run):
    told = []
    evaluate(run, model=Constant(0), raw=lung[0], notify=lambda *one: told.append(one))
    for what in {one[0] for one in told}:
        steps = [one[1:] for one in told if one[0] == what]
        assert steps == [(at, len(steps)) for at in range(1, len(steps) + 1)]
    assert len({one[0] for one in told}) == 2


@pytest.fixture
def command(run, monkeypatch):
    """``imagemask evaluate``, over an oracle in place of the model."""
    from imagemask.cli.evaluate import evaluate as command
    from imagemask.learn import backend

    monkeypatch.setattr(backend, "require", lambda: "tensorflow")
    return lambda model, *args: (
        monkeypatch.setattr(Run, "model", lambda _: model),
        CliRunner().invoke(command, [str(run.folder), *map(str, args)], catch_exceptions=False),
    )[1]


def test_the_command_prints_the_sentence_then_the_table(lung, run, command):
    done = command(Oracle(lung[2]), "--raw", lung[0])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("scored on ")
    assert "are not in the data set" in lines[0]
    assert any(line.split()[:2] == ["dice", "1"] for line in lines)
    assert any(line.split()[0] == "false_positive_slices" for line in lines if line)
    place = next(number for number, line in enumerate(lines) if "all background" in line)
    assert all("pooled_" in line for line in lines[place + 1 : -2])


def test_the_command_prints_the_document(lung, run, command):
    done = command(Oracle(lung[2]), "--json")
    document = json.loads(done.stdout)
    assert document["schema"] == "imagemask.evaluation/1"
    assert document == json.loads((run.folder / "test" / "evaluation.json").read_text())


def test_the_command_takes_a_dataset_that_has_moved(lung, run, command, tmp_path):
    shutil.copytree(lung[1], tmp_path / "elsewhere")
    done = command(Constant(0), "--dataset", tmp_path / "elsewhere", "--split", "valid")
    assert done.exit_code == 0
    assert (run.folder / "valid" / "evaluation.json").is_file()


def test_a_case_that_fails_is_named_and_ends_in_exit_3(lung, run, command, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(lung[0], raw)
    case = table_cases(lung)[0]
    path = next(path for path in raw.rglob(f"{case}.nii*") if path.parent.name == "imagesTr")
    path.write_bytes(path.read_bytes()[:-1000])
    done = command(Oracle(lung[2]), "--raw", raw)
    assert done.exit_code == 3
    assert f"not scored: {case}: " in done.stderr
    assert [row["case"] for row in table(run, "per_volume.csv")] == table_cases(lung)[1:]
    document = json.loads((run.folder / "test" / "evaluation.json").read_text())
    assert [one["case"] for one in document["failures"]] == [case]


def table_cases(lung):
    return sorted(set(manifest.read(lung[1]).query("split == 'test'")["case"]))


def test_what_nobody_has_is_not_a_number_on_the_screen(lung, run, command):
    done = command(Constant(0), "--split", "valid")
    line = next(line for line in done.stdout.splitlines() if line.startswith("hd95"))
    assert line.split()[:2] == ["hd95", "n/a"]
    assert "images have none" in line
    assert "chosen on this set" in done.stderr


@pytest.mark.parametrize(("number", "text"), [(0.5, "0.5"), (None, "n/a"), (float("nan"), "n/a"), (1234.5678, "1235")])
def test_numbers_on_the_screen(number, text):
    from imagemask.cli.evaluate import _number

    assert _number(number) == text


@pytest.mark.slow
def test_a_real_network_is_loaded_and_scored(lung, run, drawn):
    keras = pytest.importorskip("keras")
    from imagemask.learn import models
    from imagemask.learn import run as runs

    options = models.options("unet", {"height": 48, "width": 48, "channels": 1, "levels": 2, "filters": 4})
    keras.utils.set_random_seed(1)
    models.build("unet", options).save(run.folder / runs.BEST)
    done = evaluate(run)
    assert 0 <= done.value("dice") < 1
    assert library.DOCUMENT in {path.name for path in done.folder.iterdir()}
    assert evaluate(run, model=run.model()).document() == done.document()


def test_the_sheet_shows_the_worst_the_median_and_the_best(lung, run, monkeypatch):
    shown = {}

    def sheet(out, groups, **_):
        out.write_bytes(b"")
        shown.update(groups)

    monkeypatch.setattr(library.sheets, "cases_sheet", sheet)
    evaluate(run, model=Oracle(lung[2], shift=1))
    ranked = sorted(table(run, "per_image.csv"), key=lambda row: (float(row["dice"]), row["key"]))
    keys = {name: [one.caption.split()[0] for one in cases] for name, cases in shown.items()}
    middle = (len(ranked) - 4) // 2
    assert keys["worst"] == [row["key"] for row in ranked[:4]]
    assert keys["median"] == [row["key"] for row in ranked[middle : middle + 4]]
    assert keys["best"] == [row["key"] for row in ranked[::-1][:4]]
    for one in (one for cases in shown.values() for one in cases):
        dice = 2 * (one.truth & one.prediction).sum() / (one.truth.sum() + one.prediction.sum())
        assert one.caption.endswith(f"Dice {dice:.3f}")
        assert np.array_equal(one.prediction, np.roll(one.truth, 1, 0))


def test_the_shown_cases_lie_there_as_masks_that_score_what_the_table_says(lung, run):
    """Laid over the dataset's own masks, value by value."""
    (run.folder / "test" / "cases").mkdir(parents=True)
    (run.folder / "test" / "cases" / "stale.png").write_bytes(b"of another evaluation")
    evaluate(run, model=Oracle(lung[2], shift=1))
    of_image = {row["key"]: row for row in table(run, "per_image.csv")}
    rows = table(run, "cases.csv")
    assert [(row["place"], int(row["rank"])) for row in rows] == [
        (place, rank) for place in ("worst", "median", "best") for rank in (1, 2, 3, 4)
    ]
    assert {path.stem for path in (run.folder / "test" / "cases").iterdir()} == {row["key"] for row in rows}
    for row in rows:
        predicted = images.read_png(run.folder / "test" / "cases" / f"{row['key']}.png")
        truth = images.read_png(lung[1] / "masks" / f"{row['key']}.png")
        assert set(np.unique(predicted)) <= {0, 255}
        assert np.array_equal(predicted, np.roll(truth, 1, 0))
        for name in ("patient", "dice", "foreground", "predicted", "outcome"):
            assert row[name] == of_image[row["key"]][name], name


def test_the_calibration_table_comes_to_the_calibration_errors(lung, run):
    evaluate(run, model=Oracle(lung[2], shift=1, sure=0.9))
    for pixels, metric in (("all", "ece"), ("relevant", "ece_relevant")):
        bins = [row for row in table(run, "calibration.csv") if row["pixels"] == pixels]
        filled = [row for row in bins if row["count"] != "0"]
        total = sum(int(row["count"]) for row in bins)
        assert (float(bins[0]["low"]), float(bins[-1]["high"])) == (0, 1)
        assert total == int(measures(run)[metric]["n"])
        apart = sum(int(one["count"]) * abs(float(one["confidence"]) - float(one["frequency"])) for one in filled)
        assert apart / total == pytest.approx(value(run, metric), abs=1e-9)
        for one in filled:
            assert float(one["low"]) - 1e-6 <= float(one["confidence"]) <= float(one["high"]) + 1e-6


def test_each_image_has_the_calibration_error_of_its_own_pixels(lung, run):
    """Sure by 0.9 of each pixel, wrong in some: a bin of 0.1 and one of 0.9, and the error of each is known."""
    evaluate(run, model=Oracle(lung[2], shift=1, sure=0.9))
    rows = table(run, "per_image.csv")
    for row in rows:
        truth = images.read_png(lung[2] / "masks" / f"{row['key']}.png") > 0
        said = np.roll(truth, 1, 0)
        off = abs((truth & said).sum() - 0.9 * said.sum()) + abs((truth & ~said).sum() - 0.1 * (~said).sum())
        assert float(row["ece"]) == pytest.approx(off / truth.size, abs=1e-6)
        assert float(row["ece_relevant"]) > 0
    for patient in table(run, "per_patient.csv"):
        own = [float(row["ece"]) for row in rows if row["patient"] == patient["patient"]]
        assert float(patient["ece"]) == pytest.approx(np.mean(own))


def test_a_run_that_is_being_trained_keeps_no_threshold(lung, tmp_path):
    """Its model may be replaced yet, and a threshold belongs to the model that it was chosen for."""
    run = run_of(lung[1], tmp_path / "runs" / "1", threshold=None, ended="")
    done = evaluate(run, model=Hesitant(lung[1]))
    assert done.document()["threshold"] is not None
    assert Run.open(run.folder).record.threshold is None
