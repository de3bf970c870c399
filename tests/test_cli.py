"""The command line: what is parsed, what is printed where, and every exit code."""

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import crash
import fakes
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import Field

from imagemask import files, registry, testing
from imagemask.cli import main
from imagemask.errors import CaseError
from imagemask.types import Options


def call(*words, code=0):
    """Run a command in this process; stdout. Fails on another exit code."""
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="imagemask")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return testing.phantom("lung-tumor", tmp_path_factory.mktemp("raw") / "lung", patients=6, size=32, slices=8)


@pytest.fixture
def workspace(raw, tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "lung-tumor").symlink_to(raw)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_three_commands_without_arguments_do_the_whole_job(workspace):
    call("check", "lung-tumor")
    assert "6 discovered = 6 built + 0 quarantined + 0 excluded" in call("build", "lung-tumor").stdout
    assert "train" in call("split", "--by-patient").stdout
    assert "no findings" in call("verify").stdout
    assert call("preview").stdout == "datasets/lung-tumor/preview.png\n"
    assert (workspace / "datasets" / "lung-tumor" / "preview.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["list"], "list"),
        (["info", "lung-tumor"], "info"),
        (["check", "lung-tumor"], "check"),
        (["build", "lung-tumor", "--dry-run"], "estimate"),
        (["build", "lung-tumor"], "build"),
        (["build", "lung-tumor", "--out", "datasets/lung-tumor", "--shard", "1/2"], "build"),
        (["merge", "datasets/lung-tumor"], "merge"),
        (["split"], "split"),
        (["verify", "--fast"], "verify"),
        (["manifests"], "manifests"),
    ],
)
def test_every_command_that_reports_prints_one_json_object(workspace, words, schema):
    if schema in ("merge", "split", "verify"):
        call("build", "lung-tumor")
    done = call(*words, "--json")
    assert json.loads(done.stdout)["schema"] == f"imagemask.{schema}/1"
    assert done.stderr == ""


def test_a_dry_run_writes_nothing(workspace):
    output = call("build", "lung-tumor", "--dry-run").stdout
    assert "6 to build, 0 excluded" in output
    assert "measured on lung_" in output
    assert not (workspace / "datasets").exists()


def test_a_dry_run_after_a_build_says_that_nothing_is_left(workspace):
    call("build", "lung-tumor")
    assert call("build", "lung-tumor", "--dry-run").stdout == "cases  0 to build, 0 excluded, 6 done before\n"
    assert "holds a build of another recipe" in call("build", "lung-tumor", "--dry-run", "--size", "32", code=2).stderr


def test_a_dry_run_of_a_shard_in_which_nothing_can_be_measured_says_so(workspace):
    done = call("build", "lung-tumor", "--dry-run", "--shard", "1/2", "--crop", "24")
    assert (done.stdout, "nothing could be measured" in done.stderr) == ("cases  3 to build, 0 excluded\n", True)


def test_shards_say_what_comes_next(workspace):
    assert "imagemask merge datasets/lung-tumor" in call("build", "lung-tumor", "--shard", "1/2").stdout
    call("build", "lung-tumor", "--shard", "2/2")
    assert "6 discovered" in call("merge", "datasets/lung-tumor").stdout


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(workspace, shard):
    assert "is not I/N" in call("build", "lung-tumor", "--shard", shard, code=2).stderr


