"""CI for data: the workflow and the hooks of docs/ci-for-data.md, run on a sound repository and on broken ones."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imagemask import build, images, manifest, split, testing
from imagemask.build import How
from imagemask.split import Request

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
WORKFLOW = yaml.safe_load((ROOT / "docs" / "ci-for-data.yml").read_text())
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
PAGE = (ROOT / "docs" / "ci-for-data.md").read_text()
BINARIES = Path(sys.executable).parent
WHATEVER_ELSE_FAILS = "${{ !cancelled() && steps.install.outcome == 'success' }}"
MANIFEST, TOML = "datasets/lung-tumor/manifest.csv", "manifests/lung-tumor.toml"

needs_the_command = pytest.mark.skipif(
    any(shutil.which(name, path=f"{BINARIES}:{os.environ['PATH']}") is None for name in ("imagemask", "git", "bash")),
    reason="imagemask is not installed beside this Python, or there is no git or bash",
)


def environment(here):
    """What a runner has: the commands, a git that reads nobody's settings, a pip that only says what it was told."""
    stubs = here / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "pip").write_text('#!/bin/sh\necho "pip $*"\n')
    (stubs / "pip").chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT", "GITHUB_"))},
        "PATH": f"{stubs}:{BINARIES}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PRE_COMMIT_HOME": str(here / "pre-commit"),
        **{f"GIT_{who}_{what}": "nobody@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    here = tmp_path_factory.mktemp("data")
    raw = testing.phantom("lung-tumor", here / "raw", patients=4, size=128, slices=16)
    job = build.prepare("lung-tumor", raw=raw, out=here / "lung-tumor", recipe={}, options={})
    build.run(job, How(workers=1), started=lambda _: None, progress=lambda _: None)
    split.split(here / "lung-tumor", Request(layout="none"))
    return here / "lung-tumor"


@pytest.fixture
def repository(dataset, tmp_path):
    """A sound one: a source manifest, a dataset, and a manifest whose pictures lie elsewhere."""
    here = tmp_path / "repository"
    shutil.copytree(dataset, here / "datasets" / "lung-tumor")
    (here / "elsewhere" / "big").mkdir(parents=True)
    shutil.copy(dataset / "manifest.csv", here / "elsewhere" / "big")
    (here / "manifests").mkdir()
    shutil.copy(ROOT / TOML, here / TOML)
    (here / ".gitignore").write_text("".join(re.findall(r"^datasets/\*/.*\n", PAGE, re.M)))
    return here


def commit(repository):
    def git(*words):
        subprocess.run(
            ["git", *words], cwd=repository, env=environment(repository.parent), check=True, capture_output=True
        )

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "data")


def workflow(repository):
    """Run the workflow's own steps, in order: name, exit code and stdout of each."""
    commit(repository)
    variables = environment(repository.parent) | WORKFLOW["env"]
    assert WORKFLOW["defaults"]["run"]["shell"] == "bash"
    ended = {}
    for step in WORKFLOW["jobs"]["data"]["steps"]:
        if "run" in step and (all(code == 0 for code, _ in ended.values()) or step.get("if") == WHATEVER_ELSE_FAILS):
            # What `shell: bash` stands for in GitHub's documentation of workflows.
            words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(words, cwd=repository, env=variables, capture_output=True, text=True, check=False)
            assert "Traceback" not in done.stderr, done.stderr
            ended[step["name"]] = done.returncode, done.stdout
    return ended


def annotations(ended):
    """File, line and title of all that was said to GitHub as an error, by step."""
    found = re.compile(r"^::error file=([^,:]+)(?:,line=(\d+))?,title=([^:]+)::", re.M)
    return {step: found.findall(said) for step, (_, said) in ended.items()}


def moved(repository):
    """A patient's last slice in another split, by hand; its line."""
    path = repository / MANIFEST
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("split")
    cells = next(line.split(",") for line in reversed(lines) if line.split(",")[place] == "train")
    line = next(number for number, text in enumerate(lines, start=1) if text.split(",")[0] == cells[0])
    cells[place] = "test"
    path.write_text("\n".join([*lines[: line - 1], ",".join(cells), *lines[line:]]) + "\n")
    return str(line)


def undeclared(repository):
    """A mask with a value that nobody declared; the line of its row."""
    folder = repository / "datasets" / "lung-tumor"
    path = folder / "masks" / f"{manifest.read(folder)['key'][4]}.png"
    mask = images.read_png(path).copy()
    mask[np.nonzero(mask)] = 7
    path.write_bytes(images.encode_png(mask, level=6))
    return "6"


def unlicensed(repository):
    path = repository / TOML
    path.write_text(re.sub(r"^licence = .*\n", "", path.read_text(), flags=re.M))
    return ""


