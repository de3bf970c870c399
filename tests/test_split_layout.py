"""train/, valid/ and test/: what the manifest says, nothing else, and a stamp that tells when they are not."""

import errno
import os
import shutil

import pytest
from datasets import Dataset, patients

from imagemask import files, manifest, split
from imagemask.errors import InputError
from imagemask.split import Request
from imagemask.types import SPLITS


def with_variants(count):
    """Patients with two augmented copies of each slice."""
    return [row | {"variant": variant} for row in patients(count) for variant in ("", "fliph", "rot5")]


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "fake").write(with_variants(6))


def laid_out(dataset):
    """Set: the keys in it; images and masks must agree."""
    found = {}
    for where in SPLITS:
        kinds = [{path.stem for path in (dataset.folder / where / kind).iterdir()} for kind in ("images", "masks")]
        assert kinds[0] == kinds[1]
        found[where] = kinds[0]
    return found


def wanted(dataset, *, everywhere=False):
    frame = dataset.rows()
    kept = frame[(frame["variant"] == "") | (frame["split"] == "train") | everywhere]
    return {where: set(kept["key"][kept["split"] == where]) for where in SPLITS}


def problems(dataset):
    return {problem.file: problem.message for problem in split.layout_problems(dataset.folder)}


@pytest.mark.parametrize("layout", ["link", "copy"])
@pytest.mark.parametrize("variants", [None, "everywhere"])
def test_each_pair_lies_in_its_set_and_variants_in_train_only(dataset, layout, variants):
    report = split.split(dataset.folder, Request(layout=layout, variants=variants))
    there = laid_out(dataset)
    assert there == wanted(dataset, everywhere=variants == "everywhere")
    assert report.laid_out == sum(map(len, there.values()))
    assert all(there.values())
    for where, keys in there.items():
        for kind in ("images", "masks"):
            for key in keys:
                one, other = (dataset.folder / part / kind / f"{key}.png" for part in (where, ""))
                assert one.read_bytes() == other.read_bytes()
                assert one.samefile(other) == (layout == "link")
    assert not problems(dataset)


def test_the_stamp_holds_the_digest_of_the_manifest(dataset):
    split.split(dataset.folder, Request())
    lines = (dataset.folder / ".layout").read_text().splitlines()
    assert lines[0] == files.sha256(dataset.folder / "manifest.csv")
    assert split.layout_is_current(dataset.folder)
    assert split.read_stamp(dataset.folder).split == files.sha256(dataset.folder / "split.csv")


def test_layout_and_variants_stay_as_they_are_unless_asked_for(dataset):
    split.split(dataset.folder, Request(layout="copy", variants="everywhere"))
    report = split.split(dataset.folder, Request(resplit=True, seed=3))
    assert (report.layout, report.variants) == ("copy", "everywhere")
    assert laid_out(dataset) == wanted(dataset, everywhere=True)
    report = split.split(dataset.folder, Request(layout="link", variants="train"))
    assert laid_out(dataset) == wanted(dataset)
    split.split(dataset.folder, Request(layout="none"))
    assert not any((dataset.folder / where).exists() for where in SPLITS)
    assert not problems(dataset)


def test_a_set_without_pairs_is_an_empty_folder(dataset):
    split.split(dataset.folder, Request(ratios=(80, 20, 0)))
    assert laid_out(dataset)["test"] == set()


def test_what_another_run_left_half_made_is_removed_even_where_nothing_is_left_to_do(dataset):
    split.split(dataset.folder, Request())
    tree = dataset.tree()
    for name in ("split.csv", "manifest.csv", ".layout"):
        files.temporary_name(dataset.folder / name).write_text("half")
    (dataset.folder / ".layout.new" / "train" / "images").mkdir(parents=True)
    split.split(dataset.folder, Request())
    assert dataset.tree() == tree


