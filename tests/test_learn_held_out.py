"""What a run is scored on: its own split, its own pixels, every plain pair once."""

import shutil

import numpy as np
import pytest
from oracles import Constant, Oracle, run_of, workspace

from imagemask import images, manifest, split
from imagemask.errors import InputError, UsageError
from imagemask.learn import held_out
from imagemask.learn.held_out import of_run, predictions


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    home = workspace(folder, patients=12, flips=("h",))
    return home, run_of(home, folder / "runs" / "1")


@pytest.fixture
def own(made, tmp_path):
    """A copy of the dataset, to be changed, and a run that says it lies there."""
    home = tmp_path / "datasets" / "lung-tumor"
    shutil.copytree(made[0], home)
    return home, run_of(home, tmp_path / "runs" / "1")


def test_the_plain_pairs_of_the_set_are_there_and_no_others(made):
    home, run = made
    rows = manifest.read(home)
    for name in ("train", "valid", "test"):
        wanted = rows[(rows["split"] == name) & (rows["variant"] == "")]
        assert of_run(run, name).rows["key"].tolist() == sorted(wanted["key"])


def test_the_dataset_is_found_where_it_lay_or_where_it_is_said_to_be(made, own, tmp_path):
    home, run = own
    assert of_run(run, "test").data.folder.samefile(home)
    moved = home.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"the dataset of .* is not there\. Say where it is with --dataset"):
        of_run(run, "test")
    assert of_run(run, "test", moved).rows["key"].tolist() == of_run(made[1], "test").rows["key"].tolist()


def test_other_pixels_are_refused_with_both_digests(own):
    home, run = own
    rows = manifest.read(home)
    rows.loc[0, "digest"] = "0" * 64
    manifest.write(home, rows)
    with pytest.raises(UsageError) as raised:
        of_run(run, "test")
    assert run.record.digest in str(raised.value)
    assert str(raised.value).count("digest is ") == 1
    assert "--dataset" in str(raised.value)


def resplit(home, swap):
    """Give the units of ``swap`` the set that it says."""
    assignment = split.read_assignment(home)
    changed = split.Assignment(assignment.column, {**assignment.split, **swap})
    (home / "split.csv").write_bytes(changed.to_bytes())
    frame = manifest.read(home).assign(split="")
    manifest.write(home, split.apply(frame, changed)[0])


@pytest.mark.parametrize(("learnt", "asked"), [("train", "test"), ("valid", "test"), ("train", "valid")])
def test_a_patient_that_was_learnt_from_and_is_now_tested_is_named(own, learnt, asked):
    home, run = own
    units = split.read_assignment(home).split
    who = next(unit for unit, name in units.items() if name == learnt)
    resplit(home, {who: asked})
    with pytest.raises(UsageError, match=rf"was split anew: 1 that .* has learnt from .* {asked} set \({who}\)"):
        of_run(run, asked)


def test_the_run_s_own_split_decides(own):
    """A test patient that the dataset now trains on is tested all the same: this run has not seen it."""
    home, run = own
    before = of_run(run, "test").rows["key"].tolist()
    units = split.read_assignment(home).split
    tested = [unit for unit, name in units.items() if name == "test"]
    resplit(home, {tested[0]: "train"})
    assert of_run(run, "test").rows["key"].tolist() == before


def test_a_run_without_its_split_is_an_error(own):
    _, run = own
    (run.folder / "split.csv").unlink()
    with pytest.raises(InputError, match=r"split\.csv: is missing"):
        of_run(run, "test")


def test_under_the_source_s_own_split_a_later_one_is_refused(own):
    home, run = own
    (run.folder / "split.csv").write_bytes(b"")
    with pytest.raises(UsageError, match="was split after"):
        of_run(run, "test")
    (home / "split.csv").unlink()
    assert of_run(run, "test").kept_whole == "case"
    assert len(of_run(run, "test").rows)


def test_a_fold_is_the_test_set_of_a_run_of_that_fold(tmp_path):
    home = workspace(tmp_path, patients=8)
    split.split(home, split.Request(by="patient", folds=4, resplit=True))
    folds = manifest.read(home).set_index("key")["fold"]
    for fold in (0, 3):
        run = run_of(home, tmp_path / "runs" / str(fold), fold=fold)
        sets = {name: set(folds[of_run(run, name).rows["key"]]) for name in ("train", "valid", "test")}
        assert sets["test"] == {str(fold)}
        assert sets["valid"] == {str((fold + 1) % 4)}
        assert len(sets["train"]) == 2


def test_whom_a_row_belongs_to(made):
    rows = of_run(made[1], "test").rows
    assert held_out.unit(rows.assign(patient="p")).unique().tolist() == ["p"]
    assert held_out.unit(rows.assign(patient="", group="g")).unique().tolist() == ["g"]
    assert held_out.unit(rows.assign(patient="", group="")).tolist() == rows["case"].tolist()


@pytest.mark.parametrize("size", [(48, 48), (64, 64), (40, 56)])
def test_predictions_come_back_in_order_and_at_their_own_size(made, tmp_path, size):
    home, run = made
    run = type(run)(run.folder, run.record.model_copy(update={"height": size[0], "width": size[1]}))
    held = of_run(run, "test")
    found = list(predictions(held, Constant(0.25)))
    assert [one.row.key for one in found] == held.rows["key"].tolist()
    for one in found:
        mask = images.read_png(home / "masks" / f"{one.row.key}.png")
        assert np.array_equal(one.truth, mask > 0)
        assert one.probabilities.shape == (*mask.shape, 1)
        np.testing.assert_allclose(one.probabilities, 0.25)
        assert one.spacing == (one.row.spacing_y, one.row.spacing_x)


def test_what_is_predicted_for_a_pair_is_its_own(made):
    """More pairs than a batch holds, so that a slip of one would show."""
    held = of_run(made[1], "train")
    assert len(held.rows) > 8
    for one in predictions(held, Oracle(made[0])):
        assert np.array_equal(one.probabilities[..., 0], one.truth)


def test_memory_that_does_not_suffice_is_said_with_what_helps(made):
    class Full:
        def predict_on_batch(self, _stack):
            raise MemoryError("RESOURCE_EXHAUSTED: OOM when allocating")

    with pytest.raises(InputError, match="do not fit into memory") as caught:
        list(predictions(of_run(made[1], "test"), Full()))
    assert "more memory" in caught.value.remedy  # evaluate has no --batch-size


def test_some_rows_alone(made):
    held = of_run(made[1], "test")
    some = held.rows.iloc[[2, 0]]
    assert [one.row.key for one in predictions(held, Constant(0), some)] == some["key"].tolist()


def test_a_picture_that_is_damaged_or_another_is_named(own):
    home, run = own
    key = of_run(run, "test").rows["key"].iloc[0]
    path = home / "images" / f"{key}.png"
    path.write_bytes(images.encode_png(images.read_png(path) // 2, level=1))
    with pytest.raises(InputError, match=rf"{key} is not the pair that was built"):
        list(predictions(of_run(run, "test"), Constant(0)))
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=rf"{key}: .*imagemask verify"):
        list(predictions(of_run(run, "test"), Constant(0)))


def test_without_spacing_there_is_none(made):
    held = of_run(made[1], "test")
    blank = held.rows.assign(spacing_x=float("nan"))
    assert {one.spacing for one in predictions(held, Constant(0), blank)} == {None}
