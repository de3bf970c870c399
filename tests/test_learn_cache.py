"""The cache of decoded pairs: right, made once, whole or not there, never of other pixels, in nobody's way."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import fakes
import numpy as np
import pytest
import trainable
from lacking import without

from imagemask import build, files, images, manifest, split, verify
from imagemask.errors import InputError, UsageError
from imagemask.learn import cache, dataset, fit
from imagemask.learn.cache import open_cache

SIZE = {"height": 20, "width": 24, "channels": 1}
KINDS = ("images", "masks")

SCRIPT = """
import os, signal, sys
from pathlib import Path
from imagemask.learn import cache, dataset

folder, at, fallback = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
done = 0

def progress(pairs):
    global done
    done += pairs
    if done >= at > 0:
        os.kill(os.getpid(), signal.SIGKILL)

cache._AT_A_TIME = 2
made = cache.open_cache(
    dataset.read(folder), height=20, width=24, channels=1, progress=progress,
    fallback=Path(fallback[0]) if fallback else None,
)
print(done, int(made.images.sum(dtype="int64")), *made.notes)
"""


def run(folder, *more, at=0, lacks=None):
    """Open the cache in a process of its own, really killed after ``at`` pairs."""
    command = [sys.executable, "-c", SCRIPT, str(folder), str(at), *map(str, more)]
    command = without(lacks, command) if lacks else command
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, rc=0):
    out, error = process.communicate(timeout=120)
    assert process.returncode == rc, error
    return out.split(maxsplit=2)


def pixels(data, key):
    image, mask = (images.read_png(data.folder / kind / f"{key}.png") for kind in KINDS)
    return image, manifest.to_labels(mask, data.document)


def names(folder):
    return sorted(path.name for path in (folder / cache.FOLDER).iterdir() if path.name != ".lock")


def never(*args):
    raise AssertionError("decoded again")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(no_waiting_for_the_disk):
    """Every cache that is written ends by it."""


@pytest.fixture
def data(tmp_path):
    return trainable.read(tmp_path / "set")


@pytest.mark.parametrize(("channels", "colours"), [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("classes", [1, 3])
def test_every_pair_is_there_as_it_is_on_disk(tmp_path, channels, colours, classes):
    data = trainable.read(tmp_path, colours=colours, classes=classes)
    made = open_cache(data, height=20, width=24, channels=channels)
    assert made.images.shape == (7, 20, 24, channels)
    assert made.masks.shape == (7, 20, 24)
    assert made.images.dtype == made.masks.dtype == np.uint8
    assert list(made.position) == list(data.rows["key"])
    for key, number in made.position.items():
        image, labels = pixels(data, key)
        np.testing.assert_array_equal(made.images[number], fit.in_channels(image, channels))
        np.testing.assert_array_equal(made.masks[number], labels)
    assert made.masks.max() == classes
    assert made.notes == ()


def test_pictures_of_other_sizes_are_fitted_on_the_background(tmp_path):
    sizes = [(20, 24), (10, 24), (50, 31), (6, 6), (64, 64), (24, 20), (20, 24)]
    pairs = {f"p{number}": trainable.picture(number, size) for number, size in enumerate(sizes)}
    data = dataset.read(trainable.write(tmp_path, pairs))
    assert data.size is None
    made = open_cache(data, **SIZE, background=9)
    for key, number in made.position.items():
        image, labels = pixels(data, key)
        fitted, _ = fit.fit(image, 20, 24, background=9)
        np.testing.assert_array_equal(made.images[number, ..., 0], fitted)
        np.testing.assert_array_equal(made.masks[number], fit.fit_labels(labels, 20, 24))
    assert (made.images[1, 0] == 9).all()


def test_a_crop_leaves_the_centre(data):
    made = open_cache(data, height=10, width=12, channels=1, crop=0.25)
    for key, number in made.position.items():
        image, labels = pixels(data, key)
        np.testing.assert_array_equal(made.images[number, ..., 0], image[5:15, 6:18])
        np.testing.assert_array_equal(made.masks[number], labels[5:15, 6:18])


def test_what_is_left_of_a_picture_does_not_keep_the_whole_of_it_in_memory(data, monkeypatch):
    real, kept = cache._Form.decoded, []

    def looked_at(form, row):
        kept.append(real(form, row))
        return kept[-1]

    monkeypatch.setattr(cache._Form, "decoded", looked_at)
    open_cache(data, height=10, width=12, channels=1, crop=0.25)
    for array in (array for pair in kept for array in pair):
        assert array.flags.c_contiguous
        assert array.base is None or array.base.nbytes == array.nbytes


def test_it_is_a_read_only_map_of_npy_files(data):
    made = open_cache(data, **SIZE)
    first, second = names(data.folder)
    for array, name in ((made.images, first), (made.masks, second)):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, np.load(data.folder / cache.FOLDER / name))
    assert first.startswith(data.digest[:16])


def test_nothing_is_decoded_twice(data, monkeypatch):
    told = []
    made = open_cache(data, **SIZE, progress=told.append)
    assert sum(told) == 7
    monkeypatch.setattr(images, "read_png", never)
    again = open_cache(data, **SIZE, progress=never)
    np.testing.assert_array_equal(made.images, again.images)
    np.testing.assert_array_equal(made.masks, again.masks)
    assert made.position == again.position


def test_a_new_split_uses_the_same_cache(data, monkeypatch):
    open_cache(data, **SIZE)
    rows = manifest.read(data.folder)
    manifest.write(data.folder, rows.assign(split=np.roll(rows["split"], 1)))
    monkeypatch.setattr(images, "read_png", never)
    open_cache(dataset.read(data.folder), **SIZE)


@pytest.mark.parametrize(("limit", "value"), [("_AT_A_TIME", 2), ("_MEMORY", 2 * 20 * 24 * 2), ("_MEMORY", 1)])
def test_memory_holds_some_pairs_at_a_time(data, monkeypatch, limit, value):
    """Decoding goes in portions; what was decoded before is let go."""
    made, most, real = [], 0, fit.fit_labels

    def counted(mask, height, width, **how):
        nonlocal most
        fitted = real(mask, height, width, **how).copy()
        made.append(weakref.ref(fitted))
        most = max(most, sum(one() is not None for one in made))
        return fitted

    monkeypatch.setattr(fit, "fit_labels", counted)
    monkeypatch.setattr(cache, limit, value)
    monkeypatch.setattr(cache, "_THREADS", 1)  # of several, one may be held up while it still holds what it has made
    open_cache(data, **SIZE)
    assert len(made) == 7
    assert most <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_picture_is_not_trained_on(data, kind):
    key = data.rows["key"].iloc[3]
    path = data.folder / kind / f"{key}.png"
    changed = images.read_png(path)
    changed[0, 0] = 255 - changed[0, 0]
    path.write_bytes(images.encode_png(changed, level=1))
    with pytest.raises(InputError, match=f"{key} is not the pair that was built"):
        open_cache(data, **SIZE)
    assert names(data.folder) == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
def test_a_pair_that_cannot_be_read_is_named(data, damage):
    key = data.rows["key"].iloc[6]
    damage(data.folder / "images" / f"{key}.png")
    with pytest.raises(InputError, match=key) as caught:
        open_cache(data, **SIZE)
    assert "imagemask verify" in caught.value.remedy
    assert names(data.folder) == []


def test_a_value_without_a_label_is_named(tmp_path):
    image, mask = trainable.picture(0)
    pairs = {"a": (image, mask), "b": (image, mask // 255 * 77), "c": (image, mask)}
    data = dataset.read(trainable.write(tmp_path, pairs))
    with pytest.raises(InputError, match=r"b-0000.*\[77\]"):
        open_cache(data, **SIZE)


def test_colours_do_not_become_grey_by_themselves(tmp_path):
    pairs = {f"p{number}": trainable.picture(number, colours=number == 1) for number in range(3)}
    data = dataset.read(trainable.write(tmp_path, pairs))
    with pytest.raises(UsageError, match="p1-0000: the picture has 3 channels, and the network takes 1"):
        open_cache(data, **SIZE)
    mixed = open_cache(data, height=20, width=24, channels=3)
    assert (mixed.images[0] == mixed.images[0, ..., :1]).all()
    assert not (mixed.images[1] == mixed.images[1, ..., :1]).all()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"x")


def reshape(path):
    """Another shape of as many bytes, under a header of the same length."""
    np.save(path, np.load(path).reshape(-1))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, lengthen, reshape, empty, Path.unlink])
@pytest.mark.parametrize("which", [0, 1])
def test_a_cache_that_is_not_whole_is_made_again(data, damage, which):
    made = open_cache(data, **SIZE)
    before = np.array(made.images), np.array(made.masks)
    damage(data.folder / cache.FOLDER / names(data.folder)[which])
    told = []
    again = open_cache(data, **SIZE, progress=told.append)
    assert sum(told) == 7
    np.testing.assert_array_equal(again.images, before[0])
    np.testing.assert_array_equal(again.masks, before[1])


@pytest.mark.parametrize(
    "other",
    [{"height": 32}, {"width": 32}, {"channels": 3}, {"background": 5}, {"crop": 0.1}],
    ids=lambda one: next(iter(one)),
)
def test_each_form_has_a_cache_of_its_own(data, other, monkeypatch):
    open_cache(data, **SIZE)
    open_cache(data, **{**SIZE, **other})
    assert len(names(data.folder)) == 4
    monkeypatch.setattr(images, "read_png", never)
    open_cache(data, **SIZE)
    open_cache(data, **{**SIZE, **other})


def test_caches_of_other_pixels_go_and_what_is_mapped_stays(data):
    old = open_cache(data, **SIZE)
    before = np.array(old.images)
    stale = names(data.folder)
    (data.folder / cache.FOLDER / "notes.txt").write_text("mine")
    anew = trainable.read(data.folder, count=8)
    made = open_cache(anew, **SIZE)
    assert len(made.images) == 8
    assert not set(stale) & set(names(data.folder))
    assert len(names(data.folder)) == 3
    assert (data.folder / cache.FOLDER / "notes.txt").exists()
    np.testing.assert_array_equal(old.images, before)


def test_changed_code_makes_a_new_cache(data, monkeypatch):
    open_cache(data, **SIZE)
    stale = names(data.folder)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    told = []
    open_cache(data, **SIZE, progress=told.append)
    assert sum(told) == 7
    assert not set(stale) & set(names(data.folder))


@pytest.mark.parametrize("at", [2, 6, 7])
def test_what_a_killed_run_leaves_the_next_removes(data, at):
    ended(run(data.folder, at=at), rc=-signal.SIGKILL)
    left = names(data.folder)
    assert len(left) == 2
    assert all(name.endswith(".tmp") for name in left)
    done, total = ended(run(data.folder))
    assert int(done) == 7
    assert not any(name.endswith(".tmp") for name in names(data.folder))
    fresh = open_cache(data, **SIZE)
    assert int(fresh.images.sum(dtype=np.int64)) == int(total)
    assert all(pixels(data, key)[0].tobytes() == fresh.images[n].tobytes() for key, n in fresh.position.items())


def test_killed_between_the_two_renames_it_is_made_again(data, monkeypatch):
    real, calls = Path.replace, []

    def replace(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        open_cache(data, **SIZE)
    monkeypatch.undo()
    assert [name.split(".")[1] for name in names(data.folder)] == ["images"]
    told = []
    open_cache(data, **SIZE, progress=told.append)
    assert sum(told) == 7
    assert len(names(data.folder)) == 2


@pytest.mark.slow
def test_processes_that_come_at_once_share_one_cache(data):
    """Whoever waits for the lock finds the cache done."""
    with files.lock(made(data.folder / cache.FOLDER) / ".lock"):
        waiting = [run(data.folder) for _ in range(3)]
    results = [ended(process) for process in waiting]
    assert sorted(int(done) for done, _ in results) == [0, 0, 7]
    assert len({total for _, total in results}) == 1
    assert len(names(data.folder)) == 2


def made(folder):
    folder.mkdir()
    return folder


def test_whoever_comes_while_it_is_written_waits(data, monkeypatch):
    came, decoded, found = threading.Event(), [], []
    real = files.lock

    def lock(path, **how):
        if threading.current_thread() is not threading.main_thread():
            came.set()
        return real(path, **how)

    def second():
        found.append(open_cache(data, **SIZE, progress=decoded.append))

    other = threading.Thread(target=second)

    def progress(pairs):
        other.start()
        assert came.wait(timeout=60)

    monkeypatch.setattr(files, "lock", lock)
    first = open_cache(data, **SIZE, progress=progress)
    other.join(timeout=60)
    assert decoded == []
    np.testing.assert_array_equal(found[0].images, first.images)


def test_what_killed_runs_left_makes_room_first(data):
    stale = made(data.folder / cache.FOLDER) / "of another form.tmp"
    stale.write_bytes(b"much")
    seen = []
    open_cache(data, **SIZE, progress=lambda pairs: seen.append(stale.exists()))
    assert seen == [False]


def test_a_dataset_that_cannot_be_written_to_is_cached_elsewhere(data, tmp_path):
    data.folder.chmod(0o555)
    try:
        done, total, note = ended(run(data.folder, tmp_path / "run", lacks="permissions"))
        again, same, _ = ended(run(data.folder, tmp_path / "run", lacks="permissions"))
    finally:
        data.folder.chmod(0o755)
    assert (int(done), int(again), total == same) == (7, 0, True)
    assert "Permission denied" in note
    assert str(tmp_path / "run" / cache.FOLDER) in note
    assert not (data.folder / cache.FOLDER).exists()
    assert len(names(tmp_path / "run")) == 2


def test_without_another_folder_it_is_refused(data):
    (data.folder / cache.FOLDER).write_text("in the way")
    with pytest.raises(InputError, match=r"\.cache: cannot be written"):
        open_cache(data, **SIZE)


def test_a_whole_cache_is_used_where_nothing_can_be_written(data):
    ended(run(data.folder))
    for path in (data.folder / cache.FOLDER, data.folder):
        path.chmod(0o555)
    try:
        found = ended(run(data.folder, lacks="permissions"))
    finally:
        for path in (data.folder, data.folder / cache.FOLDER):
            path.chmod(0o755)
    assert found[0] == "0"
    assert len(found) == 2


def test_a_full_disk_is_an_error_and_leaves_nothing(data, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left") as caught:
        open_cache(data, **SIZE)
    assert "make room" in caught.value.remedy
    assert names(data.folder) == []


def test_a_folder_that_vanishes_while_it_is_written_is_an_error(data):
    with pytest.raises(InputError, match=re.escape(cache.FOLDER)):
        open_cache(data, **SIZE, progress=lambda pairs: shutil.rmtree(data.folder / cache.FOLDER))


# --- the rest of the package, beside a cache ---


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A dataset that was built, split and cached."""
    fakes.install(monkeypatch)
    out = tmp_path / "out"
    fakes.run(fakes.raw_folder(tmp_path, names=tuple("abcdef")), out)
    divide(out)
    open_cache(dataset.read(out), height=24, width=20, channels=1)
    return out


def divide(out, **request):
    return split.split(out, split.Request(**request))


def test_verify_finds_nothing(built):
    assert verify.verify(built).findings == []
    assert verify.verify(built, fast=True).findings == []


def test_splitting_and_laying_out_leave_it_alone(built):
    before = names(built)
    divide(built, resplit=True, seed=3, layout="copy")
    assert names(built) == before
    assert verify.verify(built).findings == []
    for name in ("train", "valid", "test"):
        assert not list((built / name).rglob(f"*{cache.FOLDER}*"))


def test_building_again_leaves_it_alone(built, tmp_path):
    before = names(built)
    report = fakes.run(tmp_path / "raw", built)
    assert report.merged.removed == 0
    assert names(built) == before
    assert verify.verify(built).findings == []


def test_a_replacement_takes_it_along(built, tmp_path):
    """As it does with everything in the folder; where the pixels are others, the next training removes it."""
    before = names(built)
    fakes.run(tmp_path / "raw", built, build.How(workers=1, replace=True), size=16)
    assert names(built) == before
    divide(built)
    assert verify.verify(built).findings == []
    open_cache(dataset.read(built), height=16, width=16, channels=1)
    assert not set(before) & set(names(built))