class TestStale:
    """Folders that do not belong to the manifest."""

    def test_a_manifest_that_changed_is_noticed_and_the_next_split_lays_out_again(self, dataset):
        split.split(dataset.folder, Request())
        dataset.write(with_variants(8))
        assert not split.layout_is_current(dataset.folder)
        assert problems(dataset) == {".layout": "is stale: manifest.csv has changed since the folders were made"}
        split.split(dataset.folder, Request())
        assert split.layout_is_current(dataset.folder)
        assert laid_out(dataset) == wanted(dataset)

    def test_lay_out_keeps_what_the_split_was_drawn_with_and_tells_of_rows_without_a_set(self, dataset):
        split.split(dataset.folder, Request(seed=5))
        before = split.read_stamp(dataset.folder)
        dataset.write(with_variants(8))
        result = split.lay_out(dataset.folder, dataset.rows(), "copy", "train")
        assert result.blank == len(with_variants(8)) - len(with_variants(6))
        assert result.pairs == sum(map(len, wanted(dataset).values()))
        assert laid_out(dataset) == wanted(dataset)
        stamp = split.read_stamp(dataset.folder)
        assert (stamp.layout, stamp.seed, stamp.ratios, stamp.split) == ("copy", 5, before.ratios, before.split)
        assert split.layout_is_current(dataset.folder)

    def test_a_dataset_that_was_never_split_has_no_layout_and_no_problems(self, dataset):
        assert not split.layout_is_current(dataset.folder)
        assert not problems(dataset)

    def test_a_missing_stamp_is_a_problem_where_there_is_a_split(self, dataset):
        split.split(dataset.folder, Request(layout="none"))
        (dataset.folder / ".layout").unlink()
        assert problems(dataset) == {".layout": "is missing: the split was not laid out"}

    @pytest.mark.parametrize("text", ["", "x", "x\n{", "x\n{}", 'x\n{"layout": "link", "ratios": 3}', "x\n[]"])
    def test_a_damaged_stamp_counts_as_unfinished(self, dataset, text):
        split.split(dataset.folder, Request())
        (dataset.folder / ".layout").write_text(text)
        assert not split.layout_is_current(dataset.folder)
        assert "unfinished" in problems(dataset)[".layout"]
        split.split(dataset.folder, Request())
        assert not problems(dataset)


class TestProblems:
    """What verify finds, and the next split mends."""

    def found(self, dataset, damage):
        split.split(dataset.folder, Request())
        tree = dataset.tree()
        where = dataset.folder / "test" / "images"
        damage(where, sorted(where.iterdir())[0])
        found = problems(dataset)
        split.split(dataset.folder, Request())
        if found and "is not" not in str(found):  # another content is not looked for by split
            assert dataset.tree() == tree
        return found

    def test_a_missing_file(self, dataset):
        [(file, message)] = self.found(dataset, lambda _, path: path.unlink()).items()
        assert file.startswith("test/images/p0")
        assert message == "is missing"

    def test_a_file_of_another_set(self, dataset):
        found = self.found(dataset, lambda where, _: shutil.copy(*self.stray(where)))
        [(file, message)] = found.items()
        assert file.startswith("test/images/p0")
        assert message == "does not belong there"

    def stray(self, where):
        return sorted((where.parent.parent / "train" / "images").iterdir())[0], where

    def test_another_content(self, dataset):
        def replace(where, path):
            path.unlink()
            path.write_bytes(b"other")

        [(file, message)] = self.found(dataset, replace).items()
        assert message == f"is not {file.removeprefix('test/')}"

    def test_an_equal_copy_is_none(self, dataset):
        def copy(where, path):
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)

        assert not self.found(dataset, copy)

    def test_what_an_operating_system_leaves_behind_is_none(self, dataset):
        assert not self.found(dataset, lambda where, path: (where / f"._{path.name}").touch())

    def test_a_whole_folder(self, dataset):
        found = self.found(dataset, lambda where, _: shutil.rmtree(where.parent))
        assert set(found.values()) == {"is missing"}
        assert len(found) == 2 * len(wanted(dataset)["test"])

    def test_a_pair_that_is_gone_itself(self, dataset):
        split.split(dataset.folder, Request(layout="copy"))
        key = min(wanted(dataset)["valid"])
        (dataset.folder / "masks" / f"{key}.png").unlink()
        assert problems(dataset) == {f"valid/masks/{key}.png": f"is not masks/{key}.png"}

    def test_folders_where_the_layout_is_none(self, dataset):
        split.split(dataset.folder, Request(layout="none"))
        (dataset.folder / "train").mkdir()
        assert problems(dataset) == {"train": "is there, although the layout is none"}


