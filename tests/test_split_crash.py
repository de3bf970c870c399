"""Killed between any two steps and run again, a split ends with the tree of a run that was never killed."""

import json
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from crash import Killed, Reaper
from datasets import Dataset

from imagemask import manifest, split
from imagemask.split import Request

FIRST = Request()
ANEW = Request(ratios=(50, 25, 25), variants="everywhere", resplit=True)
COPIES = Request(layout="copy")
FOLDS = Request(folds=3, fold=1, resplit=True)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A dataset that was never split."""
    return Dataset(tmp_path_factory.mktemp("start") / "fake").write(few(3))


def few(count):
    """Patients with one picture each, and an augmented copy of one of them."""
    return [{"case": f"p{number}"} for number in range(count)] + [{"case": "p1", "variant": "fliph"}]


def copy_of(dataset, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dataset.folder, folder)
    return Dataset(folder)


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (None, FIRST),
        pytest.param(FIRST, ANEW, marks=pytest.mark.slow),
        pytest.param(FIRST, FIRST, marks=pytest.mark.slow),
        pytest.param(None, COPIES, marks=pytest.mark.slow),
        pytest.param(FIRST, COPIES, marks=pytest.mark.slow),
        pytest.param(COPIES, FOLDS, marks=pytest.mark.slow),
        pytest.param(FOLDS, Request(fold=2, layout="none"), marks=pytest.mark.slow),
    ],
)
def test_stopped_after_any_step_it_is_finished_by_running_it_again(start, tmp_path, monkeypatch, before, asked):
    base = copy_of(start, tmp_path / "base")
    if before:
        split.split(base.folder, before)
        base.write(few(4))
    whole = copy_of(base, tmp_path / "whole")
    with monkeypatch.context() as patch:
        reaper = Reaper(patch, 10**6)
        split.split(whole.folder, asked)
    assert reaper.steps > 20
    for survives in range(reaper.steps):
        killed = copy_of(base, tmp_path / "killed")
        with monkeypatch.context() as patch, suppress(Killed):
            Reaper(patch, survives)
            split.split(killed.folder, asked)
        if not list(split.layout_problems(killed.folder)):  # nobody is told, so nothing may be half done
            assert finished(killed) in (finished(base), finished(whole)), f"killed after step {survives}"
        assert len(manifest.read(killed.folder)) == len(manifest.read(base.folder))
        split.split(killed.folder, asked)
        assert killed.tree() == whole.tree(), f"killed after step {survives}"


def finished(dataset):
    """What its user sees."""
    return {path: data for path, data in dataset.tree().items() if not path.endswith(".tmp")}


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from imagemask.split import Request, split

steps, at = 0, int(sys.argv[3])

def counted(real):
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == at:
            os.killpg(0, signal.SIGKILL)
        return real(*args, **kwargs)
    return step

os.replace, os.rename = counted(os.replace), counted(os.rename)
if sys.argv[4] == "links":
    os.link = counted(os.link)
split(Path(sys.argv[1]), Request(**json.loads(sys.argv[2])))
print(steps)
"""


def run(folder: Path, asked: Request, at: int, what: str):
    """Split in a process group of its own, killed before its ``at``-th rename (or rename or link); 0 is never."""
    told = json.dumps(asdict(asked))
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), told, str(at), what],
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "asked", "what", "kills"),
    [(None, FIRST, "renames", 5), (FIRST, ANEW, "renames", 8), (COPIES, FOLDS, "links", 7)],
)
def test_really_killed_at_a_rename_it_is_finished_by_running_it_again(start, tmp_path, before, asked, what, kills):
    base = copy_of(start, tmp_path / "base")
    if before:
        split.split(base.folder, before)
    whole = copy_of(base, tmp_path / "whole")
    done = run(whole.folder, asked, 0, what)
    assert done.returncode == 0, done.stderr
    for at in random.Random(7).sample(range(1, int(done.stdout) + 1), kills):
        killed = copy_of(base, tmp_path / "killed")
        gone = run(killed.folder, asked, at, what)
        assert gone.returncode == -signal.SIGKILL, gone.stderr
        split.split(killed.folder, asked)
        assert killed.tree() == whole.tree(), f"killed at {at}"
