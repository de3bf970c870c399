"""Killed anywhere and run again, a build, merge and split end with the tree of a run that was never killed."""

import random
import shutil
import signal

import crash
import fakes
import pytest

from imagemask import testing

BUILD = "build lung-tumor --workers 2 --flip h --size 32"
SHARDS = ("build lung-tumor --shard 1/2", "build lung-tumor --shard 2/2")
MERGE = "merge datasets/lung-tumor"
SPLIT = "split --by-patient"
AGAIN = "split --ratios 50,25,25 --variants everywhere --resplit"
REPLACE = "build lung-tumor --replace --size 48"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A phantom source, and the way to run over a fresh copy of it."""
    folder = tmp_path_factory.mktemp("crash")
    testing.phantom("lung-tumor", folder / "raw" / "lung-tumor", patients=6, size=32, slices=8)
    return folder


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    return crash.hook(tmp_path_factory.mktemp("hooks"))


def fresh(workspace, name, begun=None):
    """A folder to work in, with what lies in the folder ``begun``."""
    here = workspace / name
    shutil.rmtree(here, ignore_errors=True)
    if begun:
        shutil.copytree(begun, here, symlinks=True)
    else:
        here.mkdir()
        (here / "raw").symlink_to(workspace / "raw")
    return here


def ended(workspace, hooks, name, *commands):
    """A folder in which the commands were run to their end."""
    here = fresh(workspace, name)
    done, _ = crash.run(hooks, here, *commands)
    assert done.returncode == 0, done.stderr
    return here


def kills(last, number, seed):
    """Renames to be killed at: some of all, and always the very last three."""
    ends = range(max(1, last - 2), last + 1)
    others = range(1, ends[0])
    return sorted([*random.Random(seed).sample(others, min(number - len(ends), len(others))), *ends])


@pytest.mark.parametrize(
    ("before", "commands", "number", "seed"),
    [
        ((), (BUILD, SPLIT), 20, 1),
        (SHARDS, (MERGE, SPLIT), 100, 2),  # more than there are: at every one
        ((BUILD, SPLIT), (AGAIN,), 6, 3),
        ((BUILD, SPLIT), (REPLACE,), 6, 4),
    ],
    ids=["build and split", "merge and split", "split again", "replace"],
)
def test_killed_at_a_rename_and_run_again(workspace, hooks, before, commands, number, seed):
    """What runs ``before`` comes to its end, once; the kills lie behind it, and only ``commands`` are run again."""
    begun = ended(workspace, hooks, "begun", *before) if before else None
    whole = fresh(workspace, "whole", begun)
    done, total = crash.run(hooks, whole, *commands)
    assert done.returncode == 0, done.stderr
    expected = fakes.tree(whole / "datasets")
    for at in kills(total, number, seed):
        here = fresh(workspace, "killed", begun)
        killed, _ = crash.run(hooks, here, *commands, at=at)
        assert killed.returncode == -signal.SIGKILL, f"was not killed at rename {at}: {killed.stderr}"
        again, _ = crash.run(hooks, here, *commands)
        assert again.returncode == 0, f"after a kill at rename {at}: {again.stderr}"
        found = fakes.tree(here / "datasets")
        assert sorted(found) == sorted(expected), f"after a kill at rename {at}"
        assert [path for path in found if found[path] != expected[path]] == [], f"after a kill at rename {at}"


def test_killed_after_an_attempt_that_made_nothing(workspace, hooks):
    """What corrects it is built in its place, and ends as if it had been the first."""
    whole = fresh(workspace, "whole")
    _, total = crash.run(hooks, whole, BUILD)
    for at in sorted({1, 2, *kills(total, 5, seed=6)}):
        here = fresh(workspace, "killed")
        failed, _ = crash.run(hooks, here, "build lung-tumor --crop 16")
        assert (failed.returncode, "[crop_too_large]" in failed.stderr) == (4, True), failed.stderr
        killed, _ = crash.run(hooks, here, BUILD, at=at)
        assert killed.returncode == -signal.SIGKILL, f"was not killed at rename {at}: {killed.stderr}"
        again, _ = crash.run(hooks, here, BUILD)
        assert again.returncode == 0, f"after a kill at rename {at}: {again.stderr}"
        assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets"), f"after a kill at rename {at}"


def test_a_worker_that_is_killed_once_changes_nothing(workspace, hooks):
    whole = fresh(workspace, "whole")
    done, total = crash.run(hooks, whole, BUILD, how="worker")
    assert done.returncode == 0, done.stderr
    for at in kills(total, 4, seed=5):
        here = fresh(workspace, "killed")
        done, renames = crash.run(hooks, here, BUILD, at=at, how="worker")
        assert done.returncode == 0, done.stderr
        assert renames > total, f"no worker was killed at rename {at}"  # which then was done again
        assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets")


def test_a_full_disk_stops_the_build_and_nothing_is_lost(workspace, hooks):
    whole = fresh(workspace, "whole")
    crash.run(hooks, whole, "build lung-tumor")
    here = fresh(workspace, "full")
    done, _ = crash.run(hooks, here, "build lung-tumor --workers 2", lacks=900)
    assert done.returncode == 4, done.stderr
    assert "is full: make room and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (here / "datasets" / "lung-tumor" / "manifest.csv").exists()
    done, _ = crash.run(hooks, here, "build lung-tumor")
    assert done.returncode == 0, done.stderr
    assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets")


@pytest.mark.parametrize(
    ("before", "command", "limit", "file"),
    [
        (SHARDS, MERGE, 10, "quarantine.csv"),
        (SHARDS, MERGE, 900, "manifest.csv"),
        (SHARDS, MERGE, 9000, "croissant.json"),
        ((BUILD, f"{SPLIT} --layout none"), f"{SPLIT} --layout copy", 500, ".png"),
    ],
    ids=["merge: a table", "merge: the manifest", "merge: the card", "split: a copy"],
)
def test_a_full_disk_stops_what_follows_the_build_and_nothing_is_lost(workspace, hooks, before, command, limit, file):
    """Files of more than ``limit`` bytes cannot be written; ``file`` is the first of them."""
    begun = ended(workspace, hooks, "begun", *before)
    whole, here = fresh(workspace, "whole", begun), fresh(workspace, "full", begun)
    done, _ = crash.run(hooks, here, command, lacks=limit)
    assert done.returncode == 4, done.stderr
    [line] = done.stderr.splitlines()
    assert f"{file}: cannot be written" in line
    assert "is full: make room and run the same command again" in line
    for folder in (whole, here):
        done, _ = crash.run(hooks, folder, command)
        assert done.returncode == 0, done.stderr
    assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets")


@pytest.mark.parametrize("command", [MERGE, f"{SPLIT} --layout copy"], ids=["merge", "split"])
def test_a_dataset_that_cannot_be_written_is_one_clear_line_and_stays(workspace, hooks, command):
    here = ended(workspace, hooks, "locked", "build lung-tumor")
    dataset = here / "datasets" / "lung-tumor"
    before = fakes.tree(dataset)
    dataset.chmod(0o555)
    done, _ = crash.run(hooks, here, command, lacks="permissions")
    dataset.chmod(0o755)
    assert done.returncode == 4, done.stderr
    [line] = done.stderr.splitlines()
    assert "datasets/lung-tumor/" in line
    assert "cannot be written: Permission denied. Choose a folder that you can write to, or make this one" in line
    assert fakes.tree(dataset) == before


def test_an_output_that_cannot_be_written_is_one_clear_line(workspace, hooks):
    here = fresh(workspace, "locked")
    (here / "datasets").mkdir(mode=0o555)
    done, _ = crash.run(hooks, here, "build lung-tumor", lacks="permissions")
    assert done.returncode == 4, done.stderr
    [line] = done.stderr.splitlines()
    assert "datasets/lung-tumor" in line
    assert "cannot be written: Permission denied. Choose a folder that you can write to" in line