@needs_the_command
@pytest.mark.slow
class TestWorkflow:
    def test_a_sound_repository_passes(self, repository):
        ended = workflow(repository)
        assert {step: code for step, (code, _) in ended.items()} == dict.fromkeys(
            ("Install imagemask", "Manifests", "Verify", "Audit"), 0
        )
        assert ended["Install imagemask"][1] == f"pip install {WORKFLOW['env']['IMAGEMASK']}\n"
        assert not any(annotations(ended).values())

    def test_a_patient_that_was_moved_by_hand(self, repository):
        line = moved(repository)
        ended = workflow(repository)
        assert {step: code for step, (code, _) in ended.items() if code} == {"Manifests": 5, "Verify": 5, "Audit": 5}
        said = annotations(ended)
        assert (MANIFEST, line, "IM008") in said["Manifests"]
        assert {(MANIFEST, line, "IM008"), (MANIFEST, line, "IM010")} <= set(said["Verify"])
        assert any(file == MANIFEST and title.startswith("AU10") for file, _, title in said["Audit"])
        assert all(file != MANIFEST or number for file, number, _ in said["Audit"])

    def test_a_mask_value_that_nobody_declared(self, repository):
        line = undeclared(repository)
        ended = workflow(repository)
        assert (ended["Manifests"][0], ended["Verify"][0], ended["Audit"][0]) == (0, 5, 5)
        said = annotations(ended)
        assert (MANIFEST, line, "IM017") in said["Verify"]
        assert any((file, number, title[:3]) == (MANIFEST, line, "AU3") for file, number, title in said["Audit"])

    def test_a_source_manifest_without_a_licence(self, repository):
        unlicensed(repository)
        ended = workflow(repository)
        assert {step: code for step, (code, _) in ended.items() if code} == {"Manifests": 5}
        assert annotations(ended)["Manifests"] == [(TOML, "", "IM101")]
        assert "licence" in ended["Manifests"][1]

    def test_a_repository_without_data_passes(self, tmp_path):
        (tmp_path / "repository").mkdir()
        (tmp_path / "repository" / "README.md").write_text("Nothing yet.\n")
        assert {code for code, _ in workflow(tmp_path / "repository").values()} == {0}

    def test_what_is_not_committed_is_not_needed(self, repository):
        """The dataset as a checkout has it, without what .gitignore leaves out."""
        commit(repository)
        clone = repository.parent / "clone"
        subprocess.run(
            ["git", "clone", "-q", str(repository), str(clone)], env=environment(repository.parent), check=True
        )
        assert not (clone / "datasets" / "lung-tumor" / "fragments").exists()
        words = ["imagemask", "verify", "--annotations", "datasets/lung-tumor"]
        done = subprocess.run(
            words, cwd=clone, env=environment(clone.parent), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")


def hooks_of_the_page():
    """The configuration that the page shows, with hooks that need no download: the installed commands."""
    [shown] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    [used] = yaml.safe_load(shown)["repos"]
    local = [HOOKS[hook["id"]] | hook | {"language": "system"} for hook in used["hooks"]]
    return {"repos": [{"repo": "local", "hooks": local}]}


def pre_commit(repository):
    """Hook: whether it passed."""
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(hooks_of_the_page()))
    commit(repository)
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"],
        cwd=repository,
        env=environment(repository.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^imagemask (\w+)\.+(Passed|Failed)$", done.stdout, re.M)
    assert len(found) == len(HOOKS), done.stdout + done.stderr
    return {name: ended == "Passed" for name, ended in found}, done.stdout


class TestHooks:
    def test_the_page_shows_them_all(self):
        [local] = hooks_of_the_page()["repos"]
        assert [hook["id"] for hook in local["hooks"]] == list(HOOKS)

    def test_their_commands_are_there(self):
        from imagemask.cli import main

        for hook in HOOKS.values():
            program, command = hook["entry"].split()
            assert program == "imagemask"
            assert command in main.commands

    @needs_the_command
    def test_pre_commit_takes_the_file(self, tmp_path):
        pytest.importorskip("pre_commit")
        subprocess.run(
            [sys.executable, "-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
            env=environment(tmp_path),
            check=True,
        )

    @needs_the_command
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("change", "failing", "said"),
        [
            (lambda _: "", set(), ""),
            (moved, {"manifests", "verify", "audit"}, "{manifest}:{line}: IM008 "),
            (undeclared, {"audit"}, "AU3"),  # verify --fast decodes no picture
        ],
        ids=["sound", "a patient moved", "a mask value undeclared"],
    )
    def test_pre_commit_runs_them(self, repository, change, failing, said):
        pytest.importorskip("pre_commit")
        line = change(repository)
        passed, printed = pre_commit(repository)
        assert {name for name in passed if not passed[name]} == failing, printed
        assert said.format(manifest=MANIFEST, line=line) in printed
