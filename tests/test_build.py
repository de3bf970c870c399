"""Raw to rows: what is kept, what is refused, what is written; in one process, over a source made of arrays."""

import csv
import errno
import gc
import json
import os
import shutil
import threading
import weakref
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial

import cv2
import fakes
import numpy as np
import pytest
from fifos import fifo
from hypothesis import given
from hypothesis import strategies as st

from imagemask import build, files, images, manifest, pixels, pool, report, split
from imagemask.build import FORMAT, How, case, fragments, pairs
from imagemask.build.estimate import estimate
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import PHANTOM, Slice


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return fakes.install(monkeypatch)


def rows(dataset):
    return manifest.read(dataset).to_dict("records")


def test_every_slice_with_foreground_becomes_a_pair(tmp_path):
    raw = fakes.raw_folder(tmp_path, empty=(1,))
    built = fakes.run(raw, tmp_path / "out")
    assert (built.cases, built.resumed, built.quarantined) == (3, 0, 0)
    counts = built.merged.counts
    assert (counts.discovered, counts.built, counts.patients) == (3, 3, 3)
    assert (counts.slices_read, counts.slices_kept, counts.slices_empty, counts.pairs) == (9, 6, 3, 6)
    assert [row["key"] for row in rows(tmp_path / "out")] == [f"{c}-{i:04d}" for c in "abc" for i in (0, 2)]


def test_rows_say_what_was_written(tmp_path):
    raw = fakes.raw_folder(tmp_path, names=("a",))
    fakes.run(raw, tmp_path / "out")
    image, mask = fakes.blob()
    for row in rows(tmp_path / "out"):
        written = images.read_png(tmp_path / "out" / "images" / f"{row['key']}.png")
        outline = images.read_png(tmp_path / "out" / "masks" / f"{row['key']}.png")
        assert np.array_equal(written, image[row["slice"]])
        assert np.array_equal(outline, mask[row["slice"]] * 255)
        assert row["digest"] == manifest.digest(written, outline)
        assert row["foreground"] == mask[row["slice"]].sum()
        assert (row["height"], row["width"]) == (row["source_height"], row["source_width"]) == (24, 20)
        assert (row["spacing_y"], row["spacing_x"], row["classes"]) == (0.5, 0.75, "1")
        assert (row["patient"], row["group"], row["source"]) == ("a", "a", "a.npy")
        assert row["source_sha256"] == files.sha256(raw / "a.npy")


def test_several_classes_are_written_as_class_ids(tmp_path, monkeypatch):
    fakes.install(monkeypatch, labels={3: "low", 7: "high"})
    image, mask = fakes.blob(slices=1)
    fakes.write_case(tmp_path / "raw", "a", image, np.where(mask == 1, 7, 0).astype(np.uint8))
    fakes.write_case(tmp_path / "raw", "b", image, (mask * 3 + (mask[:, ::-1] == 1) * 7 * (mask == 0)).astype(np.uint8))
    fakes.run(tmp_path / "raw", tmp_path / "out")
    document = manifest.read_dataset(tmp_path / "out")
    assert [(one["name"], one["source_value"], one["mask_value"]) for one in document["labels"]] == [
        ("low", 3, 1),
        ("high", 7, 2),
    ]
    first, second = rows(tmp_path / "out")
    assert (first["classes"], second["classes"]) == ("2", "1 2")
    outline = images.read_png(tmp_path / "out" / "masks" / "b-0000.png")
    assert set(np.unique(outline).tolist()) == {0, 1, 2}
    assert np.array_equal(manifest.to_labels(outline, document), outline)


def test_an_undeclared_label_quarantines_its_case_with_the_histogram(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    image, mask = fakes.blob()
    fakes.write_case(raw, "b", image, mask * 9)
    merged = fakes.run(raw, tmp_path / "out").merged
    [(name, note)] = merged.quarantined
    assert (name, note.code) == ("b", "label_values")
    assert "9" in note.reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CaseError("bad_thing", "the thing is bad", remedy="Mend it"), "bad_thing"),
        (ValueError("what is this"), "unexpected_error"),
        (PermissionError(13, "Permission denied", "a.npy"), "unreadable_file"),
        (EOFError("ended"), "unexpected_error"),
    ],
)
def test_one_bad_case_is_quarantined_and_the_others_are_built(tmp_path, fake, error, code):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "clean")
    fake.raises["b"] = error
    built = fakes.run(raw, tmp_path / "out")
    counts = built.merged.counts
    assert (counts.discovered, counts.built, counts.quarantined, built.quarantined) == (3, 2, 1, 1)
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        [line] = csv.DictReader(file)
    assert (line["case"], line["code"], line["stage"]) == ("b", code, "read")
    clean, mixed = fakes.tree(tmp_path / "clean"), fakes.tree(tmp_path / "out")
    healthy = {path for path in clean if path.startswith(("images/", "masks/")) and "/b-" not in path}
    assert {path for path in mixed if path.startswith(("images/", "masks/"))} == healthy
    assert all(clean[path] == mixed[path] for path in healthy)


def test_a_quarantined_case_is_tried_again(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "clean")
    fake.raises["b"] = ValueError("not today")
    fakes.run(raw, tmp_path / "out")
    fake.raises.clear()
    built = fakes.run(raw, tmp_path / "out")
    assert (built.resumed, built.quarantined) == (2, 0)
    assert fakes.tree(tmp_path / "out") == fakes.tree(tmp_path / "clean")


