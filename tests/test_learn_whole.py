"""Whole volumes read again: what is counted, what is refused, and that the pixels are those of the build."""

import gzip
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import Constant, Oracle, built, pictures, run_of, workspace

from imagemask import manifest, registry
from imagemask.errors import InputError
from imagemask.learn import held_out, whole
from imagemask.learn.whole import Volume, score
from imagemask.types import Case, Options, Recipe, Slice

SOURCE = "lung-tumor"


@pytest.fixture(scope="module")
def lung(tmp_path_factory):
    """A workspace, and beside its dataset one of the same source with every empty slice in it."""
    folder = tmp_path_factory.mktemp("lung")
    home = workspace(folder)
    everything = built(folder, folder / "datasets" / "everything", keep_empty=True)
    return folder, home, everything, run_of(home, folder / "runs" / "1")


def scored(lung, model, raw=None, split="test", run=None):
    folder, _, _, usual = lung
    return score(held_out.of_run(run or usual, split), raw or folder / "raw" / SOURCE, model)


def counted(everything, cases):
    """Slices, empty slices and labelled pixels of each case, from the dataset that has all of them."""
    rows = manifest.read(everything)
    return {
        case: (len(part), int((part["foreground"] == 0).sum()), int(part["foreground"].sum()))
        for case, part in rows.groupby("case")
        if case in cases
    }


def test_a_perfect_model_has_dice_1_and_finds_nothing_where_nothing_is(lung):
    found = scored(lung, Oracle(lung[2]))
    assert not found.failures
    assert [one.dice for one in found.volumes] == [1.0] * len(found.volumes)
    assert [one.error for one in found.volumes] == [0.0] * len(found.volumes)
    assert sum(one.false_slices for one in found.volumes) == 0
    assert sum(one.false_mm2 for one in found.volumes) == 0


def test_every_slice_of_every_volume_of_the_set_is_counted(lung):
    found = scored(lung, Constant(0))
    rows = held_out.of_run(lung[3], "test").rows
    known = counted(lung[2], set(rows["case"]))
    assert {one.case: (one.slices, one.empty_slices, int(one.truth[0])) for one in found.volumes} == known
    assert any(empty for _, empty, _ in known.values())


def test_a_model_that_finds_nothing_has_dice_0(lung):
    found = scored(lung, Constant(0))
    assert {one.dice for one in found.volumes} == {0.0}
    assert {one.error for one in found.volumes} == {-1.0}
    assert sum(one.false_slices for one in found.volumes) == 0


def test_a_model_that_finds_everything_has_every_empty_slice_wrong(lung):
    found = scored(lung, Constant(1))
    rows = held_out.of_run(lung[3], "test").rows
    area = 48 * 48 * float(rows["spacing_y"].iloc[0] * rows["spacing_x"].iloc[0])
    for one in found.volumes:
        assert one.false_slices == one.empty_slices
        assert one.false_pixels == one.empty_slices * 48 * 48
        assert one.false_mm2 == pytest.approx(one.empty_slices * area)
        assert one.error == pytest.approx(one.slices * 48 * 48 / one.truth[0] - 1)


def test_a_shifted_model_has_the_dice_that_numpy_says(lung):
    """One pixel down, all slices of a volume pooled."""
    _, _, everything, _ = lung
    known = Oracle(everything, shift=1)
    found = {one.case: one.dice for one in scored(lung, known).volumes}
    from imagemask import images

    rows = manifest.read(everything)
    for case, part in rows[rows["case"].isin(found)].groupby("case"):
        truth = np.stack([images.read_png(everything / "masks" / f"{key}.png") > 0 for key in part["key"]])
        shifted = np.roll(truth, 1, axis=1)
        assert found[case] == pytest.approx(2 * (truth & shifted).sum() / (truth.sum() + shifted.sum()))


def test_only_the_set_that_was_asked_for_is_read(lung):
    sets = {split: {one.case for one in scored(lung, Constant(0), split=split).volumes} for split in ("valid", "test")}
    assert not sets["valid"] & sets["test"]
    for split, cases in sets.items():
        assert cases == set(held_out.of_run(lung[3], split).rows["case"])


