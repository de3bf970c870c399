"""A run on a page: by hand, so that every number is known; and as training and evaluation leave it."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner
from pages import dataset

from imagemask import images, manifest, report, split
from imagemask.errors import InputError
from imagemask.report import run, shown
from imagemask.report.run_folder import RunFolder
from imagemask.report.shown import Case, drawing, near
from imagemask.split import Request

NAMES = ("nucleus", "cell")
SECTIONS = ["run", "run-curves", "run-scores", "run-patients", "run-calibration", "run-cases"]
SETTINGS = """
seed = 3
[model]
name = "unet"
levels = 4
filters = 8
[schedule]
epochs = 20
[loss]
name = "focal"
[optimiser]
name = "adamw"
learning_rate = 0.001
[augmentation]
enabled = true
rotation = 15.0
flip_vertical = false
"""
HISTORY = (
    "epoch,loss,val_loss,val_foreground_dice,foreground_dice\n1,0.9,0.8,0.3,0.2\n2,0.5,0.4,0.7,0.6\n3,0.4,nan,0.6,0.7\n"
)


def made(folder, home, **record):
    """A run over the dataset ``home``, evaluated on three of its patients; ``record`` goes into run.json."""
    (folder / "test" / "cases").mkdir(parents=True)
    rows = manifest.read(home)
    facts = {
        "schema": "imagemask.run/1",
        "dataset": "drawn",
        "folder": "../drawn",
        "digest": manifest.digest_of_pairs(rows, manifest.read_dataset(home)),
        "labels": list(NAMES),
        "mask_values": [1, 2],
        "recipe": {"window": ["-1350:150"]},
    }
    facts |= {
        "height": 40,
        "width": 48,
        "channels": 1,
        "batch_size": 4,
        "epoch": 2,
        "threshold": 0.35,
        "ended": "early",
    }
    (folder / "run.json").write_text(json.dumps(facts | record))
    (folder / "settings.toml").write_text(SETTINGS)
    (folder / "history.csv").write_text(HISTORY)
    (folder / "environment.json").write_text(
        json.dumps([{"backend": "jax", "versions": {"keras": "3.9", "jax": "0.5"}}])
    )
    evaluated(folder / "test", home, rows)
    return folder


def evaluated(test, home, rows):
    """What evaluate writes; every prediction is the truth moved down by a pixel."""
    plain = rows[(rows["variant"] == "") & (rows["foreground"] > 0)].head(6)
    keys, patients = plain["key"].tolist(), plain["patient"].tolist()
    scores = np.linspace(0.5, 1, len(keys)).tolist()
    measured = ["metric,class,value,low,high,interval,unit,n,of,undefined,all_background"]
    for name in ("(all)", *NAMES):
        measured += [f"dice,{name},0.75,0.61,0.88,0.61 to 0.88,,9,patients,0,"]
    measured += ["hd95,(all),3.25,,,n/a (2 patients),mm,2,patients,4,", "missed,(all),1.0,,,,,6,images,0,"]
    measured += ["ece,,0.0123,,,,,100,pixels,0,", "ece_relevant,,0.2,,,,,10,pixels,0,"]
    measured += ["pooled_dice_coef_multiclass,,0.9976,,,,,6,images,0,0.9954", "pooled_iou_coef,,0.5,,,,,6,images,0,0.0"]
    write(test / "evaluation.csv", measured)
    images_ = [f"{k},{p},(all),{d}" for k, p, d in zip(keys, patients, scores, strict=True)]
    write(test / "per_image.csv", ["key,patient,class,dice", *images_])
    lines = [
        f"{p},{c},3,{d},0.9,,1.5,0,mm"
        for p, d in {"P 1": 0.9, 'P<2>"': 0.4, "P 3": ""}.items()
        for c in ("(all)", *NAMES)
    ]
    write(test / "per_patient.csv", ["patient,class,images,dice,sensitivity,precision,hd95,missed,unit", *lines])
    bins = [f"{which},0.0,0.5,90,0.1,0.05" for which in ("all", "relevant")]
    empty = [f"{which},0.5,1.0,0,," for which in ("all", "relevant")]
    write(test / "calibration.csv", ["pixels,low,high,count,confidence,frequency", *bins, *empty])
    shown_ = [
        f"{k},{place},1,{p},{d},10,12,both"
        for place, k, p, d in zip(shown.PLACES, keys, patients, scores, strict=False)
    ]
    write(test / "cases.csv", ["key,place,rank,patient,dice,foreground,predicted,outcome", *shown_])
    for key in keys[:3]:
        mask = np.roll(images.read_png(home / "masks" / f"{key}.png"), 1, 0)
        (test / "cases" / f"{key}.png").write_bytes(images.encode_png(mask, level=1))
    document = {"split": "test", "statement": "scored on 6 images", "notes": ["distances are in pixels"]}
    (test / "evaluation.json").write_text(json.dumps(document | {"failures": [{"case": "lung_9"}]}))


def write(path, lines):
    path.write_text("\n".join([line.replace('P<2>"', '"P<2>"""') for line in lines]) + "\n")