class TestNotOurs:
    """What somebody else put there is never destroyed."""

    def refused(self, dataset, path, request=None):
        before = dataset.tree()
        with pytest.raises(InputError, match=f"{path}: was not made by split, and is in its way. Move it"):
            split.split(dataset.folder, request or Request(resplit=True, seed=9))
        assert dataset.tree() == before

    def test_a_folder_from_before_the_first_split(self, dataset):
        (dataset.folder / "test" / "images").mkdir(parents=True)
        assert problems(dataset) == {"test": "was not made by a split"}
        self.refused(dataset, "test")

    @pytest.mark.parametrize("path", ["train/notes.txt", "valid/images/a.jpg", "test/predictions/a.png"])
    def test_a_file_among_ours(self, dataset, path):
        split.split(dataset.folder, Request())
        (dataset.folder / path).parent.mkdir(exist_ok=True)
        (dataset.folder / path).write_text("mine")
        [(file, message)] = problems(dataset).items()
        assert path.startswith(file)
        assert message == "was not laid out"
        self.refused(dataset, file)

    def test_a_file_in_the_place_of_a_folder(self, dataset):
        split.split(dataset.folder, Request(layout="none"))
        (dataset.folder / "train").write_text("mine")
        self.refused(dataset, "train", Request(layout="link"))


class TestTrouble:
    """A file system that does not do as it is told: one error that says what to do, and no leftovers."""

    def failing(self, monkeypatch, code):
        def link(source, target):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "link", link)

    @pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK])
    def test_no_hard_links(self, dataset, monkeypatch, code):
        self.failing(monkeypatch, code)
        with pytest.raises(InputError, match=r"this file system makes no hard link.*Use --layout copy"):
            split.split(dataset.folder, Request())
        assert "unfinished" in problems(dataset)[".layout"]
        assert {path.name for path in dataset.folder.iterdir()} == {
            *("manifest.csv", "dataset.json", "images", "masks", "fragments", "split.csv", ".layout"),
            *("README.md", "croissant.json"),
        }
        split.split(dataset.folder, Request(layout="copy"))
        assert not problems(dataset)

    def test_a_full_disk(self, dataset, monkeypatch):
        self.failing(monkeypatch, errno.ENOSPC)
        with pytest.raises(InputError, match="is full: make room and run the same command again"):
            split.split(dataset.folder, Request())
        monkeypatch.undo()
        split.split(dataset.folder, Request())
        assert not problems(dataset)

    def test_a_missing_picture(self, dataset):
        (dataset.folder / "masks" / f"{dataset.rows()['key'][0]}.png").unlink()
        with pytest.raises(InputError, match=r"masks/p00-0000.png: is in the manifest, but not there.*Build"):
            split.split(dataset.folder, Request())

    @pytest.mark.parametrize("key", ["../../x", "", "p00-0001"])
    def test_a_key_that_leads_elsewhere_or_to_another_pair(self, dataset, key):
        frame = dataset.rows()
        frame.loc[0, "key"] = key
        manifest.write(dataset.folder, frame)
        with pytest.raises(InputError, match=f"the key '{key}' is not the name of one pair"):
            split.split(dataset.folder, Request())
        assert not (dataset.folder / "split.csv").exists()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_is_read_only(self, dataset):
        dataset.folder.chmod(0o555)
        with pytest.raises(InputError, match="cannot be written"):
            split.split(dataset.folder, Request())
        dataset.folder.chmod(0o755)