@pytest.fixture
def copy(lung, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(lung[0] / "raw" / SOURCE, raw)
    return raw


def image_of(raw, case):
    """The file of its voxels; the phantom, as the source does, has a few that are not compressed."""
    return next(path for path in raw.rglob(f"{case}.nii*") if path.parent.name == "imagesTr")


def test_a_case_that_cannot_be_read_is_named_and_the_rest_is_done(lung, copy):
    whole_, case = scored(lung, Constant(0)), held_out.of_run(lung[3], "test").cases[1]
    path = image_of(copy, case)
    path.write_bytes(path.read_bytes()[:-2000])
    found = scored(lung, Constant(0), copy)
    assert [one.case for one in found.failures] == [case]
    assert found.failures[0].file == path.relative_to(copy).as_posix()
    assert str(copy) not in found.failures[0].reason
    assert found.failures[0].remedy
    assert [one.case for one in found.volumes] == [one.case for one in whole_.volumes if one.case != case]


def test_a_case_whose_pixels_are_not_those_of_the_dataset_is_not_scored(lung, copy):
    case = held_out.of_run(lung[3], "test").cases[0]
    path = image_of(copy, case)
    data = gzip.decompress(path.read_bytes())
    voxels = np.frombuffer(data, np.int16, offset=352)
    path.write_bytes(gzip.compress(data[:352] + (voxels // 2).astype(np.int16).tobytes()))
    found = scored(lung, Constant(0), copy)
    assert [one.case for one in found.failures] == [case]
    assert "has other pixels: it is not the one that the dataset was built from" in found.failures[0].reason


def test_a_case_that_is_gone_is_named(lung, copy, monkeypatch):
    case = held_out.of_run(lung[3], "test").cases[0]
    generator = registry.load(SOURCE)
    real = generator.discover
    monkeypatch.setattr(generator, "discover", lambda *given: (one for one in real(*given) if one.id != case))
    found = scored(lung, Constant(0), copy)
    assert [(one.case, one.reason) for one in found.failures] == [(case, f"it is not in {copy}")]


def test_a_slice_that_is_gone_is_not_passed_over(lung, monkeypatch):
    held = held_out.of_run(lung[3], "test")
    row = held.rows.iloc[0]
    generator = registry.load(SOURCE)
    real = generator.read

    def without(case, options):
        return (one for one in real(case, options) if (case.id, one.index) != (row["case"], row["slice"]))

    monkeypatch.setattr(generator, "read", without)
    found = scored(lung, Constant(0))
    assert [one.case for one in found.failures] == [row["case"]]
    assert f"slice {row['slice']} is missing" in found.failures[0].reason


def test_a_reader_may_use_its_arrays_again(lung, monkeypatch):
    """Several slices wait for the network at once."""
    generator = registry.load(SOURCE)
    real = generator.read

    def thrifty(case, options):
        kept = {}
        for one in real(case, options):
            image, mask = kept.setdefault(case.id, (np.array(one.image), np.array(one.mask)))
            image[:], mask[:] = one.image, one.mask
            yield replace(one, image=image, mask=mask)
            image[:], mask[:] = 0, 0

    monkeypatch.setattr(generator, "read", thrifty)
    found = scored(lung, Oracle(lung[2]))
    assert not found.failures
    assert [one.dice for one in found.volumes] == [1.0] * len(found.volumes)


def test_a_reader_of_pictures_may_do_so_too(tmp_path):
    """There no window makes new pixels."""

    class Thrifty:
        def read(self, case, options):
            image, mask = np.zeros((2, 8, 8), np.uint8)
            for index in range(3):
                image[:], mask[:] = index, index % 2
                yield Slice(index, image, mask)

    home, _ = pictures(tmp_path)
    held = held_out.of_run(run_of(home, tmp_path / "runs" / "1"), "test")
    reader = whole._Reader(held, Thrifty(), Options(), Recipe.model_validate(dict(held.run.record.recipe)))
    case = Case("x", "", (tmp_path / "x.png",), (), 0)
    found = [(int(one.image.max()), int(one.mask.max())) for one in list(reader.slices(case))]
    assert found == [(0, 0), (1, 1), (2, 0)]


def test_whatever_a_reader_raises_is_the_case_s_fault_and_what_a_model_raises_is_not(lung, monkeypatch):
    generator = registry.load(SOURCE)

    def broken(case, options):
        raise ZeroDivisionError("a damaged header")
        yield

    class Broken:
        def predict_on_batch(self, stack):
            raise ZeroDivisionError("of the model")

    with pytest.raises(ZeroDivisionError, match="of the model"):
        scored(lung, Broken())
    monkeypatch.setattr(generator, "read", broken)
    found = scored(lung, Constant(0))
    assert not found.volumes
    assert {one.reason for one in found.failures} == {"ZeroDivisionError: a damaged header"}


def test_a_folder_that_is_not_there_is_refused(lung, tmp_path):
    with pytest.raises(InputError, match=r"none: is not a folder\. Give --raw the folder that"):
        scored(lung, Constant(0), tmp_path / "none")


def test_excluded_cases_stay_excluded(lung, monkeypatch):
    held = held_out.of_run(lung[3], "test")
    left = held.cases[0]
    held.data.document["excluded"] = {left: "for a reason"}
    found = score(held, lung[0] / "raw" / SOURCE, Constant(0))
    assert left not in {one.case for one in found.volumes}


def test_progress_counts_to_the_end(lung):
    seen = []
    score(held_out.of_run(lung[3], "valid"), lung[0] / "raw" / SOURCE, Constant(0), lambda *told: seen.append(told))
    assert seen == [(at, len(seen)) for at in range(1, len(seen) + 1)]
    assert seen


@pytest.mark.parametrize("recipe", [{"size": 40}, {"size": 64, "window": ("-600:600",)}, {"flips": ("h",)}])
def test_pixels_are_made_as_the_build_makes_them(tmp_path, recipe):
    """Otherwise every case would be one that is not what the dataset was built from."""
    home = workspace(tmp_path, patients=8, side=48, **recipe)
    everything = built(tmp_path, tmp_path / "datasets" / "everything", keep_empty=True, **recipe)
    run = run_of(home, tmp_path / "runs" / "1")
    found = score(held_out.of_run(run, "test"), tmp_path / "raw" / SOURCE, Oracle(everything))
    assert not found.failures
    assert {one.dice for one in found.volumes} == {1.0}


def test_pictures_are_pooled_by_patient_with_the_empty_ones_that_no_row_names(tmp_path):
    """Slices that somebody cut out: each is a case of its own."""
    home, everything = pictures(tmp_path)
    held = held_out.of_run(run_of(home, tmp_path / "runs" / "1"), "test")
    assert not held.of_volumes
    found = score(held, tmp_path / "raw" / "folder", Oracle(everything))
    rows = manifest.read(everything)
    rows = rows[rows["patient"].isin(held.rows["patient"])]
    assert [one.case for one in found.volumes] == sorted(set(rows["patient"]))
    assert sum(one.slices for one in found.volumes) == len(rows)
    assert sum(one.empty_slices for one in found.volumes) == (rows["foreground"] == 0).sum() > 0
    assert {one.dice for one in found.volumes} == {1.0}


def test_a_source_s_own_exclusions_are_kept(tmp_path):
    home = workspace(tmp_path, "pancreas", patients=8, side=48, slices=6)
    assert manifest.read_dataset(home)["excluded"]
    held = held_out.of_run(run_of(home, tmp_path / "runs" / "1"), "test")
    found = score(held, tmp_path / "raw" / "pancreas", Oracle(home))
    assert [one.case for one in found.volumes] == held.cases
    assert not found.failures


SLICES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(SLICES, st.sampled_from([1, 3]), st.sampled_from([None, (0.5, 2.0)]))
def test_a_volume_counts_as_numpy_does(slices, classes, spacing):
    volume = Volume("c", "p", *np.zeros((3, classes), np.int64))
    truths, founds = [], []
    for seed, hollow, blind in slices:
        rng = np.random.default_rng(seed)
        truth, found = rng.integers(0, classes + 1, (2, 5, 7), np.uint8)
        truths.append(truth * (not hollow))
        founds.append(found * (not blind))
        volume.add(truths[-1], founds[-1], spacing)
    t, p = np.stack(truths), np.stack(founds)
    for number in range(classes):
        here, there = t == number + 1, p == number + 1
        assert (volume.truth[number], volume.predicted[number]) == (here.sum(), there.sum())
        assert volume.both[number] == (here & there).sum()
    empty = ~t.any((1, 2))
    wrong = (p > 0).sum((1, 2))[empty]
    assert (volume.slices, volume.empty_slices) == (len(t), empty.sum())
    assert (volume.false_slices, volume.false_pixels) == ((wrong > 0).sum(), wrong.sum())
    area = wrong.sum() if spacing else (np.nan if wrong.any() else 0)
    np.testing.assert_allclose(volume.false_mm2, area)
    halves = [Volume("c", "p", *np.zeros((3, classes), np.int64)) for _ in range(2)]
    for at, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        halves[at % 2].add(truth, found, spacing)
    halves[0].merge(halves[1])
    assert halves[0].dice == volume.dice
    np.testing.assert_allclose([halves[0].error, halves[0].false_mm2], [volume.error, volume.false_mm2])


def test_a_class_that_neither_holds_does_not_count_and_nothing_at_all_is_1():
    volume = Volume("c", "p", np.array([4, 0]), np.array([2, 0]), np.array([2, 0]))
    assert volume.dice == pytest.approx(4 / 6)
    assert volume.error == -0.5
    nothing = Volume("c", "p", *np.zeros((3, 2), np.int64))
    assert nothing.dice == 1
    assert np.isnan(nothing.error)


def test_the_reader_of_cases_is_that_of_the_build(lung):
    """The empties of each case, as the fragments of the build count them."""
    held = held_out.of_run(lung[3], "test")
    found = scored(lung, Constant(0))
    assert {one.case: (one.slices, one.empty_slices) for one in found.volumes} == {
        case: manifest.slice_counts(held.data.folder, case) for case in held.cases
    }
    assert whole.Volumes().volumes == ()