def test_a_case_that_goes_bad_leaves_no_picture(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    np.save(raw / "b.npy", np.zeros((3, 24, 20), np.uint8))
    fake.raises["b"] = ValueError("worse than before")
    merged = fakes.run(raw, tmp_path / "out").merged
    assert merged.removed == 0  # that counts what a killed run has left
    assert not list((tmp_path / "out").glob("*/b-*.png"))


def test_what_the_machine_lacks_is_not_the_case_s_fault(tmp_path, fake):
    fake.raises["b"] = OSError(24, "Too many open files", "a.npy")
    with pytest.raises(InputError, match="b: Too many open files. Give fewer --workers"):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out")


def test_an_image_that_fails_when_it_is_decoded_quarantines_its_case(tmp_path, fake, monkeypatch):
    class Broken:
        shape = (24, 20)

        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("no decoder")

    raw = fakes.raw_folder(tmp_path)
    mask = fakes.blob()[1][0]
    monkeypatch.setattr(fake, "read", lambda one, options: iter([fakes.Slice(0, Broken(), mask)]), raising=False)
    with pytest.raises(InputError, match="not one pair"):
        fakes.run(raw, tmp_path / "out")
    assert "RuntimeError: no decoder (test_build.py, line" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_slices_out_of_order_quarantine_their_case(tmp_path, fake, monkeypatch):
    read = fake.read
    monkeypatch.setattr(fake, "read", lambda one, options: reversed(list(read(one, options))), raising=False)
    with pytest.raises(InputError, match="not one pair"):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out")
    assert "slice_order" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_when_nothing_can_be_read_what_was_built_stays(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")["manifest.csv"]
    fake.raises.update(dict.fromkeys("abc", OSError(5, "Input/output error", "a.npy")))
    for name in "abc":
        fakes.write_case(raw, name, *fakes.blob(seed=ord(name)))
    with pytest.raises(InputError, match="not one pair"):
        fakes.run(raw, tmp_path / "out")
    assert fakes.tree(tmp_path / "out")["manifest.csv"] == before


def test_fail_fast_stops_and_names_the_case(tmp_path, fake):
    fake.raises["b"] = CaseError("bad_thing", "the thing is bad", remedy="Mend it")
    with pytest.raises(InputError, match=r"b: the thing is bad \[bad_thing\]. Mend it"):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out", How(workers=1, fail_fast=True))


OF_OPENCV = cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes")


def of_no_memory():
    error = CaseError("unreadable_file", "b.png cannot be read")
    error.__cause__ = MemoryError()
    return error


@pytest.mark.parametrize("error", [MemoryError(), OF_OPENCV, of_no_memory()], ids=["python", "opencv", "a cause"])
def test_a_lack_of_memory_is_not_the_case_s_fault(tmp_path, fake, error):
    fake.raises["b"] = error
    with pytest.raises(InputError, match="b: out of memory. Give fewer --workers"):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out")


def test_excluded_cases_are_reported_and_not_read(tmp_path, monkeypatch):
    fake = fakes.install(monkeypatch, excluded={"b": "withdrawn"})
    fake.raises["b"] = AssertionError("was read")
    merged = fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out").merged
    assert merged.excluded == (("b", "withdrawn"),)
    assert (merged.counts.built, merged.counts.excluded, merged.counts.quarantined) == (2, 1, 0)
    assert manifest.read_dataset(tmp_path / "out")["excluded"] == {"b": "withdrawn"}


def test_what_is_done_is_not_done_again(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    fake.raises.update(dict.fromkeys("abc", AssertionError("was read again")))
    assert fakes.run(raw, tmp_path / "out").resumed == 3
    assert fakes.tree(tmp_path / "out") == before


def test_a_changed_file_is_built_again_and_only_that(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    image, mask = fakes.blob(seed=9)
    fakes.write_case(raw, "b", image, mask)
    assert fakes.run(raw, tmp_path / "out").resumed == 2
    assert np.array_equal(images.read_png(tmp_path / "out" / "images" / "b-0000.png"), image[0])


@pytest.mark.parametrize("lose", ["images/b-0001.png", "masks/b-0001.png", "fragments/b.json"])
def test_what_was_lost_is_built_again(tmp_path, lose):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    (tmp_path / "out" / lose).unlink()
    assert fakes.run(raw, tmp_path / "out").resumed == 2
    assert fakes.tree(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["images/b-0001.png", "masks/b-0001.png"])
def test_a_picture_that_was_cut_short_is_written_again(tmp_path, name):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(before[name][:20])
    assert fakes.run(raw, tmp_path / "out").resumed == 2
    assert fakes.tree(tmp_path / "out") == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"case": "b"}', '{"case": 1, "quarantine": 3}', "rows"])
def test_a_damaged_fragment_means_not_done(tmp_path, text):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    fragment = tmp_path / "out" / "fragments" / "b.json"
    fragment.write_text(text if text != "rows" else json.dumps({**json.loads(fragment.read_text()), "rows": [1, 2, 3]}))
    assert fakes.run(raw, tmp_path / "out").resumed == 2
    assert fakes.tree(tmp_path / "out") == before


def test_files_that_no_fragment_names_are_removed_and_counted(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    for stray in ("images/z-0000.png", "masks/.a-0000.png.tmp", "fragments/z.json", "fragments/.b.json.tmp"):
        (tmp_path / "out" / stray).write_bytes(b"left behind")
    assert fakes.run(raw, tmp_path / "out").merged.removed == 2
    assert fakes.tree(tmp_path / "out") == before


def test_a_case_that_left_the_source_leaves_the_dataset(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    (raw / "b.npy").unlink()
    (raw / "b.mask.npy").unlink()
    built = fakes.run(raw, tmp_path / "out")
    assert (built.left, built.merged.counts.discovered, built.merged.removed) == (("b",), 2, 0)
    assert not list((tmp_path / "out").glob("*/b*"))


def test_another_recipe_is_refused_naming_the_fields(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    before = fakes.tree(tmp_path / "out")
    with pytest.raises(
        UsageError, match=r"size is none, asked for 16; flips is none, asked for \['h'\]. Give --replace"
    ):
        fakes.run(raw, tmp_path / "out", size=16, flips=("h",))
    assert fakes.tree(tmp_path / "out") == before


class TestAfterAFailure:
    """A first attempt of another recipe, which has made no pair."""

    @pytest.fixture
    def raw(self, tmp_path, fake):
        raw = fakes.raw_folder(tmp_path, names=tuple("abcde"))
        fakes.run(raw, tmp_path / "whole", size=16)
        fake.raises.update(dict.fromkeys("abcde", ValueError("no")))
        with pytest.raises(InputError, match="not one pair"):
            fakes.run(raw, tmp_path / "out")
        fake.raises.clear()
        return raw

    def same(self, tmp_path):
        return fakes.tree(tmp_path / "out") == fakes.tree(tmp_path / "whole")

    def test_what_corrects_it_is_built_in_its_place(self, raw, tmp_path):
        assert fakes.run(raw, tmp_path / "out", size=16).left == ()
        assert self.same(tmp_path)

    def test_so_it_is_after_masks_that_were_empty(self, tmp_path):
        raw = fakes.raw_folder(tmp_path, empty=(0, 1, 2))
        with pytest.raises(InputError, match="not one pair"):
            fakes.run(raw, tmp_path / "out")
        assert fakes.run(raw, tmp_path / "out", keep_empty=True).merged.counts.pairs == 9

    def test_and_where_it_has_fewer_cases(self, raw, tmp_path):
        (raw / "a.mask.npy").unlink()
        assert fakes.run(raw, tmp_path / "out", size=16).merged.counts.built == 4
        assert not list((tmp_path / "out").rglob("a*"))

    def test_and_where_taking_its_place_was_killed(self, raw, tmp_path, monkeypatch):
        def killed(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(fragments, "write_plan", killed)
            with pytest.raises(KeyboardInterrupt):
                fakes.run(raw, tmp_path / "out", size=16)
        with pytest.raises(InputError, match="5 of 5 cases have no fragment yet"):
            build.merge(tmp_path / "out")
        fakes.run(raw, tmp_path / "out", size=16)
        assert self.same(tmp_path)

    def test_shards_take_its_place_too(self, raw, tmp_path):
        for number in (1, 2):
            fakes.run(raw, tmp_path / "out", How(workers=1, shard=(number, 2)), size=16)
        build.merge(tmp_path / "out")
        assert self.same(tmp_path)

    def test_but_never_while_another_shard_is_at_work(self, raw, tmp_path):
        home = tmp_path / "out" / "fragments"
        before = fakes.tree(tmp_path / "out")
        with files.lock(home / ".lock", shared=True), files.lock(home / ".lock-1-of-2"):
            for how in (How(workers=1, shard=(2, 2)), How(workers=1)):
                with pytest.raises(UsageError, match="another run is working"):
                    fakes.run(raw, tmp_path / "out", how, size=16)
        assert fakes.tree(tmp_path / "out") == before

    def test_nor_while_a_shard_of_it_is_to_come(self, tmp_path, fake):
        """One whose cases have all failed has done its work: a slip in the next shard's options must not undo it."""
        raw = fakes.raw_folder(tmp_path, names=tuple("abcd"))
        fake.raises.update(dict.fromkeys("abcd", ValueError("no")))
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 2)))
        before = fakes.tree(tmp_path / "out")
        with pytest.raises(UsageError, match="another recipe: size is none, asked for 16"):
            fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2)), size=16)
        assert fakes.tree(tmp_path / "out") == before

    def test_nor_once_a_shard_has_made_a_pair(self, raw, tmp_path):
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2)))
        for how in (How(workers=1, shard=(1, 2)), How(workers=1)):
            with pytest.raises(UsageError, match="another recipe: size is none, asked for 16"):
                fakes.run(raw, tmp_path / "out", how, size=16)