@pytest.fixture
def home(tmp_path):
    return dataset(tmp_path / "drawn")


@pytest.fixture
def folder(tmp_path, home):
    return made(tmp_path / "run", home)


def pages(folder):
    """Every section, parsed: what is not escaped or not closed would fail."""
    return {one.id: ET.fromstring(f"<div>{one.html}</div>") for one in run.sections(folder)}


def words(found):
    return " ".join("".join(found.itertext()).split())


def rows_of(found, label):
    """The rows of a table, by its label."""
    region = next(one for one in found.iter("div") if one.get("aria-label") == f"Table: {label}")
    return [["".join(cell.itertext()) for cell in row] for row in region.find("table/tbody")]


def test_a_run_has_every_section(folder):
    found = pages(folder)
    assert list(found) == SECTIONS
    assert all(figure.find("svg/title") is not None for one in found.values() for figure in one.iter("figure"))
    for one in found.values():
        assert not any(element.get("style") for element in one.iter())  # the page's policy lets none in


def test_what_was_trained_is_said_in_words(folder):
    said = words(pages(folder)["run"])
    assert "A network (unet) of 4 levels, the first of 8 filters, that reads pictures of 40 x 48 pixels" in said
    assert "1 channel and marks nucleus, cell." in said
    assert "for 3 of at most 20 epochs: early." in said
    assert "the network after epoch 2" in said
    assert "from a probability of 0.35, chosen on the validation set" in said
    facts = pages(folder)["run"].find("dl")
    named = dict(zip([one.text for one in facts.iter("dt")], [one.text for one in facts.iter("dd")], strict=True))
    assert named["Loss"] == "focal"
    assert named["Optimiser"] == "adamw, learning rate 0.001"
    assert named["Augmentation"] == "rotation 15.0"
    assert named["Window"] == "-1350:150"
    assert named["Software"] == "keras 3.9, jax 0.5"


def test_curves_are_those_of_the_history(folder):
    loss, dice = pages(folder)["run-curves"].iter("figure")
    assert (loss.findtext("h3"), dice.findtext("h3")) == ("Loss", "Dice of the foreground")
    assert rows_of(loss, "Loss") == [["1", "0.8", "0.9"], ["2", "0.4", "0.5"], ["3", "n/a", "0.4"]]
    assert "best: epoch 2" in words(loss.find("svg"))


def test_scores_open_with_what_was_scored_and_show_their_intervals(folder):
    found = pages(folder)["run-scores"]
    assert [one.text for one in found.iter("p")][:3] == [
        *("Scored on 6 images.", "Note: distances are in pixels.", "Not scored: lung_9."),
    ]
    table = rows_of(found, "all measures")
    assert table[0] == ["Dice", "(all)", "0.750", "0.61\xa0to\xa00.88", "9 patients"]
    assert [row[1] for row in table[:3]] == ["(all)", *NAMES]
    assert table[3][2:] == ["3.25 mm", "n/a", "2 patients, 4 images have none"]
    assert "0.750 (0.61 to 0.88)" in words(found)


