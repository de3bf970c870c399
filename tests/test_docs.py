"""The documentation is what the program does: commands run, help is there, pages are fresh, versions agree."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import imagemask
from imagemask import registry
from imagemask.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def load_page():
    spec = importlib.util.spec_from_file_location("cli_page", ROOT / "docs" / "cli_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = load_page()
COMMANDS = dict(
    PAGE.commands(main, click.Context(main, info_name="imagemask", terminal_width=100, max_content_width=100))
)


def test_the_page_of_commands_is_fresh():
    assert PAGE.PAGE.read_text() == PAGE.page(), "run python docs/cli_page.py"


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_helps(path):
    done = CliRunner().invoke(main, [*path.split()[1:], "--help"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[2].strip()


HEAVY = {"numpy", "pandas", "cv2", "PIL", "nibabel", "pydicom", "SimpleITK", "isal", "keras"}


def test_help_needs_no_numpy_and_is_quick_to_import():
    """Every command's, those of the sources included: one process for all, as each would show what it imports."""
    words = [path.split()[1:] for path in COMMANDS]
    assert {tuple(one) for one in words} > {
        (command, name) for command in ("build", "check") for name in registry.names()
    }
    code = (
        "import sys; from click.testing import CliRunner; from imagemask.cli import main; "
        f"[CliRunner().invoke(main, [*args, '--help'], catch_exceptions=False) for args in {words}]; "
        f"heavy = {HEAVY} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands():
    for block in blocks("bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


LEARNING = {"train", "evaluate", "predict", "export-model"}
TRAINS = all(importlib.util.find_spec(name) for name in ("keras", "tensorflow", "tf2onnx"))


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands():
        assert words[0] == "imagemask", words
        arguments = words[1:]
        if arguments[:2] == ["phantom", "lung-tumor"]:
            arguments += ["--patients", "8", "--size", "64", "--slices", "12"]  # as written, but smaller
        learns = arguments[0] in LEARNING or any(word.startswith("runs/") for word in arguments)
        if learns and not TRAINS:
            continue
        if arguments == ["train"]:
            arguments += ["--epochs", "1"]  # as written, but shorter
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, f"{' '.join(words)}\n{done.output}"
    made = {"cervical-cancer", "esophageal-cancer", "lung-tumor", "mine", "ovarian-tumor", "shared"}
    assert {path.name for path in (tmp_path / "datasets").iterdir()} == made


def test_the_readme_s_shell_commands_are_the_makefile_s():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            assert words[:2] == ["pip", "install"] or (words[0] == "make" and words[1] in targets), line


@pytest.mark.slow
def test_the_demo_ends_with_a_table_of_what_was_made(tmp_path):
    if not TRAINS:
        pytest.skip("the demo trains, and the extra train is not installed")
    binaries = str(Path(sys.executable).parent)
    if shutil.which("imagemask", path=binaries) is None:
        pytest.skip("imagemask is not installed beside this Python")
    done = subprocess.run(
        ["bash", str(ROOT / "docs" / "demo.sh"), binaries, str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", "DEMO_EPOCHS": "1"},
    )
    assert done.returncode == 0, done.stderr
    *_, table = done.stdout.split("What was made")
    for line in table.splitlines()[1:]:
        where = re.split(r"\s{2,}", line)[1].split(", ")
        assert all((Path(where[0]).parent / Path(place).name).exists() for place in where), line


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_version_and_changelog_agree():
    assert re.search(rf"^## {re.escape(imagemask.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_public_names_are_sorted_and_there():
    assert list(imagemask.__all__) == sorted(imagemask.__all__)
    assert len(imagemask.__all__) <= 25
    for name in imagemask.__all__:
        assert hasattr(imagemask, name)


def test_the_pictures_are_small():
    for picture in (ROOT / "docs").glob("*.png"):
        assert picture.stat().st_size < 400_000, picture