def test_a_dataset_of_which_nothing_can_be_read_any_more_is_no_failure(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    fake.raises.update(dict.fromkeys("abc", ValueError("no")))
    for name in "abc":
        fakes.write_case(raw, name, *fakes.blob(seed=ord(name)))
    with pytest.raises(InputError, match="not one pair"):
        fakes.run(raw, tmp_path / "out")
    with pytest.raises(UsageError, match="another recipe"):
        fakes.run(raw, tmp_path / "out", size=16)


def test_another_format_is_refused(tmp_path, monkeypatch):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    monkeypatch.setattr(fragments, "FORMAT", FORMAT + 1)
    with pytest.raises(UsageError, match=f"pixel format {FORMAT}, this version writes {FORMAT + 1}"):
        fakes.run(raw, tmp_path / "out")


def test_other_labels_are_refused(tmp_path, monkeypatch):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    fakes.install(monkeypatch, labels={1: "another thing"})
    with pytest.raises(UsageError, match="the source's labels"):
        fakes.run(raw, tmp_path / "out")


def test_replace_builds_beside_and_takes_the_split_along(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "clean", size=16)
    fakes.run(raw, tmp_path / "out")
    (tmp_path / "out" / "split.csv").write_text("patient,split,fold\na,train,\nb,valid,\nc,test,\n")
    built = fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16)
    assert built.dataset == tmp_path / "out" == built.merged.dataset
    assert [row["split"] for row in rows(tmp_path / "out")[::3]] == ["train", "valid", "test"]
    assert {path: data for path, data in fakes.tree(tmp_path / "out").items() if path.endswith(".png")} == {
        path: data for path, data in fakes.tree(tmp_path / "clean").items() if path.endswith(".png")
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "out", "raw"]


def test_replace_remembers_what_the_split_was_drawn_with(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    asked = split.Request(ratios=(1, 1, 1), seed=3, layout="copy")
    before = split.split(tmp_path / "out", asked)
    built = fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16)
    assert built.merged.stale
    [problem] = split.layout_problems(tmp_path / "out")
    assert problem == (".layout", "says that the split was not laid out since the dataset was replaced")
    after = split.split(tmp_path / "out", split.Request())
    assert (after.layout, [part.units for part in after.parts]) == ("copy", [part.units for part in before.parts])
    assert split.read_stamp(tmp_path / "out").seed == 3
    assert not list(split.layout_problems(tmp_path / "out"))


@pytest.mark.parametrize("killed", ["before the first rename", "between the two", "before the old one is gone"])
def test_a_swap_that_was_killed_is_ended_by_the_next_run(tmp_path, killed):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    fakes.run(raw, tmp_path / ".out.new", size=16)
    if killed != "before the first rename":
        (tmp_path / "out").rename(tmp_path / ".out.old")
    if killed == "before the old one is gone":
        (tmp_path / ".out.new").rename(tmp_path / "out")
    how = How(workers=1, replace=killed == "before the first rename")
    assert fakes.run(raw, tmp_path / "out", how, size=16).resumed == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]
    assert {row["height"] for row in rows(tmp_path / "out")} == {16}


