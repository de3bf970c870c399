"""docs/plug-in.md: pip installs its files into an environment of their own, where every command of the page is run."""

import csv
import json
import os
import re
import shlex
import subprocess
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import plug_in
import pytest

from imagemask import registry, testing

BROKEN = {"missing_mask", "missing_image", "damaged_image", "size_mismatch", "no_patient", "listed_missing"}


def commands():
    """(words, exit code) of each line of the page's bash blocks."""
    for info, text in plug_in.blocks():
        for line in text.splitlines() if info == "bash" else ():
            told = re.search(r"# exit code (\d)", line)
            yield shlex.split(line, comments=True), int(told[1]) if told else 0


class Environment:
    """A virtual environment that sees what is installed here, imagemask included, and into which pip installs more."""

    def __init__(self, folder, work):
        venv.create(folder, symlinks=True)
        self.python, self.work = folder / "bin" / "python", work
        inside = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        outside = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        lines = [f"import site; site.addsitedir({path!r})" for path in outside]  # not just a path: they hold .pth files
        Path(inside, "outside.pth").write_text("\n".join(lines) + "\n")
        self.inside = Path(inside)

    def run(self, words, code=0):
        """What a command printed. It must end with ``code``."""
        head, *rest = words
        if head == "pip":  # without a network; what the build backend needs is here (the extra dev)
            rest += ["--no-index", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
        if head == "pytest":
            rest += ["-v", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [self.python, "-m", head, *rest],
            cwd=self.work,
            env={
                **{key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ},
                "COLUMNS": "200",
                "PIP_CONFIG_FILE": os.devnull,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The environment, and what each command of the page printed in it, in order."""
    major = int(version("setuptools").partition(".")[0])
    assert major >= 77, (
        "what is installed here is older than pyproject.toml: pip install -c constraints.txt -e '.[dev]'"
    )
    folder = tmp_path_factory.mktemp("plug-in")
    work = folder / "work"
    plug_in.write(work)
    environment = Environment(folder / "environment", work)
    return environment, {" ".join(words): environment.run(words, code) for words, code in commands()}


pytestmark = pytest.mark.slow


def rows(environment, path):
    with (environment.work / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pip_installs_the_module_and_its_manifest_there_and_nowhere_else(ran):
    environment, _ = ran
    installed = {path.name for path in (environment.inside / "thyroid_us").iterdir()}
    assert installed >= {"__init__.py", "synthetic.py", "thyroid-us.toml"}
    assert plug_in.NAME not in registry.names()


def test_it_is_listed_and_described(ran):
    _, printed = ran
    (line,) = (line for line in printed["imagemask list"].splitlines() if line.startswith("thyroid-us "))
    assert "CC-BY-4.0" in line
    assert "lung-tumor" in printed["imagemask list"]
    facts = printed["imagemask info thyroid-us"]
    for fact in ("CC-BY-4.0", "Doe J, Roe R.", "1 = nodule", "only scans.csv says", "Ask the department"):
        assert fact in facts


def test_it_is_checked_built_split_and_verified(ran):
    environment, printed = ran
    assert printed["imagemask check thyroid-us"].splitlines()[-1] == "complete"
    found = rows(environment, "datasets/thyroid-us/manifest.csv")
    dataset = environment.work / "datasets" / "thyroid-us"
    assert all((dataset / kind / f"{row['key']}.png").is_file() for row in found for kind in ("images", "masks"))
    assert len({row["patient"] for row in found}) == 24  # as the phantom has by default
    assert {row["device"] for row in found} == {"linear", "convex"}
    assert {row["category"] for row in found} == {"benign", "malignant"}  # without a nodule there is no pair
    assert {row["split"] for row in found} == {"train", "valid", "test"}
    assert len({(row["patient"], row["split"]) for row in found}) == 24, "a patient is in two sets"
    document = json.loads((dataset / "dataset.json").read_text())
    assert document["recipe"]["options"] == {"threshold": 100}
    assert document["counts"]["quarantined"] == 0


def test_what_is_broken_is_quarantined_and_the_rest_is_built(ran):
    environment, printed = ran
    (check,) = (text for words, text in printed.items() if words.startswith("imagemask check") and "broken" in words)
    quarantined = rows(environment, "datasets/broken/quarantine.csv")
    assert {line["code"] for line in quarantined} == BROKEN
    for line in quarantined:
        assert line["remedy"]
        assert f"{line['case']}: " in check
    keys = [row["key"] for row in rows(environment, "datasets/broken/manifest.csv")]
    assert keys == [row["key"] for row in rows(environment, "datasets/thyroid-us/manifest.csv")]


def test_its_three_lines_run_the_whole_contract(ran):
    environment, printed = ran
    (test,) = environment.work.rglob("test_*.py")
    assert len(test.read_text().splitlines()) == 3
    passed = re.findall(r"::test_contract\[(\w+)\] PASSED", printed["pytest thyroid-plug-in"])
    assert passed == [check.__name__ for check in testing.CHECKS]
    assert f"== {len(passed)} passed in" in printed["pytest thyroid-plug-in"]


def test_the_page_tells_of_every_check():
    told = re.findall(r"^\| `(\w+)` \|", plug_in.PAGE, re.MULTILINE)
    assert told == [check.__name__ for check in testing.CHECKS]
