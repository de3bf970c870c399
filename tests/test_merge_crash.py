"""Killed between any two steps and run again, alone, a merge ends with the tree of a run that was never killed."""

import shutil

import fakes
import pytest
from crash import Killed, Reaper

from imagemask import build, split
from imagemask.build import How
from imagemask.split import Request


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return fakes.install(monkeypatch)


def shards(raw, out):
    for number in (1, 2):
        fakes.run(raw, out, How(workers=1, shard=(number, 2)))


def ended(tmp_path):
    """Both shards have ended, for the first time."""
    shards(fakes.raw_folder(tmp_path), tmp_path / "out")


def ended_again(tmp_path):
    """Of a dataset that was split: a case is another now, and a killed build has left what no fragment names."""
    ended(tmp_path)
    build.merge(tmp_path / "out")
    split.split(tmp_path / "out", Request())
    fakes.write_case(tmp_path / "raw", "b", *fakes.blob(slices=2, seed=7))
    shards(tmp_path / "raw", tmp_path / "out")
    for name in ("images/.b-0002.png.tmp", "images/b-0002.png", "masks/b-0009.png"):
        (tmp_path / "out" / name).write_bytes(b"half")


@pytest.mark.parametrize("begin", [ended, ended_again])
def test_stopped_after_any_step_it_is_finished_by_merging_again(tmp_path, monkeypatch, begin):
    begin(tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shutil.copytree(tmp_path / "out", whole)
    with monkeypatch.context() as patch:
        reaper = Reaper(patch, 10**6)
        build.merge(whole)
    assert reaper.steps >= 5, "a table, the manifest, dataset.json and the two files of the card"
    for survives in range(reaper.steps):
        shutil.rmtree(killed, ignore_errors=True)
        shutil.copytree(tmp_path / "out", killed)
        with monkeypatch.context() as patch:
            Reaper(patch, survives)
            with pytest.raises(Killed):
                build.merge(killed)
        build.merge(killed)
        assert fakes.tree(killed) == fakes.tree(whole), f"killed after step {survives}"