def test_a_half_built_replacement_of_another_recipe_is_started_anew(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    fakes.run(raw, tmp_path / ".out.new", size=32)
    assert fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16).resumed == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_replace_refuses_what_is_not_a_dataset(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    for how in (How(workers=1), How(workers=1, replace=True)):
        with pytest.raises(UsageError, match="nothing that imagemask built"):
            fakes.run(raw, tmp_path / "out", how)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_replace_removes_nothing_of_the_user_s(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    (tmp_path / "out" / "models").mkdir()
    (tmp_path / "out" / "models" / "best.keras").write_text("weights")
    (tmp_path / "out" / "notes.md").write_text("years of work")
    fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16)
    assert (tmp_path / "out" / "models" / "best.keras").read_text() == "weights"
    assert (tmp_path / "out" / "notes.md").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_replace_drops_a_report_and_keeps_what_only_bears_its_name(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    out = tmp_path / "out"
    report.write(out, out / "report.html")
    shutil.copy(out / "report.html", out / "kept.html")
    ours = [path.name for path in report.pictures(out, out)]
    assert ours
    (out / "Users_Statistics.png").write_bytes(images.encode_png(np.zeros((4, 4), np.uint8), level=1))
    fakes.run(raw, out, How(workers=1, replace=True), size=16)
    assert not [name for name in ("report.html", *ours) if (out / name).exists()]
    assert (out / "kept.html").exists()
    assert (out / "Users_Statistics.png").exists()
    (out / "report.html").write_text("<!doctype html><title>My thesis</title>")
    fakes.run(raw, out, How(workers=1, replace=True), size=32)
    assert "My thesis" in (out / "report.html").read_text()


def test_a_folder_that_is_called_like_an_old_dataset_is_left_alone(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"\.out\.old: is in the way, and no dataset"):
        fakes.run(raw, tmp_path / "out")
    assert (tmp_path / ".out.old" / "thesis.txt").exists()


def test_replace_refuses_a_dataset_of_another_source(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    plan = tmp_path / "out" / "fragments" / ".plan.json"
    plan.write_text(plan.read_text().replace('"generator": "fake"', '"generator": "other"'))
    with pytest.raises(UsageError, match="holds a dataset of other, not fake"):
        fakes.run(raw, tmp_path / "out", How(workers=1, replace=True))


def test_replace_refuses_the_current_folder(tmp_path, monkeypatch):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out" / "images")
    with pytest.raises(UsageError, match="is the current folder, or holds it"):
        fakes.run(raw, tmp_path / "out", How(workers=1, replace=True))


def test_replace_goes_through_a_link_to_another_disk(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "big" / "data")
    (tmp_path / "out").symlink_to(tmp_path / "big" / "data")
    fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16)
    assert (tmp_path / "out").is_symlink()
    assert {row["height"] for row in rows(tmp_path / "big" / "data")} == {16}


def test_while_a_dataset_is_replaced_nobody_else_may_touch_it(tmp_path, fake, monkeypatch):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    read, refused = fake.read, []

    def meanwhile(one, options):
        for other in (
            lambda: split.split(tmp_path / "out", split.Request(by="image")),
            lambda: fakes.run(raw, tmp_path / "out"),
            lambda: fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=32),
            lambda: build.merge(tmp_path / "out"),
        ):
            with pytest.raises(UsageError, match="another run is working"):
                other()
            refused.append(other)
        yield from read(one, options)

    monkeypatch.setattr(fake, "read", meanwhile, raising=False)
    fakes.run(raw, tmp_path / "out", How(workers=1, replace=True), size=16)
    assert len(refused) == 12
    assert {row["height"] for row in rows(tmp_path / "out")} == {16}


def test_replace_does_not_go_with_shards(tmp_path):
    with pytest.raises(UsageError, match="--replace does not go with --shard"):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out", How(workers=1, replace=True, shard=(1, 2)))


def test_shards_are_joined_by_merge(tmp_path):
    raw = fakes.raw_folder(tmp_path, names=tuple("abcde"))
    fakes.run(raw, tmp_path / "whole")
    assert fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 2))).merged is None
    with pytest.raises(InputError, match="2 of 5 cases have no fragment yet, b for one"):
        build.merge(tmp_path / "out")
    assert fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2))).cases == 2
    build.merge(tmp_path / "out")
    assert fakes.tree(tmp_path / "out") == fakes.tree(tmp_path / "whole")


def test_shards_that_see_other_cases_are_refused(tmp_path):
    raw = fakes.raw_folder(tmp_path, names=tuple("abcde"))
    fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 2)))
    (raw / "e.mask.npy").unlink()
    with pytest.raises(UsageError, match="another shard saw other cases: e is missing here"):
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2)))
    fakes.write_case(raw, "e", *fakes.blob())
    fakes.write_case(raw, "f", *fakes.blob())
    with pytest.raises(UsageError, match="another shard saw other cases: f is new here"):
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2)))


def test_two_divisions_into_shards_do_not_run_at_once(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 2)))
    home = tmp_path / "out" / "fragments"
    with files.lock(home / ".lock-1-of-2"), pytest.raises(UsageError, match="another run is working"):
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 3)))
    fakes.run(raw, tmp_path / "out", How(workers=1, shard=(1, 3)))


