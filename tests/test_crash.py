"""Killed anywhere and run again, a build, merge and split end with the tree of a run that was never killed."""

import random
import resource
import shutil
import signal
from functools import partial

import crash
import fakes
import pytest

from imagemask import testing

BUILD = "build lung-tumor --workers 2 --flip h --size 32"
SHARDS = ("build lung-tumor --shard 1/2", "build lung-tumor --shard 2/2", "merge datasets/lung-tumor")
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


def fresh(workspace, name):
    here = workspace / name
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    (here / "raw").symlink_to(workspace / "raw")
    return here


def kills(first, last, number, seed):
    """Renames to be killed at: some from ``first`` to ``last``, and always the very last three."""
    ends = range(max(first, last - 2), last + 1)
    others = range(first, ends[0])
    return sorted([*random.Random(seed).sample(others, min(number - len(ends), len(others))), *ends])


@pytest.mark.parametrize(
    ("commands", "after", "number", "seed"),
    [
        ((BUILD, SPLIT), 0, 20, 1),
        ((*SHARDS, SPLIT), 2, 6, 2),
        ((BUILD, SPLIT, AGAIN), 2, 6, 3),
        ((BUILD, SPLIT, REPLACE), 2, 6, 4),
    ],
    ids=["build and split", "merge and split", "split again", "replace"],
)
def test_killed_at_a_rename_and_run_again(workspace, hooks, commands, after, number, seed):
    """The first ``after`` commands run to their end; the kills lie behind them."""
    whole = fresh(workspace, "whole")
    done, total = crash.run(hooks, whole, *commands)
    assert done.returncode == 0, done.stderr
    expected = fakes.tree(whole / "datasets")
    begun = crash.run(hooks, fresh(workspace, "begun"), *commands[:after])[1] if after else 0
    for at in kills(begun + 1, total, number, seed):
        here = fresh(workspace, "killed")
        killed, _ = crash.run(hooks, here, *commands, at=at)
        assert killed.returncode == -signal.SIGKILL, f"was not killed at rename {at}: {killed.stderr}"
        again, _ = crash.run(hooks, here, *rest(commands, here))
        assert again.returncode == 0, f"after a kill at rename {at}: {again.stderr}"
        found = fakes.tree(here / "datasets")
        assert sorted(found) == sorted(expected), f"after a kill at rename {at}"
        assert [path for path in found if found[path] != expected[path]] == [], f"after a kill at rename {at}"


def test_killed_after_an_attempt_that_made_nothing(workspace, hooks):
    """What corrects it is built in its place, and ends as if it had been the first."""
    whole = fresh(workspace, "whole")
    _, total = crash.run(hooks, whole, BUILD)
    for at in (1, 2, *kills(3, total, 5, seed=6)):
        here = fresh(workspace, "killed")
        failed, _ = crash.run(hooks, here, "build lung-tumor --crop 16")
        assert (failed.returncode, "[crop_too_large]" in failed.stderr) == (4, True), failed.stderr
        killed, _ = crash.run(hooks, here, BUILD, at=at)
        assert killed.returncode == -signal.SIGKILL, f"was not killed at rename {at}: {killed.stderr}"
        again, _ = crash.run(hooks, here, BUILD)
        assert again.returncode == 0, f"after a kill at rename {at}: {again.stderr}"
        assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets"), f"after a kill at rename {at}"


def rest(commands, here):
    """What a person runs after a crash: the command that was stopped, and those that follow it."""
    if commands[-1] != REPLACE:
        return commands
    plan = here / "datasets" / "lung-tumor" / "fragments" / ".plan.json"
    swapping = (here / "datasets" / ".lung-tumor.old").exists() or (here / "datasets" / ".lung-tumor.new").exists()
    replaced = plan.exists() and '"size": 48' in plan.read_text()
    return (REPLACE,) if swapping or replaced else commands


def test_a_worker_that_is_killed_once_changes_nothing(workspace, hooks):
    whole = fresh(workspace, "whole")
    done, total = crash.run(hooks, whole, BUILD, worker=True)
    assert done.returncode == 0, done.stderr
    for at in kills(1, total, 4, seed=5):
        here = fresh(workspace, "killed")
        done, _ = crash.run(hooks, here, BUILD, at=at, worker=True)
        assert done.returncode == 0, done.stderr
        assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets")


def test_a_full_disk_stops_the_build_and_nothing_is_lost(workspace, hooks):
    whole = fresh(workspace, "whole")
    crash.run(hooks, whole, "build lung-tumor")
    here = fresh(workspace, "full")
    small = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (900, 900))
    done, _ = crash.run(hooks, here, "build lung-tumor --workers 2", preexec_fn=small)
    assert done.returncode == 4, done.stderr
    assert "is full: make room and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (here / "datasets" / "lung-tumor" / "manifest.csv").exists()
    done, _ = crash.run(hooks, here, "build lung-tumor")
    assert done.returncode == 0, done.stderr
    assert fakes.tree(here / "datasets") == fakes.tree(whole / "datasets")


def test_an_output_that_cannot_be_written_is_one_clear_line(workspace, hooks):
    here = fresh(workspace, "locked")
    (here / "datasets").mkdir(mode=0o555)
    done, _ = crash.run(hooks, here, "build lung-tumor", preexec_fn=crash.obey_permissions)
    assert done.returncode == 4, done.stderr
    [line] = done.stderr.splitlines()
    assert "datasets/lung-tumor" in line
    assert "cannot be written: Permission denied. Choose a folder that you can write to" in line