def test_too_few_patients_for_an_interval_are_counted(folder):
    path = folder / "test" / "evaluation.csv"
    path.write_text(path.read_text().replace("0.61,0.88,0.61 to 0.88,,9", ",,n/a (2 patients),,2"))
    assert "There are no 95% intervals: 2 patients are too few." in words(pages(folder)["run-scores"])


def test_pooled_formulas_stand_beside_what_finding_nothing_gets(folder):
    assert rows_of(pages(folder)["run-scores"], "pooled formulas") == [
        ["dice_coef_multiclass", "0.9976", "0.9954"],
        ["iou_coef", "0.5000", "0.0000"],
    ]


def test_every_patient_leads_to_her_slices_the_lowest_first(folder):
    found = pages(folder)["run-patients"]
    table = rows_of(found, "scores by patient")
    assert [row[0] for row in table] == ['P<2>"', "P 1", "P 3"]
    assert table[0][2:] == ["0.400", "0.900", "n/a", "1.5", "0"]
    links = [one.get("href") for one in found.iter("a")]
    assert [unquote(link) for link in links] == ['#patient=P<2>"', "#patient=P 1", "#patient=P 3"]
    assert not any(character in link for link in links for character in ' <>"&')


def test_calibration_gives_both_errors_and_the_diagram(folder):
    found = pages(folder)["run-calibration"]
    assert "off by 0.0123" in words(found)
    assert "by 0.2, which tells more" in words(found)
    assert rows_of(found, "Reliability") == [["0 to 0.5", "90", "0.1", "0.05"], ["0.5 to 1", "0", "n/a", "n/a"]]


def test_cases_show_truth_and_prediction_over_the_picture(folder):
    found = pages(folder)["run-cases"]
    assert [one.text for one in found.iter("h3")] == ["Worst", "Median", "Best"]
    figures = list(found.iter("figure"))
    assert len(figures) == 3
    for figure in figures:
        assert len(list(figure.iter("image"))) == 2
        assert all(one.get("href").startswith("data:image/") for one in figure.iter("image"))
        strokes = [one.get("stroke") for one in figure.iter("path")]
        assert [any(name in one for one in strokes) for name in ("--truth", "--prediction")] == [True, True]
        links = [one.get("href") for one in figure.iter("a")]
        assert links[0].startswith("#pair=")
        assert links[1].startswith("#patient=")
    assert "Dice 0.500" in words(figures[0])


def test_a_case_that_cannot_be_read_says_why_and_the_others_are_shown(folder):
    key = (folder / "test" / "cases.csv").read_text().splitlines()[1].split(",")[0]
    (folder / "test" / "cases" / f"{key}.png").write_bytes(b"no")
    first, *others = pages(folder)["run-cases"].iter("figure")
    assert f"{key}: cannot be shown" in words(first)
    assert all(one.find("svg") is not None for one in others)


@pytest.mark.parametrize(("name", "section"), [("calibration.csv", "run-calibration"), ("cases.csv", "run-cases")])
def test_an_older_evaluation_says_what_to_run_again(folder, name, section):
    (folder / "test" / name).unlink()
    said = words(pages(folder)[section])
    assert "was evaluated before" in said
    assert "imagemask evaluate" in said


def test_a_run_without_scores_or_epochs_says_so(folder):
    (folder / "test" / "evaluation.json").unlink()
    for name in ("history.csv", "settings.toml", "environment.json"):
        (folder / name).unlink()
    found = pages(folder)
    assert list(found) == SECTIONS[:3]
    assert "has no scores on the test set. Run imagemask evaluate" in words(found["run-scores"])
    assert "No epoch was trained yet" in words(found["run-curves"])


def test_a_test_set_without_the_target_has_no_cases(folder):
    path = folder / "test" / "cases.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert "No test image holds the target" in words(pages(folder)["run-cases"])