def test_merge_of_nothing_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no build"):
        build.merge(tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    home = tmp_path / "out" / "fragments"
    with files.lock(home / ".lock"), pytest.raises(UsageError, match="another run is working"):
        fakes.run(raw, tmp_path / "out")
    with files.lock(home / ".lock", shared=True), files.lock(home / ".lock-1-of-2"):
        fakes.run(raw, tmp_path / "out", How(workers=1, shard=(2, 2)))
        for how in (How(workers=1, shard=(1, 2)), How(workers=1)):
            with pytest.raises(UsageError, match="another run is working"):
                fakes.run(raw, tmp_path / "out", how)
        with pytest.raises(UsageError, match="another run is working"):
            build.merge(tmp_path / "out")


def test_a_missing_raw_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match="is missing.*imagemask info fake"):
        fakes.job(tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        fakes.job(tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize("out", ["raw", "raw/out", "."])
def test_source_and_dataset_may_not_lie_inside_one_another(tmp_path, out):
    with pytest.raises(UsageError, match="lie inside one another"):
        fakes.job(fakes.raw_folder(tmp_path), tmp_path / out)


@pytest.mark.parametrize("name", ["A", "b~c", "b:c", ".b", "b\n"])
def test_ids_that_cannot_be_file_names_are_refused_before_anything_is_written(tmp_path, name):
    raw = fakes.raw_folder(tmp_path)
    fakes.write_case(raw, name, *fakes.blob())
    with pytest.raises(InputError, match="under one name|cannot be a file name"):
        fakes.run(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_source_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="holds no case"):
        fakes.run(tmp_path / "raw", tmp_path / "out")


def test_a_name_that_a_file_system_cannot_take_is_quarantined(tmp_path):
    raw = fakes.raw_folder(tmp_path, names=("a", "b" * 198))
    [(_, note)] = fakes.run(raw, tmp_path / "out").merged.quarantined
    assert (note.code, note.stage) == ("name_too_long", "write")


@pytest.mark.parametrize("length", [248, 260])
def test_so_long_a_name_that_nothing_can_be_noted_under_it_is_an_error_in_words(tmp_path, length):
    raw = fakes.raw_folder(tmp_path, names=("b",))
    fakes.run(raw, tmp_path / "out")
    job = fakes.job(raw, tmp_path / "out")
    (found,) = build.discover(job)
    assert case.run(job, replace(found, id="b" * 201)).outcome == "quarantined"
    with pytest.raises(InputError, match="File name too long"):
        case.run(job, replace(found, id="b" * length))


PAIR = 2 * 24 * 20  # bytes


@pytest.fixture(
    params=[
        "beside, each pair by itself",
        "beside, three pairs at a time",
        "at the end, as there is little of it",
        "at once, as every processor has its worker",
    ]
)
def hashing(request, monkeypatch):
    little = "little" in request.param
    monkeypatch.setattr(pairs, "_AT_ONCE", 1 << 21 if little else 3 * PAIR if "three" in request.param else 1)
    monkeypatch.setattr(pool, "_SMALL", 1 << 19 if little else 0)
    monkeypatch.setattr(pool, "beside", pool.InProcess if "every" in request.param else pool._Spare)


def test_a_file_that_cannot_be_hashed_is_quarantined(tmp_path, monkeypatch, hashing):
    def unreadable(path):
        if path.name == "b.npy":
            raise OSError(errno.EACCES, "Permission denied", str(path))
        return sha256(path)

    sha256 = files.sha256
    monkeypatch.setattr(files, "sha256", unreadable)
    [(name, note)] = fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out").merged.quarantined
    assert (name, note.code, note.file) == ("b", "unreadable_file", "b.npy")


@pytest.mark.parametrize("slices", [1, 2, 5, 6])
def test_of_a_case_that_fails_at_its_last_slice_nothing_is_left(tmp_path, monkeypatch, hashing, slices):
    class Torn(fakes.Fake):
        def read(self, case, options):
            for piece in super().read(case, options):
                if case.id == "b" and piece.index == slices - 1:
                    raise CaseError("short_data", "the file ends here", remedy="Fetch it again")
                yield piece

    raw = fakes.raw_folder(tmp_path, slices=slices)
    fakes.install(monkeypatch, Torn())
    merged = fakes.run(raw, tmp_path / "out").merged
    [(name, note)] = merged.quarantined
    assert (name, note.code, merged.removed) == ("b", "short_data", 0)  # merge removes what nobody names, and counts it
    left = sorted(path.name for folder in ("images", "masks") for path in (tmp_path / "out" / folder).iterdir())
    assert left == sorted(f"{case}-{index:04d}.png" for case in "ac" for index in range(slices) for _ in range(2))


@pytest.mark.parametrize(
    ("beside", "at_once", "handed_over"),
    [
        (pool._Spare, 3 * PAIR, [3, 3, 1]),
        (pool._Spare, 3 * PAIR + 1, [4, 3]),
        (pool._Spare, 3 * PAIR - 1, [3, 3, 1]),
        (pool._Spare, 1 << 21, [7]),
        (pool.InProcess, 1 << 21, [1] * 7 + [0]),
    ],
)
def test_pairs_are_handed_over_by_their_bytes(tmp_path, monkeypatch, beside, at_once, handed_over):
    counts, finish = [], pairs._finish
    monkeypatch.setattr(pairs, "_finish", lambda dataset, given: counts.append(len(given)) or finish(dataset, given))
    monkeypatch.setattr(pairs, "_AT_ONCE", at_once)
    monkeypatch.setattr(pool, "beside", beside)
    fakes.run(fakes.raw_folder(tmp_path, names=("a",), slices=7), tmp_path / "out")
    assert sorted(counts) == sorted(handed_over)


def test_four_ct_slices_are_handed_over_at_a_time():
    assert pairs._AT_ONCE == 4 * 2 * 512 * 512


@pytest.mark.parametrize("lack", [InputError("masks/b-0000.png: No space left", remedy="Make room"), MemoryError()])
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("at_once", [PAIR, 3 * PAIR])
@pytest.mark.parametrize("beside", [pool._Spare, pool.InProcess])
def test_a_mask_that_cannot_be_written_ends_the_build_soon_whatever_else_is_wrong(
    tmp_path, monkeypatch, lack, torn, at_once, beside
):
    class Long(fakes.Fake):
        def read(self, case, options):
            for piece in super().read(case, options):
                read.append(case.id)
                yield piece
                if torn and case.id == "b" and piece.index == 3:
                    raise CaseError("short_data", "the file ends here", remedy="Fetch it again")

    def full(path, data, **how):
        if path.parent.name == "masks" and path.name.startswith("b-"):
            raise lack
        write(path, data, **how)

    read, write = [], files.write_atomic
    monkeypatch.setattr(files, "write_atomic", full)
    monkeypatch.setattr(pairs, "_AT_ONCE", at_once)
    monkeypatch.setattr(pool, "beside", beside)
    fakes.install(monkeypatch, Long())
    with pytest.raises(InputError, match=r"b-0000\.png: No space left|b: out of memory"):
        fakes.run(fakes.raw_folder(tmp_path, slices=60), tmp_path / "out")
    # However slow the thread is: either it has failed when the next are handed over, or the worker itself fails there.
    assert read.count("b") <= 2 * at_once // PAIR
    assert not fragments.path_of(tmp_path / "out", "b").exists()


class Engrossed(Executor):
    """Takes the first call, and has no time for it until somebody waits; whoever asks for others makes them."""

    def __init__(self):
        self.late = None

    def submit(self, call, *given):
        if self.late is None:
            self.late = Late(call, *given)
            return self.late
        return pool.InProcess().submit(call, *given)


class Late(Future):
    def __init__(self, call, *given):
        super().__init__()
        self.call = partial(call, *given)

    def result(self, timeout=None):
        return self.call()

    def exception(self, timeout=None):
        raise AssertionError("asked before it has ended")


def ended_by(tmp_path, monkeypatch, lacks, pairs_at_once=1):
    """What ended a build whose thread had the first pairs in hand, and what was done before, in order.

    ``lacks``: what the mask of a slice fails by.
    """

    class Long(fakes.Fake):
        def read(self, case, options):
            for piece in super().read(case, options):
                done.append(f"read {piece.index}")
                yield piece

    def full(path, data, **how):
        if path.parent.name == "masks":
            index = int(path.stem.rpartition("-")[2])
            done.append(f"mask {index}")
            if index in lacks:
                raise lacks[index]
        write(path, data, **how)

    done, write = [], files.write_atomic
    monkeypatch.setattr(files, "write_atomic", full)
    monkeypatch.setattr(pairs, "_AT_ONCE", pairs_at_once * PAIR)
    monkeypatch.setattr(pool, "beside", Engrossed)
    monkeypatch.setattr(pool, "begin", lambda executor, size, call, *given: pool.InProcess().submit(call, *given))
    fakes.install(monkeypatch, Long())
    with pytest.raises(InputError) as caught:
        fakes.run(fakes.raw_folder(tmp_path, names=("a",), slices=60), tmp_path / "out")
    return str(caught.value), done


def no_space(index):
    return InputError(f"mask {index}: No space left", remedy="Make room")


def test_what_the_worker_itself_could_not_write_ends_the_build_though_the_thread_is_busy(tmp_path, monkeypatch):
    said, done = ended_by(tmp_path, monkeypatch, {2: no_space(2)})
    assert said.startswith("mask 2: No space left")
    assert done == ["read 0", "read 1", "mask 1", "read 2", "mask 2", "mask 0"]


@pytest.mark.parametrize(
    ("pairs_at_once", "lacks", "told"),
    [
        (1, {0: no_space(0), 1: no_space(1)}, "mask 0: No space left"),
        (1, {0: no_space(0), 1: RuntimeError("odd")}, "mask 0: No space left"),
        (1, {0: RuntimeError("odd"), 1: no_space(1)}, "mask 1: No space left"),
        (1, {0: MemoryError(), 1: RuntimeError("odd")}, "a: out of memory"),
        (1, {0: MemoryError(), 1: no_space(1)}, "a: out of memory"),
        (59, {0: no_space(0), 59: RuntimeError("odd")}, "mask 0: No space left"),  # the last is left when all is read
        (59, {0: RuntimeError("odd"), 59: no_space(59)}, "mask 59: No space left"),
    ],
)
def test_what_disk_or_memory_lack_is_told_whatever_else_fails(tmp_path, monkeypatch, pairs_at_once, lacks, told):
    said, _ = ended_by(tmp_path, monkeypatch, lacks, pairs_at_once)
    assert said.startswith(told)


def test_a_case_s_key_has_what_all_cases_share(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    job = fakes.job(raw, tmp_path / "out")
    assert job.plan_key == fragments.plan_key(job.recipe, job.source)
    assert job.plan_key != fakes.job(raw, tmp_path / "out", keep_empty=True).plan_key
    fakes.run(raw, tmp_path / "out")
    (one, *_) = build.discover(job)
    assert case.is_done(job, one)
    assert not case.is_done(replace(job, plan_key="another"), one)


def test_pictures_that_cannot_be_removed_are_an_error_in_words(tmp_path, fake, monkeypatch):
    def kept(path, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    np.save(raw / "b.npy", np.zeros((3, 24, 20), np.uint8))
    fake.raises["b"] = CaseError("short_data", "the file ends here", remedy="Fetch it again")
    job = fakes.job(raw, tmp_path / "out")
    found = next(one for one in build.discover(job) if one.id == "b")
    monkeypatch.setattr(type(tmp_path), "unlink", kept)
    monkeypatch.setattr(fragments, "forget", lambda *_: None)
    with pytest.raises(InputError, match=r"b-0000\.png: cannot be written: Permission denied. Choose a folder"):
        case.run(job, found)


def test_a_mask_is_written_while_the_next_slices_are_read(tmp_path, monkeypatch):
    """Else nothing is gained by a thread: each write waits for a slice that is read after it was begun."""
    later, write, waited, spare = threading.Event(), files.write_atomic, [], pool._Spare()

    class Long(fakes.Fake):
        def read(self, case, options):
            spare._last.exception()  # the hash has ended, and the thread is free
            for piece in super().read(case, options):
                if piece.index == 4:
                    later.set()
                yield piece

    def slowly(path, data, **how):
        if path.parent.name == "masks" and path.name.endswith("-0000.png"):
            waited.append(later.wait(300))
        write(path, data, **how)

    monkeypatch.setattr(pool, "_SMALL", 0)
    monkeypatch.setattr(pairs, "_AT_ONCE", 1)
    monkeypatch.setattr(pool, "beside", lambda: spare)
    monkeypatch.setattr(files, "write_atomic", slowly)
    fakes.install(monkeypatch, Long())
    fakes.run(fakes.raw_folder(tmp_path, names=("a",), slices=8), tmp_path / "out")
    assert waited == [True]


def test_a_case_that_fails_keeps_none_of_its_arrays(tmp_path, monkeypatch):
    """Its error knows every frame that it went through, and a worker goes on to the next case."""
    held = []

    class Torn(fakes.Fake):
        def read(self, case, options):
            image = np.zeros((24, 20), np.uint8)
            held.append(weakref.ref(image))
            yield Slice(0, image, image, source=case.images[0])
            raise CaseError("short_data", "the file ends here", remedy="Fetch it again")

    fakes.install(monkeypatch, Torn())
    job = fakes.job(fakes.raw_folder(tmp_path, names=("a",)), tmp_path / "out")
    (found,) = build.discover(job)
    files.make_folder(job.dataset / fragments.FOLDER)
    gc.disable()
    try:
        assert case.run(job, found).outcome == "quarantined"
        assert [one() for one in held] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("slices", [1, 2, 5])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_disk_that_is_full_is_no_fault_of_the_case(tmp_path, monkeypatch, hashing, folder, slices):
    def full(path, data, **how):
        if path.parent.name == folder and path.name == f"b-{slices - 1:04d}.png":
            raise files.output_error(path, OSError(errno.ENOSPC, "No space left on device", str(path)))
        write(path, data, **how)

    raw, write = fakes.raw_folder(tmp_path, slices=slices), files.write_atomic
    fakes.run(raw, tmp_path / "plain")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", full)
        with pytest.raises(InputError, match=rf"{folder}/b-.*No space left on device.*run the same command again"):
            fakes.run(raw, tmp_path / "out")
        assert not fragments.path_of(tmp_path / "out", "b").exists()
    assert fakes.run(raw, tmp_path / "out").resumed == 1
    assert fakes.tree(tmp_path / "out") == fakes.tree(tmp_path / "plain")


@pytest.mark.parametrize("slices", [1, 2, 5, 6])
@pytest.mark.parametrize("recipe", [{}, {"flips": ("h",)}, {"window": ("0:255",)}])
def test_a_generator_may_use_its_arrays_again(tmp_path, monkeypatch, hashing, slices, recipe):
    class Thrifty(fakes.Fake):
        def read(self, case, options):
            image, mask = np.empty((24, 20), np.uint8), np.empty((24, 20), np.uint8)
            for piece in super().read(case, options):
                image[:], mask[:] = piece.image, piece.mask
                yield replace(piece, image=image, mask=mask)
            image[:], mask[:] = 7, 0

    raw = fakes.raw_folder(tmp_path, names=("a",), slices=slices)
    fakes.run(raw, tmp_path / "plain", **recipe)
    fakes.install(monkeypatch, Thrifty())
    fakes.run(raw, tmp_path / "out", **recipe)
    assert fakes.tree(tmp_path / "out") == fakes.tree(tmp_path / "plain")


def test_nothing_built_is_an_error_that_names_the_first_reason_and_counts_the_others(tmp_path, fake):
    fake.raises.update(dict.fromkeys("bc", CaseError("bad_affine", "it lies askew", remedy="Turn it")))
    fake.raises["c"] = ValueError("no")
    empty = fakes.raw_folder(tmp_path, empty=(0, 1, 2))
    told = r"not one pair was built from 3 cases: 2 quarantined, 3 without foreground \(.*/out/quarantine\.csv\), "
    told += r"the first is b: b\.npy: it lies askew \[bad_affine\]\. Turn it$"
    with pytest.raises(InputError, match=told):
        fakes.run(empty, tmp_path / "out")
    assert len((tmp_path / "out" / "quarantine.csv").read_text().splitlines()) == 3
    fake.raises.clear()
    with pytest.raises(InputError, match=r"3 cases\. No mask has any foreground as it is written\. --keep-empty keeps"):
        fakes.run(empty, tmp_path / "out")


def test_a_file_that_changes_while_it_is_read_is_quarantined(tmp_path, fake, monkeypatch):
    raw = fakes.raw_folder(tmp_path)
    read = fake.read

    def disturbed(one, options):
        yield from read(one, options)
        if one.id == "b":
            os.utime(one.images[0], ns=(1, 1))

    monkeypatch.setattr(fake, "read", disturbed, raising=False)
    [(name, note)] = fakes.run(raw, tmp_path / "out").merged.quarantined
    assert (name, note.code) == ("b", "changed_while_read")


def test_empty_pairs_are_kept_when_asked_for(tmp_path):
    raw = fakes.raw_folder(tmp_path, empty=(1,))
    counts = fakes.run(raw, tmp_path / "out", keep_empty=True).merged.counts
    assert (counts.pairs, counts.foreground_pairs, counts.slices_empty) == (9, 6, 0)


@pytest.mark.parametrize("keep_empty", [True, False])
def test_a_lesion_that_is_lost_in_shrinking_is_flagged(tmp_path, keep_empty):
    image, mask = fakes.blob(slices=2, size=(64, 64))
    mask[1] = 0
    mask[1, 10, 10] = 1
    fakes.write_case(tmp_path / "raw", "a", image, mask)
    merged = fakes.run(tmp_path / "raw", tmp_path / "out", size=16, keep_empty=keep_empty).merged
    assert merged.flags == {"foreground_lost": 1}
    assert [row["flags"] for row in rows(tmp_path / "out")] == (["", "foreground_lost"] if keep_empty else [""])


def test_variants_are_applied_one_at_a_time_and_no_copy_is_written_twice(tmp_path):
    image, mask = fakes.blob(slices=1)
    image[0], mask[0] = image[0] // 2 + image[0][:, ::-1] // 2, mask[0] | mask[0][:, ::-1]  # a mirror image of itself
    fakes.write_case(tmp_path / "raw", "a", image, mask)
    fakes.run(tmp_path / "raw", tmp_path / "out", crops=(2,), flips=("h", "v"), rotations=(5.0,))
    assert {row["variant"] for row in rows(tmp_path / "out")} == {"", "crop2", "flipv", "rot5"}


def test_combine_writes_the_product(tmp_path):
    fakes.write_case(tmp_path / "raw", "a", *fakes.blob(slices=1))
    fakes.run(tmp_path / "raw", tmp_path / "out", crops=(2,), flips=("h",), rotations=(90.0,), combine=True)
    found = {row["variant"] for row in rows(tmp_path / "out")}
    assert found == {"", "crop2", "fliph", "rot90", "crop2+fliph", "crop2+rot90", "fliph+rot90", "crop2+fliph+rot90"}


@given(
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    flips=st.sets(st.sampled_from("hv")),
    turns=st.sets(st.sampled_from([90.0, 180.0, 270.0, -90.0])),
    padded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_build_then_restore_gives_the_source_s_mask_back(size, flips, turns, padded, seed):
    mask = np.zeros(size, np.uint8)
    rng = np.random.default_rng(seed)
    mask[rng.integers(0, size[0], 30), rng.integers(0, size[1], 30)] = 1
    image = rng.integers(0, 256, size, dtype=np.uint8)
    recipe = fakes.build.Recipe(
        generator="fake",
        name="fake",
        size=max(size) if padded else None,
        flips=tuple(sorted(flips)),
        rotations=tuple(sorted(turns)),
    )
    written = list(pairs.of_slice(fakes.Slice(0, image, mask), fakes.source(), recipe))
    assert written[0].variant == ""
    for pair in written:
        back = pixels.restore(pair.mask, source=size, box=pair.box, pad=pair.pad, variant=pair.variant)
        assert np.array_equal(back, mask * 255), pair.variant


def test_the_window_s_numbers_are_the_recipe_not_its_name(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    assert fakes.job(raw, tmp_path / "out", window=("lung",)).recipe.window == ("-1350:150",)
    with pytest.raises(UsageError, match="2 windows were given"):
        fakes.job(raw, tmp_path / "out", window=("lung", "bone"))
    assert fakes.job(raw, tmp_path / "out", window=("-1000.1234:150.5",)).recipe.window == ("-1000.1234:150.5",)
    with pytest.raises(UsageError, match="--size 3"):
        fakes.job(raw, tmp_path / "out", size=3)


def test_what_is_asked_for_in_another_order_is_the_same_recipe(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    one = fakes.job(raw, tmp_path / "out", flips=("v", "h"), crops=(4, 2, 2), rotations=(5.0, -5.0))
    assert one.recipe == fakes.job(raw, tmp_path / "out", flips=("h", "v"), crops=(2, 4), rotations=(-5.0, 5.0)).recipe


@pytest.mark.parametrize("recipe", [{"rotations": (400.0,)}, {"stretch": True}, {"flips": ("x",)}, {"combine": True}])
def test_a_recipe_that_cannot_be_is_refused_before_anything_is_written(tmp_path, recipe):
    with pytest.raises(UsageError):
        fakes.run(fakes.raw_folder(tmp_path), tmp_path / "out", **recipe)
    assert not (tmp_path / "out").exists()


def test_dataset_json_states_recipe_source_counts_and_labels(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out", size=16)
    document = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert document["schema"] == "imagemask.dataset/1"
    assert (document["name"], document["generator"], document["format"]) == ("fake", "fake", FORMAT)
    assert document["recipe"]["size"] == 16
    assert document["source"]["licence"] == "CC0-1.0"
    assert document["labels"] == [{"name": "thing", "source_value": 1, "mask_value": 255}]
    assert document["counts"]["pairs"] == 9
    assert document["versions"]["imagemask"]


def test_an_existing_split_is_applied_again_and_new_patients_stay_blank(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "out")
    (tmp_path / "out" / "split.csv").write_text("patient,split,fold\na,train,\nb,valid,\nc,test,\n")
    fakes.write_case(raw, "d", *fakes.blob(seed=4))
    merged = fakes.run(raw, tmp_path / "out").merged
    assert merged.unassigned == 1
    assert [row["split"] for row in rows(tmp_path / "out")[::3]] == ["train", "valid", "test", ""]


def test_an_estimate_is_measured_on_a_case_and_writes_nothing(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    found = estimate(fakes.job(raw, tmp_path / "out"), How(workers=2))
    assert (found.cases, found.excluded, found.workers) == (3, 0, 2)
    assert found.bytes_out > 0
    assert found.measured_on in "abc"
    assert found.bytes_in == sum(path.stat().st_size for path in raw.iterdir())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "processors", "memory", "workers"),
    [(1, 8, 64, 1), (2, 1, 64, 2), (8, 8, 64, 2), (None, 8, 64, 2), (None, 1, 64, 1), (None, 8, 1, 1)],
)
def test_no_more_workers_than_cases_to_build(tmp_path, asked, processors, memory, workers, monkeypatch):
    fakes.install(monkeypatch, excluded={"c": "withdrawn"})
    monkeypatch.setattr(pool, "processors", lambda: processors)
    monkeypatch.setattr(pool, "free_memory", lambda: memory << 30)
    made, raw = [], fakes.raw_folder(tmp_path)
    how = How(workers=asked, executor=lambda number: made.append(number) or pool.InProcess())
    assert estimate(fakes.job(raw, tmp_path / "out"), how).workers == workers
    assert fakes.run(raw, tmp_path / "out", how).workers == workers
    assert made == [workers]
    (tmp_path / "out/fragments/b.json").unlink()
    assert estimate(fakes.job(raw, tmp_path / "out"), how).workers == 1
    assert fakes.run(raw, tmp_path / "out", how).workers == workers  # it cannot know that a case is done


@pytest.mark.parametrize("workers", [1, 8])
def test_only_workers_1_works_in_this_process(tmp_path, monkeypatch, workers):
    """One case, or none, has one worker; one that is killed takes nothing along, unless --workers 1 was asked for."""
    made, raw = [], fakes.raw_folder(tmp_path, names=("a", "b", "c"))
    monkeypatch.setattr(pool, "processes", lambda number: made.append(number) or pool.InProcess())
    for shard in range(1, 5):
        assert fakes.run(raw, tmp_path / "out", How(workers=workers, shard=(shard, 4))).workers == 1
    assert made == [1] * 4 * (workers > 1)


def test_an_estimate_is_not_measured_on_a_case_that_cannot_be_built(tmp_path, fake):
    raw = fakes.raw_folder(tmp_path)
    fake.raises.update(dict.fromkeys("bc", ValueError("no")))
    assert estimate(fakes.job(raw, tmp_path / "out"), How()).measured_on == "a"
    fake.raises["a"] = ValueError("no")
    assert estimate(fakes.job(raw, tmp_path / "out"), How(shard=(1, 2))).measured_on == ""


def refusal(work):
    """The kind and the words of a refusal; None where there is none."""
    try:
        work()
    except (UsageError, InputError) as error:
        return type(error), str(error)
    return None


def other_recipe(raw, out):
    fakes.run(raw, out, size=32)


def foreign(raw, out):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")


def a_file(raw, out):
    out.write_text("mine")


def other_source(raw, out):
    other_recipe(raw, out)
    plan = out / "fragments" / ".plan.json"
    plan.write_text(plan.read_text().replace('"generator": "fake"', '"generator": "other"'))


def other_cases(raw, out):
    fakes.run(raw, out, size=16)
    fakes.write_case(raw, "d", *fakes.blob(seed=4))


def old_in_the_way(raw, out):
    out.with_name(".out.old").mkdir()


def folders_in_the_way(raw, out):
    fakes.run(raw, out, size=16)
    (out / "train").mkdir()


@pytest.mark.parametrize(
    ("how", "prepare"),
    [
        (How(workers=1), other_recipe),
        (How(workers=1), foreign),
        (How(workers=1), a_file),
        (How(workers=1), old_in_the_way),
        (How(workers=1, shard=(1, 2)), other_cases),
        (How(workers=1, replace=True), foreign),
        (How(workers=1, replace=True), a_file),
        (How(workers=1, replace=True), other_source),
        (How(workers=1, replace=True), folders_in_the_way),
        (How(workers=1, replace=True, shard=(1, 2)), lambda raw, out: None),
    ],
)
def test_an_estimate_refuses_what_the_build_refuses_in_the_same_words(tmp_path, how, prepare):
    raw, out = fakes.raw_folder(tmp_path), tmp_path / "out"
    prepare(raw, out)
    before = fakes.tree(tmp_path)
    refused = refusal(lambda: estimate(fakes.job(raw, out, size=16), how))
    assert fakes.tree(tmp_path) == before
    assert refused == refusal(lambda: fakes.run(raw, out, how, size=16)) is not None


def test_an_estimate_refuses_a_dataset_below_a_file(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="out: cannot be written: Not a directory"):
        estimate(fakes.job(raw, tmp_path / "file" / "out"), How())


def test_an_estimate_refuses_what_gives_no_pair_and_says_why(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    with pytest.raises(InputError, match=r"not one pair would be built from 3 cases. b: .*\[crop_too_large\]"):
        estimate(fakes.job(raw, tmp_path / "out", crops=(12,)), How())
    raw = fakes.raw_folder(tmp_path / "empty", empty=(0, 1, 2))
    with pytest.raises(InputError, match=r"not one pair would be built from 3 cases. No mask has any foreground"):
        estimate(fakes.job(raw, tmp_path / "out"), How())


@pytest.mark.parametrize("replaced", [False, True])
def test_an_estimate_counts_what_was_done_before_and_is_still_so(tmp_path, replaced):
    raw, out = fakes.raw_folder(tmp_path), tmp_path / "out"
    fakes.run(raw, out.with_name(".out.new") if replaced else out)
    how = How(workers=1, replace=replaced)
    found = estimate(fakes.job(raw, out), how)
    assert (found.cases, found.done, found.measured_on, found.bytes_out) == (0, 3, "", 0)
    fakes.write_case(raw, "b", *fakes.blob(seed=9))
    (raw / "c.npy").unlink()
    found = estimate(fakes.job(raw, out), how)
    assert (found.cases, found.done, found.measured_on) == (2, 1, "b")
    assert fakes.run(raw, out, how).resumed == found.done


def test_an_estimate_looks_where_a_swap_that_was_killed_left_the_dataset(tmp_path):
    raw, out = fakes.raw_folder(tmp_path), tmp_path / "out"
    fakes.run(raw, tmp_path / ".out.old", size=32)
    fakes.run(raw, tmp_path / ".out.new", size=16)
    before = fakes.tree(tmp_path)
    assert estimate(fakes.job(raw, out, size=16), How()).done == 3
    assert estimate(fakes.job(raw, out, size=16), How(replace=True)).done == 0
    assert fakes.tree(tmp_path) == before


def test_a_pipe_is_not_opened_and_told(tmp_path):
    raw = fakes.raw_folder(tmp_path)
    with fifo(raw / "pipe"):
        assert fakes.run(raw, tmp_path / "out").passed_over == ("pipe",)


def test_flags_of_reading_and_of_windowing_reach_the_row_and_the_counts(tmp_path, fake):
    image, mask = fakes.blob(slices=1)
    fakes.write_case(tmp_path / "raw", "a", image.astype(np.uint16) * 257, mask)
    fake.extra["flags"] = ("noted",)
    merged = fakes.run(tmp_path / "raw", tmp_path / "out").merged
    assert merged.flags == {"depth_reduced": 1, "noted": 1}
    assert [row["flags"] for row in rows(tmp_path / "out")] == ["depth_reduced noted"]


def test_what_is_built_from_a_phantom_says_so(tmp_path):
    """In dataset.json, from which the card is made; without the marker nothing is said."""
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "real")
    (raw / PHANTOM).write_text("{}")
    fakes.run(raw, tmp_path / "synthetic")
    told = [manifest.read_dataset(tmp_path / name)["source"]["notes"] for name in ("real", "synthetic")]
    assert not any("Synthetic" in note for note in told[0])
    assert told[1][0].startswith("Synthetic")
