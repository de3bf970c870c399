"""The audit as a whole: report, exit codes, printing; on our datasets, and on real pairs as the seeds split them."""

import dataclasses
import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import trees
from click.testing import CliRunner
from oracles import workspace

from imagemask import audit, images, manifest
from imagemask.audit import CODES, SEVERITIES, AuditReport, Finding, leaks, looks
from imagemask.cli import main, show
from imagemask.verify import command

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"


def call(*words, code=0):
    done = CliRunner().invoke(main, ["audit", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A phantom dataset, split by patient."""
    return workspace(tmp_path_factory.mktemp("sound"), patients=10, side=128, slices=12)


@pytest.fixture(scope="module")
def leaking(sound, tmp_path_factory):
    """Its manifest and pictures, with a row of a patient in another split; the folder, the patient and the report."""
    folder = tmp_path_factory.mktemp("leaking")
    for part in ("images", "masks", "dataset.json"):
        (folder / part).symlink_to(sound / part)
    rows = manifest.read(sound)
    several = rows["patient"][rows["patient"].duplicated()].iloc[0]
    place = rows.index[rows["patient"] == several][-1]
    now = "test" if rows["split"][place] != "test" else "train"
    rows.loc[place, "split"] = now
    manifest.write(folder, rows)
    return folder, several, audit.audit(folder)


@pytest.fixture
def again(leaking, monkeypatch):
    """The command prints a report that is there already."""
    monkeypatch.setattr(audit, "audit", lambda *_, **__: leaking[2])
    return leaking


@pytest.fixture
def real(tmp_path):
    """The real pancreas slices as the seeds split them, and where each file went."""
    if not (REAL / "pancreas").is_dir():
        pytest.skip("the real pairs are not here")
    folder = tmp_path / "Pancreas"
    return folder, trees.shuffled(REAL / "pancreas", folder, random=random.Random(137))


# Ours


def test_a_sound_dataset_has_no_error_and_no_warning(sound):
    report = audit.audit(sound, workers=1)
    assert {one.severity for one in report.findings} <= {"advice"}
    assert report.exit_code() == report.exit_code("error") == 0
    rows = manifest.read(sound)
    assert (report.pairs, report.patients) == (len(rows), rows["patient"].nunique())
    assert report.splits == rows["split"].value_counts().to_dict()
    assert f"No patient is in two splits ({report.patients} patients, {report.pairs} pairs)." in report.verdicts


def test_a_row_that_was_moved_is_found_by_its_patient(leaking):
    folder, patient, report = leaking
    (one,) = [one for one in report.findings if one.code == "AU101"]
    assert one.message.startswith(f"patient {patient} is in ")
    lines = (folder / "manifest.csv").read_text().splitlines()
    assert [lines[line - 1].split(",")[0] for line in one.lines] == [Path(file).stem for file in one.files]


def test_the_report_is_the_same_for_any_number_of_workers(sound, monkeypatch):
    monkeypatch.setattr(looks, "_AT_A_TIME", 8)
    assert audit.audit(sound, workers=2) == audit.audit(sound)


def test_findings_are_in_order(leaking):
    findings = leaking[2].findings
    assert [one.code for one in findings] == sorted(one.code for one in findings)


@pytest.mark.parametrize(
    ("severities", "fail_on", "code"),
    [
        ((), "warning", 0),
        (("advice",), "warning", 0),
        (("advice", "warning"), "warning", 5),
        (("warning",), "error", 0),
        (("advice", "error"), "error", 5),
        (("error",), "warning", 5),
    ],
)
def test_advice_never_fails_and_warnings_only_where_asked(severities, fail_on, code):
    findings = [Finding("AU000", severity, "odd") for severity in severities]
    report = AuditReport("here", 1, 0, {}, (), findings, ())
    assert report.exit_code(fail_on) == code


# Codes


def test_every_code_is_documented_whole():
    assert list(CODES) == sorted(CODES)
    for code, one in CODES.items():
        assert re.fullmatch(r"AU[0-4]\d\d", code)
        assert one.severity in SEVERITIES
        assert all(text and not text.endswith(".") and "|" not in text for text in (one.title, one.why, one.remedy))


def test_the_page_of_codes_is_fresh():
    spec = importlib.util.spec_from_file_location("audit_codes", ROOT / "docs" / "audit_codes.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.page(), "run python docs/audit_codes.py"
    for code in CODES:
        assert f"| {code} |" in text


# The command


def test_it_takes_the_dataset_of_the_workspace(sound, monkeypatch):
    monkeypatch.chdir(sound.parents[1])
    assert f"{len(manifest.read(sound))} pairs" in call()


def test_people_are_told_what_why_and_what_to_do(again):
    folder, patient, report = again
    output = call(folder, code=5)
    said = CODES["AU101"]
    head = next(line for line in output.splitlines() if line.startswith("error AU101: "))
    assert said.title in head
    assert "1 finding, " in head
    for text in (f"why: {said.why}", f"do:  {said.remedy}", f"patient {patient} is in "):
        assert text in output
    assert output.splitlines()[-1].startswith(f"{folder}: {len(manifest.read(folder))} pairs: ")
    for verdict in report.verdicts:
        assert verdict in output.splitlines()


def test_json_is_the_report(again):
    folder, _, report = again
    printed = json.loads(call(folder, "--json", code=5))
    assert printed.pop("schema") == "imagemask.audit/1"
    assert printed == json.loads(json.dumps(dataclasses.asdict(report)))
    assert printed["findings"][0].keys() == {"code", "severity", "message", "files", "lines"}


def test_annotations_are_workflow_commands_at_the_line_of_the_manifest(again):
    folder, patient, report = again
    lines = call(folder, "--annotations", code=5).splitlines()
    assert len(lines) == len(report.findings)
    assert all(line.startswith(f"::{line.split()[0][2:]} file={folder}/manifest.csv") for line in lines)
    error = next(line for line in lines if line.startswith("::error "))
    leak = next(one for one in report.findings if one.code == "AU101")
    assert error.startswith(f"::error file={folder}/manifest.csv,line={leak.lines[0]},title=AU101 a patient")
    assert f"::patient {patient} is in " in error
    kinds = {"error": "error", "warning": "warning", "advice": "notice"}
    assert [line.split(" ")[0] for line in lines] == [f"::{kinds[one.severity]}" for one in report.findings]


def test_a_foreign_tree_s_annotation_is_at_its_file(tmp_path):
    trees.write(tmp_path, "train/P1_1", "train/P2_1", "test/P1_2")
    lines = call(tmp_path, "--patient", r"(P\d)", "--annotations", code=5).splitlines()
    assert any(line.startswith(f"::error file={tmp_path}/test/images/P1_2.png,title=AU101 ") for line in lines)


def test_a_command_is_escaped():
    made = command("notice", Path("a,b:c"), "50%\nof", line=3, title="x, y")
    assert made == "::notice file=a%2Cb%3Ac,line=3,title=x%2C y::50%25%0Aof"


def test_fail_on_error_lets_warnings_pass(tmp_path):
    trees.write(tmp_path, *(f"train/P{n}_1" for n in range(6)), *(f"test/P{n}_2" for n in range(6, 12)))
    (tmp_path / "train/masks/P0_1.png").unlink()
    assert "warning AU002" in call(tmp_path, "--patient", r"(P\d+)_", code=5)
    assert "warning AU002" in call(tmp_path, "--patient", r"(P\d+)_", "--fail-on", "error")


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["nowhere"], 4, "not there"),
        (["empty"], 4, "Known are train/images"),
        (["tree", "--patient", "("], 2, "regular expression"),
        (["tree", "--patient", "(Q)"], 2, "finds nothing"),
        (["tree", "--workers", "0"], 2, "--workers"),
        (["tree", "--fail-on", "advice"], 2, "--fail-on"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(tmp_path, monkeypatch, words, code, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    trees.write(tmp_path / "tree", "train/a")
    output = call(*words, code=code)
    assert why in output
    assert len(output.splitlines()) == 1


def test_nothing_is_changed(sound):
    def state():
        return {path: path.stat().st_mtime_ns for path in sorted(sound.rglob("*"))}

    before = state()
    call(sound)
    assert state() == before


# Foreign and real


def test_a_damaged_picture_is_named_and_the_rest_is_judged(tmp_path):
    trees.write(tmp_path, "train/P1_1", "train/P2_1", "test/P1_2")
    (tmp_path / "train/images/P2_1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = audit.audit(tmp_path, patient=r"(P\d)")
    found = {one.code: one for one in report.findings}
    assert found["AU001"].files == ("train/images/P2_1.png",)
    assert found["AU101"].message == "patient P1 is in train (1 image) and test (1 image)"


def test_real_slices_split_as_the_seeds_do_leak_by_name_and_number(real):
    folder, went = real
    where = {}
    for name, split in went.items():
        where.setdefault(name[:13], []).append(split)
    leaking = {patient: splits for patient, splits in where.items() if len({*splits}) > 1}
    assert len(leaking) > 10
    report = audit.audit(folder, patient=r"(PANCREAS_\d+)")
    found = {one.message.split()[1]: one for one in report.findings if one.code == "AU101"}
    assert found.keys() == leaking.keys()
    for patient, one in found.items():
        counts = {split: int(number) for split, number in re.findall(r"(\w+) \((\d+) image", one.message)}
        assert counts == {split: where[patient].count(split) for split in {*where[patient]}}
        assert {Path(file).name for file in one.files} == {name for name in went if name.startswith(patient)}
    tests = [name for name, split in went.items() if split == "test"]
    seen = sum("train" in where[name[:13]] for name in tests)
    assert any(f"{seen} of {len(tests)} test images" in said for said in report.verdicts)
    assert report.exit_code() == 5


def test_real_slices_without_an_expression_are_not_judged_and_it_is_said(real):
    tree, findings = audit.open_tree(real[0])
    assert (findings, list(leaks.findings(tree))) == ([], [])
    (said,) = leaks.unjudged(tree)
    assert "Give --patient REGEX" in said
    assert r"[A-Za-z]+[-_]?\d+" in said


def test_pictures_of_two_sizes_do_not_stop_an_audit(tmp_path):
    trees.write(tmp_path, "train/a", "test/b")
    for kind in ("images", "masks"):
        data = images.encode_png(np.zeros((5, 9), np.uint8), level=1)
        (tmp_path / "train" / kind / "a.png").write_bytes(data)
    assert audit.audit(tmp_path).pairs == 2


def test_progress_counts_every_pair_and_the_bar_ends_full(tmp_path, monkeypatch, capsys):
    trees.write(tmp_path, *(f"train/{n}" for n in range(5)))
    steps = []
    audit.audit(tmp_path, progress=lambda ended, of: steps.append((ended, of)))
    assert steps == [(5, 5)]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = show.Bar("audit")
    for ended in (2, 3):
        bar.advance(ended, 5)
    bar.finish()
    assert "5/5" in capsys.readouterr().err