def test_quarantined_cases_are_named_and_exit_3(tmp_path, monkeypatch):
    fake = fakes.install(monkeypatch)
    monkeypatch.setattr(registry, "names", lambda: [fakes.NAME])
    fakes.raw_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    fake.raises["b"] = CaseError("bad_thing", "the thing is bad", remedy="Mend it")
    done = call("build", "fake", "--raw", "raw", "--workers", 1, code=3)
    assert "quarantined  b: b.npy: the thing is bad [bad_thing]. Mend it" in done.stdout
    call("build", "fake", "--raw", "raw", "--workers", 1, "--fail-fast", code=4)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["build", "lung-tumour"], 2, "Did you mean lung-tumor?"),
        (["build", "nothing"], 2, "There are: "),
        (["build", "lung-tumor", "--raw", "away"], 4, "imagemask info lung-tumor"),
        (["build", "lung-tumor", "--out", "raw/lung-tumor/out"], 2, "lie inside one another"),
        (["build", "lung-tumor", "--window", "heart"], 2, "heart"),
        (["build", "lung-tumor", "--size", "3"], 2, "--size"),
        (["info", "nothing"], 2, "There are: "),
        (["split"], 2, "there is no dataset here"),
        (["verify", "away"], 4, "there is no manifest"),
        (["build", "--raw", "away"], 2, "NAME is missing: `imagemask build NAME --raw ...`, NAME one of cervical"),
        (["check", "--raw", "away", "lung-tumor"], 2, "NAME is missing: `imagemask check NAME --raw ...`"),
        (["check", "nothing"], 2, "There are: "),
        (["check", "folder", "--raw", "raw", "--patient", "P"], 2, "no group holds the patient"),
        (["merge", "away"], 4, "holds no build"),
        (["check", "lung-tumor", "--raw", "away"], 4, ""),
        (["phantom", "lung-tumor"], 2, "is there already"),
        (["manifests", "away.toml"], 4, "away.toml"),
        (["spilt"], 2, "Did you mean 'split'? (imagemask --help)"),
        (["--sizes"], 2, "No such option '--sizes'"),
        (["build", "lung-tumor", "--sizee", "3"], 2, "(imagemask build lung-tumor --help)"),
        (["split", "--by", "nobody"], 2, "'nobody' is not one of"),
        (["merge"], 2, "Missing argument 'DATASET'"),
    ],
)
def test_what_is_refused_is_one_line_on_stderr(workspace, words, code, said):
    done = call(*words, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.output
    if said:
        assert done.stderr.startswith("imagemask: ")
        assert len(done.stderr.splitlines()) == 1


def test_findings_exit_5_and_can_be_annotations(workspace, monkeypatch):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    call("build", "lung-tumor")
    call("split")
    key = (workspace / "datasets" / "lung-tumor" / "manifest.csv").read_text().splitlines()[1].split(",")[0]
    (workspace / "datasets" / "lung-tumor" / "masks" / f"{key}.png").unlink()
    assert f"masks/{key}.png (manifest.csv, line 2): IM012 " in call("verify", code=5).stdout
    annotated = call("verify", "--annotations", code=5).stdout
    assert all(line.startswith("::error file=datasets/lung-tumor/") for line in annotated.splitlines())
    (workspace / ".git").mkdir()
    monkeypatch.chdir(workspace / "datasets" / "lung-tumor")
    assert call("verify", "--annotations", code=5).stdout == annotated


def test_a_split_by_patient_and_by_something_else_is_refused(workspace):
    call("build", "lung-tumor")
    for words in (("--by-patient", "--by", "image"), ("--by", "group", "--by-patient")):
        assert "--by-patient and --by" in call("split", *words, "--resplit", code=2).stderr
    assert not (workspace / "datasets" / "lung-tumor" / "split.csv").exists()
    call("split", "--by-patient", "--by", "patient")


@pytest.mark.parametrize("command", ["verify", "audit", "manifests"])
def test_two_forms_at_once_are_refused_before_any_work(command):
    said = call(command, "--annotations", "--json", code=2).stderr
    assert "--annotations and --json exclude each other" in said


def test_findings_in_source_manifests_exit_5(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\n')
    assert "IM101" in call("manifests", tmp_path / "mine.toml", code=5).stdout
    assert call("manifests", tmp_path / "mine.toml", "--annotations", code=5).stdout.startswith("::error ")


def test_a_source_without_a_phantom_says_so(tmp_path, monkeypatch):
    fakes.install(monkeypatch)
    assert "fake has no phantom" in call("phantom", "fake", tmp_path / "raw", code=2).stderr


def test_info_tells_how_to_get_it():
    output = call("info", "pancreas").stdout
    assert "excluded  PANCREAS_0025" in output
    assert "How to get it:\n  1. " in output
    assert "CC-BY-3.0" in output


class Sample(Options):
    """One field of each kind."""

    flag: bool = Field(default=False, description="a flag")
    number: int | None = Field(default=None, description="a number")
    kind: Literal["a", "b"] = Field(default="a", description="a choice")
    many: tuple[str, ...] = Field(default=(), description="several")
    text: str = Field(default="x", description="a text")


def test_fields_of_options_become_options(tmp_path, monkeypatch):
    fake = fakes.install(monkeypatch, fakes.Fake(Options=Sample))
    monkeypatch.setattr(registry, "names", lambda: [fakes.NAME])
    fakes.raw_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = []
    discover = fake.discover
    monkeypatch.setattr(
        fake, "discover", lambda raw, options: seen.append(options) or discover(raw, options), raising=False
    )
    words = ["--flag", "--number", "3", "--kind", "b", "--many", "p", "--many", "q"]
    call("build", "fake", "--raw", "raw", "--workers", 1, *words)
    assert seen[0] == Sample(flag=True, number=3, kind="b", many=("p", "q"), text="x")
    recipe = json.loads((tmp_path / "datasets" / "fake" / "dataset.json").read_text())["recipe"]
    assert recipe["options"] == {"flag": True, "number": 3, "kind": "b", "many": ["p", "q"], "text": "x"}
    assert "A choice" in call("build", "fake", "--help").stdout


def test_a_window_of_three_makes_colour(workspace):
    call("build", "lung-tumor", "--window", "lung,mediastinum,-100:240")
    document = json.loads((workspace / "datasets" / "lung-tumor" / "dataset.json").read_text())
    assert document["recipe"]["window"] == ["-1350:150", "-125:225", "-100:240"]


def test_blanks_after_commas_do_not_matter(workspace):
    call("build", "lung-tumor", "--window", " lung, bone ,-100:240")
    document = json.loads((workspace / "datasets" / "lung-tumor" / "dataset.json").read_text())
    assert document["recipe"]["window"] == ["-1350:150", "-500:1300", "-100:240"]


def test_a_dataset_can_be_named_as_it_was_built_or_by_its_manifest(workspace):
    call("build", "lung-tumor", "--shard", "1/1")
    call("merge", "lung-tumor")
    call("build", "lung-tumor", "--out", "datasets/other", "--size", "48")
    call("split", "lung-tumor")
    assert "no findings" in call("verify", "lung-tumor").stdout
    assert "no findings" in call("verify", "datasets/lung-tumor/manifest.csv").stdout
    assert call("preview", "other").stdout == "datasets/other/preview.png\n"


def test_a_preview_is_a_png_in_a_folder_that_is_there(workspace):
    call("build", "lung-tumor")
    assert "sheet.jpg: a preview is a PNG" in call("preview", "--out", "sheet.jpg", code=2).stderr
    assert "nope: there is no such folder" in call("preview", "--out", "nope/sheet.png", code=4).stderr


def test_the_next_command_after_a_phantom_is_one_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--patients", 3, "--size", 32, "--slices", 8]
    for where in ([], ["raw/lung-tumor/"], ["a folder"]):
        if where:
            shutil.rmtree("raw", ignore_errors=True)
        *_, following = call("phantom", "lung-tumor", *where, *small).stdout.split("Next: imagemask ")
        assert call(*shlex.split(following)).stdout.splitlines()[-1].startswith("complete")
        assert ("--raw" in following) is (where == ["a folder"])


def test_a_check_promises_no_more_than_it_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lung-tumor", "esophageal-cancer"):
        call("phantom", name, "--patients", 3, "--size", 32, "--slices", 8)
    assert call("check", "esophageal-cancer").stdout.splitlines()[-1] == "complete"
    assert call("check", "lung-tumor").stdout.splitlines()[-1] == (
        "complete, as far as labels and the first slice of each case show: the others only a build reads"
    )
    assert json.loads(call("check", "lung-tumor", "--json").stdout)["first_slice_only"] == 3
    (label,) = Path("raw/lung-tumor").rglob("labelsTr/lung_053.nii.gz")
    volume = nibabel.load(label)
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.dataobj) * 2, volume.affine), label)
    said = call("check", "lung-tumor", code=3).stdout.splitlines()
    assert "quarantine   lung_053: the label holds values other than 0, 1: 0 (" in said[-2]
    assert said[-1] == "incomplete: a build goes on with what is there"