def test_the_dataset_is_found_only_with_the_pixels_of_the_run(folder, home, tmp_path):
    assert run.dataset_of(folder) == home
    rows = manifest.read(home)
    rows.loc[0, "digest"] = "0" * 64
    manifest.write(home, rows)
    assert run.dataset_of(folder) is None
    assert "holds other pixels by now" in words(pages(folder)["run"])
    assert "test/cases.png" in words(pages(folder)["run-cases"])
    shutil.move(home, tmp_path / "elsewhere")
    assert run.dataset_of(folder) is None
    assert "no longer where it was" in words(pages(folder)["run"])


def test_a_dataset_that_was_split_anew_is_said_to_be(folder, home):
    (folder / "split.csv").write_text("patient,split,fold\na,train,0\nb,test,1\n")
    (home / "split.csv").write_text("patient,split,fold\nb,test,\na,train,\n")
    assert "split in another way" not in words(pages(folder)["run"])
    (home / "split.csv").write_text("patient,split,fold\na,test,0\nb,test,1\n")
    assert "split in another way" in words(pages(folder)["run"])
    (home / "split.csv").unlink()
    assert "split in another way" in words(pages(folder)["run"])
    (folder / "split.csv").write_bytes(b"")  # it was the source's own split
    assert "split in another way" not in words(pages(folder)["run"])


def in_folds(home, folder, fold):
    """The dataset split into three folds, of which the run in ``folder`` was told to test ``fold``."""
    split.split(home, Request(folds=3, resplit=True, layout="none"))
    shutil.copy(home / "split.csv", folder)
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fold": fold}))


def test_a_run_over_a_fold_is_shown_in_the_sets_of_that_fold(folder, home):
    in_folds(home, folder, 1)
    rows = run.rows_of(folder)
    sets = {fold: set(part["split"]) for fold, part in rows.groupby("fold")}
    assert sets == {"0": {"train"}, "1": {"test"}, "2": {"valid"}}
    assert not rows["split"].equals(manifest.read(home)["split"])
    made_ = report.write(folder, folder / "report.html").read_text()
    told = json.loads(re.search(r'id="pairs">(.*?)</script>', made_, re.DOTALL)[1])
    assert [told["split"]["names"][at] for at in told["split"]["at"]] == rows["split"].tolist()
    images_ = int(((rows["split"] == "test") & (rows["variant"] == "")).sum())
    table = re.search(r'<th scope="row">test</th>.*?</tr>', made_, re.DOTALL)[0]
    assert re.findall(r'number">(\d+)<', table)[1] == str(images_)
    assert "the dataset&#39;s own split, not of that of this run, whose test set is fold 1" in made_
    assert "own split" not in run.about_audit(made(folder.parent / "other", home))


def test_the_statistics_of_a_run_over_a_fold_are_of_that_fold(folder, home, tmp_path, monkeypatch):
    in_folds(home, folder, 2)
    seen = []
    monkeypatch.setattr(report.statistics, "write", lambda _, rows, __: seen.append(rows) or [])
    report.pictures(folder, tmp_path)
    assert seen[0]["split"].tolist() == run.rows_of(folder)["split"].tolist()
    assert set(seen[0]["fold"][seen[0]["split"] == "test"]) == {"2"}


def test_another_fold_of_the_same_folds_is_no_other_split(folder, home):
    in_folds(home, folder, 1)
    split.split(home, Request(folds=3, fold=2))
    assert (home / "split.csv").read_bytes() != (folder / "split.csv").read_bytes()
    assert "split in another way" not in words(pages(folder)["run"])
    split.split(home, Request(folds=6, resplit=True, layout="none"))
    assert "split in another way" in words(pages(folder)["run"])
    assert run.rows_of(folder)["split"].tolist() == manifest.read(home)["split"].tolist()