def test_what_may_not_be_read_is_not_called_unwritable(workspace, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "raw/lung-tumor/Task06_Lung")

    monkeypatch.setattr(files, "source_root", refuse)
    said = call("build", "lung-tumor", code=4).stderr
    assert said.startswith("imagemask: raw/lung-tumor/Task06_Lung: Permission denied. Check the permissions")
    assert len(said.splitlines()) == 1
    said = call("check", "lung-tumor", code=4).stdout
    assert "a build would stop: raw/lung-tumor/Task06_Lung: cannot be read: Permission denied" in said


def test_a_full_disk_says_so(workspace, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "datasets/x")

    monkeypatch.setattr(files, "source_root", refuse)
    assert "datasets/x: cannot be written: No space left" in call("build", "lung-tumor", code=4).stderr


def test_check_takes_the_options_of_build(tmp_path, monkeypatch):
    fake = fakes.install(monkeypatch, fakes.Fake(Options=Sample))
    monkeypatch.setattr(registry, "names", lambda: [fakes.NAME])
    fakes.raw_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = []
    discover = fake.discover
    monkeypatch.setattr(
        fake, "discover", lambda raw, options: seen.append(options) or discover(raw, options), raising=False
    )
    call("check", "fake", "--raw", "raw", "--flag", "--number", "3", "--kind", "b", "--many", "p", "--many", "q")
    assert seen == [Sample(flag=True, number=3, kind="b", many=("p", "q"), text="x")]
    assert "--number" in call("check", "fake", "--help").stdout