@pytest.mark.parametrize("epoch", [None, "", "second"])
def test_a_run_whose_best_epoch_is_not_known_has_its_curves(folder, home, epoch):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epoch": epoch}))
    assert "best: epoch" not in words(pages(folder)["run-curves"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("settings.toml", "= 3"),
        ("history.csv", "epochs\n1\n"),
        ("history.csv", "epoch,loss\n1\n"),
        ("test/evaluation.csv", "metric,value\ndice,1\n"),
        ("test/evaluation.json", "nothing"),
        ("test/per_patient.csv", b"patient\n\xff\n"),
        ("test/cases.csv", "key\na\n"),
    ],
)
def test_a_damaged_file_is_named_with_a_remedy(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=name.split("/")[-1]) as raised:
        run.sections(folder)
    assert raised.value.remedy
    assert ("imagemask evaluate" in raised.value.remedy) == name.startswith("test/")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        RunFolder.open(tmp_path)


def test_the_near_part_holds_all_that_is_marked_and_lies_within():
    truth, prediction = np.zeros((2, 40, 60), np.uint8)
    truth[2:5, 50:60], prediction[6:9, 40:44] = 1, 2
    top, left, bottom, right = near(Case(np.zeros((40, 60), np.uint8), truth, prediction))
    assert (top >= 0, top <= 2, bottom >= 9, bottom < 40) == (True,) * 4
    assert (left > 0, left <= 40, right) == (True, True, 60)
    nothing = np.zeros_like(truth)
    assert near(Case(nothing, nothing, nothing)) == (0, 0, 40, 60)


@pytest.mark.parametrize("shape", [(40, 60), (600, 300), (7, 7)])
def test_outlines_lie_where_the_masks_do(shape):
    """A mask's first and last column, in the drawing, are those of the outline that is drawn over the whole picture."""
    truth = np.zeros(shape, np.uint8)
    truth[1:-1, shape[1] // 2 : -1] = 1
    found = ET.fromstring(str(drawing(Case(np.zeros((*shape, 3), np.uint8), truth, truth * 0), "t", "d")))
    image, group = found.find("image"), found.find("g")
    place, scale = group.get("transform").removesuffix(")").split(") scale(")
    x = float(place.removeprefix("translate(").split(" ")[0])
    path = group.find("path").get("d")
    start = float(path[1:].split(" ")[0])
    a_pixel = float(image.get("width")) / shape[1]
    assert x == pytest.approx(float(image.get("x")))
    assert x + start * float(scale) == pytest.approx(x + shape[1] // 2 * a_pixel, abs=a_pixel)


def test_what_an_evaluation_writes_is_what_a_report_reads(tmp_path):
    """Of a model that finds the truth one pixel lower."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    from oracles import Oracle, run_of, workspace

    from imagemask.learn.evaluate import evaluate

    home = workspace(tmp_path, patients=12, side=32, slices=6)
    made_ = run_of(home, tmp_path / "runs" / "1")
    done = evaluate(made_, model=Oracle(home, shift=1))
    assert run.dataset_of(made_.folder) == home.resolve()
    found = pages(made_.folder)
    assert list(found) == SECTIONS
    assert words(found["run-scores"]).casefold().startswith(done.statement)
    assert f"{done.value('dice'):.3f}" in words(found["run-scores"])
    figures = list(found["run-cases"].iter("figure"))
    assert figures
    assert not [one for one in figures if one.find("svg") is None]
    assert len(list(found["run-calibration"].iter("circle"))) >= 2


@pytest.mark.slow
def test_a_run_that_was_trained_has_its_page(tmp_path, monkeypatch):
    pytest.importorskip("keras")
    pytest.importorskip("matplotlib")
    from oracles import workspace

    from imagemask.cli import main

    workspace(tmp_path, patients=10, side=32, slices=6)
    (tmp_path / "small.toml").write_text("[model]\nlevels = 2\nfilters = 4\n[schedule]\nepochs = 2\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["train", "--config", "small.toml", "--out", "run"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = pages(tmp_path / "run")
    assert list(found) == SECTIONS
    assert "for 2 of at most 2 epochs" in words(found["run"])
    assert len(rows_of(found["run-curves"], "Loss")) == 2
    assert run.dataset_of(tmp_path / "run") is not None