def test_two_datasets_are_an_error_that_lists_them(workspace):
    call("build", "lung-tumor")
    call("build", "lung-tumor", "--out", "datasets/other", "--size", "48")
    done = call("split", code=2)
    assert "2 datasets here: datasets/lung-tumor, datasets/other" in done.stderr
    call("split", "datasets/other")


def test_a_stale_layout_is_said(workspace):
    call("build", "lung-tumor")
    call("split")
    call("build", "lung-tumor", "--replace", "--size", "48")
    done = call("build", "lung-tumor", "--size", "48")
    assert "run imagemask split" in done.stderr


def test_ctrl_c_says_how_to_go_on(workspace):
    """A real process, a real signal, in the midst of its cases."""
    testing.phantom("lung-tumor", workspace / "raw" / "large", patients=8, size=64, slices=12)
    command = "build lung-tumor --raw raw/large --workers 1"
    stopped, _ = crash.run(crash.hook(workspace / "hooks"), workspace, command, at=20, how="ctrl-c")
    assert stopped.returncode == 130, stopped.stderr
    assert "run the same command again to go on" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    kept = len(list((workspace / "datasets/lung-tumor/fragments").glob("lung_*.json")))
    assert 1 <= kept < 8
    assert f"({kept} were done before)" in call(*command.split()).stdout


def on_a_terminal(*words):
    """A command in a process whose stderr is a real terminal: what is drawn there, and stdout."""
    mine, its = os.openpty()
    command = [sys.executable, "-m", "imagemask", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, env=environment) as process:
        too_long = threading.Timer(120, process.kill)
        too_long.start()
        os.close(its)
        drawn = b""
        with contextlib.suppress(OSError):  # Linux' way to say that the other end is closed
            while piece := os.read(mine, 1 << 12):
                drawn += piece
        os.close(mine)
        printed = process.stdout.read().decode()
        too_long.cancel()
    assert process.returncode == 0, drawn
    return drawn.decode(), printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "lung-tumor"], [r"^looking through raw/lung-tumor\r\n", r"check lung-tumor .* 6/6\b"]),
        (["build", "lung-tumor"], [r"^looking through raw/lung-tumor\r\n", r"build lung-tumor .* 6/6 .*\d\d slices"]),
        (["verify"], [r"verify .* ([1-9]\d*)/\1\b"]),
        (["audit", "--fail-on", "error"], [r"audit .* ([1-9]\d*)/\1\b"]),
    ],
    ids=["check", "build", "verify", "audit"],
)
def test_what_takes_long_says_how_far_it_is_on_a_terminal_only(words, expected, workspace):
    if words[0] in ("verify", "audit"):
        assert "\r" not in call("build", "lung-tumor").stderr
        call("split")
    drawn, printed = on_a_terminal(*words)
    assert [part for part in expected if not re.search(part, drawn)] == []
    assert "\r" not in printed
    quiet = call(*words)
    assert "looking" not in quiet.stderr
    assert "\r" not in quiet.output


def test_a_bar_counts_no_slices_where_none_are_read(monkeypatch):
    from imagemask.cli import show

    written = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "write", written.append, raising=False)
    bar = show.Bar("check")
    for number in (1, 2):
        bar.count(number, 2)
    bar.finish()
    assert "2/2" in "".join(written)
    assert "slices" not in "".join(written)
