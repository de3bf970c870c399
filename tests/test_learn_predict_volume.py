"""Volumes: what a build made of a truth comes back from a perfect model, on the very grid that it came from."""

import errno
import itertools
from pathlib import Path

import ct
import ct_series
import nibabel
import numpy as np
import pytest
from imagemask.generators import lung_tumor, pancreas
from oracles import Constant
from predicting import Bright, Oracle, dice, run_in, run_over

from imagemask import build, images, phantoms
from imagemask.build import How
from imagemask.errors import InputError
from imagemask.learn import predict as library
from imagemask.learn import predict_volume
from imagemask.learn.predict import predict
from imagemask.learn.predict_volume import SHOWN, Sheet
from imagemask.volumes import dicom, nifti, pairs

SMALL = {"patients": 6, "size": 80, "slices": 7, "seed": 3, "faults": False}


def built(name, raw, out, **recipe):
    job = build.prepare(name, raw=raw, out=out, recipe=recipe, options={})
    done = build.run(job, How(workers=1), started=lambda _: None, progress=lambda _: None)
    assert done.merged.counts.pairs
    return done


def whole(path):
    return np.asarray(nibabel.load(path).dataobj)


def assert_same_place(found, like):
    """Shape, affine, and what the header says about them."""
    one, other = nibabel.load(found), nibabel.load(like)
    assert one.shape == other.shape
    assert np.array_equal(one.affine, other.affine)
    for name in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
        assert np.array_equal(one.header[name], other.header[name]), name


@pytest.fixture(scope="module")
def lungs(tmp_path_factory):
    """A phantom source with its quirks, the dataset over it, and a run over that."""
    here = tmp_path_factory.mktemp("lungs")
    lung_tumor.phantom(here / "raw", **SMALL)
    built("lung-tumor", here / "raw", here / "data")
    return here


def test_a_phantom_comes_back_voxel_by_voxel(lungs, tmp_path):
    run, oracle = run_over(tmp_path / "run", lungs / "data"), Oracle(lungs / "data")
    root = lungs / "raw" / "Task06_Lung"
    report = predict(run, [root / "imagesTr"], tmp_path / "out", model=oracle)
    assert not report.failures
    assert report.passed_over == {"left behind by an operating system": SMALL["patients"]}
    assert len(report.predictions) == SMALL["patients"]
    for one in report.predictions:
        (truth,) = (path for path in (root / "labelsTr").glob(f"{one.name}.nii*"))
        assert np.array_equal(whole(one.mask), whole(truth)), one.name
        assert one.foreground == {"cancer": np.count_nonzero(whole(truth))}
        zooms = np.prod(nibabel.load(truth).header.get_zooms())
        assert one.millilitres["cancer"] == pytest.approx(one.foreground["cancer"] * zooms / 1000, abs=6e-4)
        assert_same_place(one.mask, one.file)
        assert (tmp_path / "out" / "overlays" / f"{one.name}.png").is_file()
    assert oracle.hits == set(oracle.known)


def test_of_a_volume_the_centre_of_every_slice_is_searched(lungs, tmp_path):
    run = run_over(tmp_path / "run", lungs / "data", height=40, width=40, crop_share=0.25)
    source = next((lungs / "raw" / "Task06_Lung" / "imagesTr").glob("[!.]*.nii*"))
    (one,) = predict(run, [source], tmp_path / "out", model=Constant(1)).predictions
    found = whole(one.mask)
    counts = sorted(np.unique(np.argwhere(found)[:, axis]).size for axis in range(3))
    assert counts == [one.slices, 40, 40]
    assert np.count_nonzero(found) == one.slices * 40 * 40
    assert_same_place(one.mask, source)


def test_every_order_of_axes_comes_back(tmp_path):
    """One body, stored towards every order of axes, some of them a little oblique, through build and predict."""
    shape = (6, 40, 34)
    body = phantoms.chest(shape, seed=(5,))
    raw, tilt = tmp_path / "raw", np.eye(4)
    cosine, sine = np.cos(np.radians(9)), np.sin(np.radians(9))
    tilt[:2, :2] = [[cosine, -sine], [sine, cosine]]
    for number, code in enumerate(ct.CODES, start=1):
        image, label = phantoms.volume(body, code)
        affine = phantoms.affine_of(shape, code, (0.8, 0.7, 2.0), (-20.0, 5.0, 9.0))
        affine = tilt @ affine if number % 3 == 0 else affine
        for folder, array in (("imagesTr", image), ("labelsTr", label)):
            (raw / folder).mkdir(parents=True, exist_ok=True)
            nifti.write_nifti(raw / folder / f"lung_{number:03d}.nii.gz", array, affine)
    built("lung-tumor", raw, tmp_path / "data")
    run, oracle = run_over(tmp_path / "run", tmp_path / "data"), Oracle(tmp_path / "data")
    report = predict(run, [raw / "imagesTr"], tmp_path / "out", library.How(probabilities=True), model=oracle)
    assert len(report.predictions) == len(ct.CODES) == 48
    for one in report.predictions:
        truth = raw / "labelsTr" / f"{one.name}.nii.gz"
        assert whole(truth).any()
        assert np.array_equal(whole(one.mask), whole(truth)), one.name
        assert_same_place(one.mask, truth)
        kept = tmp_path / "out" / "probabilities" / f"{one.name}.nii.gz"
        assert whole(kept).dtype == np.float32
        assert np.array_equal(whole(kept), whole(truth)), one.name
        assert_same_place(kept, truth)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    here = tmp_path_factory.mktemp("series")
    pancreas.phantom(here / "raw", **{**SMALL, "patients": 4})
    built("pancreas", here / "raw", here / "data")
    return here


def world(image):
    """Where its foreground lies (RAS mm), sorted."""
    places = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj)))
    return places[np.lexsort(np.round(places, 2).T)]


def test_dicom_series_come_back_on_their_own_grid(series, tmp_path):
    run, oracle = run_over(tmp_path / "run", series / "data"), Oracle(series / "data")
    found = dicom.find_series(series / "raw").series
    assert len(found) == 4
    report = predict(run, [one.folder for one in found], tmp_path / "out", model=oracle)
    assert not report.failures
    assert oracle.hits == set(oracle.known)
    placed = 0
    for prediction, one in zip(report.predictions, found, strict=True):
        stack = dicom.open_stack(one.files)
        number = (one.patient if "PANCREAS" in one.patient else one.folder.parents[1].name)[-4:]
        (path,) = (series / "raw").rglob(f"label{number}.nii*")
        label = nifti.open_nifti(path)
        relation, _ = pairs.relate_to_series(stack.grid, label, assumed="LAI", uneven=False)
        assert np.array_equal(whole(prediction.mask), relation.onto_image(nifti.read_labels(label)))
        mask = nibabel.load(prediction.mask)
        np.testing.assert_allclose(mask.affine, stack.grid.affine, atol=1e-4)
        if "origin_differs" not in relation.flags and "orientation_assumed" not in label.flags:
            placed += 1
            np.testing.assert_allclose(world(mask), world(nibabel.load(path)), atol=2e-2)
    assert placed


def test_series_of_one_folder_are_each_predicted_by_its_own_name(series, tmp_path):
    run, oracle = run_over(tmp_path / "run", series / "data"), Oracle(series / "data")
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, one in enumerate(dicom.find_series(series / "raw").series):
        for path in one.files:
            (folder / f"{number}-{path.name}").write_bytes(path.read_bytes())
    (folder / "notes.txt").write_text("not an image")
    report = predict(run, [folder], tmp_path / "out", model=oracle)
    assert not report.failures
    assert report.passed_over == {"no image": 1}
    assert len({one.mask for one in report.predictions}) == 4
    assert all(one.name.startswith("mixed-") for one in report.predictions)
    assert sum(one.foreground["pancreas"] for one in report.predictions) == sum(
        np.count_nonzero(labels) for labels in oracle.known.values()
    )


def test_one_dicom_file_is_a_volume_of_one_slice(tmp_path):
    paths = ct_series.write_series(tmp_path / "ct")
    top = int(ct_series.hu(2).max())
    run = run_in(tmp_path / "run", height=9, width=11, recipe={"window": [f"{top - 1}:{top}"]})
    report = predict(
        run, [path for path in paths if np.asarray(hu_of(path)).max() == top], tmp_path / "out", model=Bright()
    )
    (one,) = report.predictions
    assert nibabel.load(one.mask).shape == (11, 9, 1)
    assert one.foreground == {"cell": 1}


def hu_of(path):
    return dicom.open_stack([path]).images[0]


@pytest.mark.parametrize("recipe", [{"size": 50}, {"size": 100, "stretch": True}, {"size": 128}])
def test_other_sizes_lose_only_what_resampling_loses(lungs, tmp_path, recipe):
    built("lung-tumor", lungs / "raw", tmp_path / "data", keep_empty=True, **recipe)
    run, oracle = run_over(tmp_path / "run", tmp_path / "data"), Oracle(tmp_path / "data")
    root = lungs / "raw" / "Task06_Lung"
    report = predict(run, [root / "imagesTr"], tmp_path / "out", model=oracle)
    assert not oracle.missed
    found, true = [], []
    for one in report.predictions:
        (truth,) = (path for path in (root / "labelsTr").glob(f"{one.name}.nii*"))
        found.append(whole(one.mask).ravel())
        true.append(whole(truth).ravel())
        assert_same_place(one.mask, one.file)
    # Lesions are about ten pixels across, and six of those are left where the build has shrunk them.
    assert dice(np.concatenate(found), np.concatenate(true)) > (0.88 if recipe["size"] < SMALL["size"] else 0.97)


def test_a_network_of_another_size_is_fitted(lungs, tmp_path):
    """The brightest voxels, found at 112x120 in slices of 80x80: in their place, and nothing else."""
    run = run_over(tmp_path / "run", lungs / "data", height=112, width=120, recipe={"window": ["1000:1800"]})
    (path,) = (lungs / "raw" / "Task06_Lung" / "imagesTr").glob("lung_053.nii*")
    report = predict(run, [path], tmp_path / "out", model=Bright())
    truth = np.asarray(nibabel.load(path).dataobj) > 1400
    assert truth.any()
    assert dice(whole(report.predictions[0].mask), truth) == 1


def test_broken_volumes_are_named_and_the_rest_is_done(tmp_path):
    lung_tumor.phantom(tmp_path / "raw", **{**SMALL, "patients": 2, "faults": True})
    run = run_in(tmp_path / "run", height=80, width=80, recipe={"window": ["-1350:150"]})
    root = tmp_path / "raw" / "Task06_Lung" / "imagesTr"
    report = predict(run, [root], tmp_path / "out", model=Bright())
    codes = {failure.file.name: failure.code for failure in report.failures}
    assert sorted(codes.values()) == ["empty_file", "nan_voxels", "truncated_gzip"]
    assert len(report.predictions) == len(list(root.glob("lung*"))) - 3
    written = {path.name.removesuffix(".nii.gz") for path in (tmp_path / "out" / "masks").iterdir()}
    assert written == {one.name for one in report.predictions}
    assert all(name.partition(".")[0] not in written for name in codes)


def volume_of(path, values, codes="LAS"):
    shape = values.shape
    nifti.write_nifti(
        path, phantoms.stored(values, codes), phantoms.affine_of(shape, codes, (1.0, 1.0, 2.0), (1, 2, 3))
    )
    return path


def several(stack):
    """Three channels: the background, what is grey, what is bright."""
    value = np.asarray(stack)[..., 0]
    return np.stack([value < 60, (value >= 60) & (value < 160), value >= 160], -1).astype(np.float32)


class Several:
    predict_on_batch = staticmethod(several)


def test_classes_are_ids_and_their_probabilities_a_channel_each(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (5, 8, 9)).astype(np.uint8)
    path = volume_of(tmp_path / "a.nii.gz", values, "PSR")
    run = run_in(tmp_path / "run", labels=("grey", "bright"), height=8, width=9)
    report = predict(run, [path], tmp_path / "out", library.How(probabilities=True), model=Several())
    expected = np.digitize(phantoms.stored(values, "PSR"), [60, 160])
    assert np.array_equal(whole(report.predictions[0].mask), expected)
    kept = whole(tmp_path / "out" / "probabilities" / "a.nii.gz")
    assert kept.shape == (*expected.shape, 3)
    assert np.array_equal(kept.argmax(-1), expected)
    assert report.predictions[0].foreground == {"grey": (expected == 1).sum(), "bright": (expected == 2).sum()}


def test_a_background_and_one_class_are_one_class(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (5, 8, 9)).astype(np.uint8)
    path = volume_of(tmp_path / "a.nii.gz", values)
    run = run_in(tmp_path / "run", classes=2, height=8, width=9)

    class Two:
        def predict_on_batch(self, stack):
            found = np.asarray(stack)[..., :1].astype(np.float32) / 255
            return np.concatenate([1 - found, found], -1)

    report = predict(run, [path], tmp_path / "out", library.How(probabilities=True), model=Two())
    kept = whole(tmp_path / "out" / "probabilities" / "a.nii.gz")
    np.testing.assert_allclose(kept, phantoms.stored(values, "LAS") / 255, atol=1e-6)
    assert np.array_equal(whole(report.predictions[0].mask), kept >= 0.5)


def test_an_orientation_that_the_recipe_assumed_is_assumed_again(tmp_path):
    values = np.zeros((5, 8, 9), np.uint8)
    values[1, 2, 3] = 255
    array = phantoms.stored(values, "LAS")
    nifti.write_nifti(tmp_path / "a.nii.gz", array, np.eye(4), sform_code=0, qform_code=0)
    for options, failed in (({}, True), ({"assume_orientation": "none"}, True), ({"assume_orientation": "LAS"}, False)):
        run = run_in(tmp_path / "run", height=8, width=9, recipe={"options": options})
        report = predict(run, [tmp_path / "a.nii.gz"], tmp_path / "out", model=Bright())
        assert [failure.code for failure in report.failures] == ["bad_affine"] * failed
    assert np.array_equal(whole(report.predictions[0].mask), array > 0)
    assert report.predictions[0].flags == ("orientation_assumed",)


def test_voxels_that_are_no_number_become_what_the_recipe_puts_there(tmp_path):
    values = np.zeros((5, 8, 9), np.float32)
    values[1, 2, 3], values[2, 4, 5], values[2, 0, 0] = 255, np.nan, np.inf
    path = volume_of(tmp_path / "a.nii.gz", values)
    for options, failed in (({}, True), ({"nan_fill": None}, True), ({"nan_fill": 255.0}, False)):
        run = run_in(tmp_path / "run", height=8, width=9, recipe={"options": options, "window": ["0:255"]})
        report = predict(run, [path], tmp_path / "out", model=Bright())
        assert [failure.code for failure in report.failures] == ["nan_voxels"] * failed
    assert np.array_equal(whole(report.predictions[0].mask), phantoms.stored(values, "LAS") != 0)
    assert report.predictions[0].flags == ("nan_filled",)


def test_voxels_without_a_window_fail_in_words(tmp_path):
    path = volume_of(tmp_path / "a.nii.gz", np.zeros((5, 8, 9), np.int16))
    report = predict(run_in(tmp_path / "run"), [path], tmp_path / "out", model=Bright())
    assert [failure.code for failure in report.failures] == ["window_needed"]
    assert not list((tmp_path / "out").rglob("*.nii*"))


def test_only_one_slice_at_a_time_is_held(tmp_path, monkeypatch):
    """Of a volume that is stored slice by slice no more pictures are alive than fill a batch and the sheet."""
    path = volume_of(tmp_path / "a.nii.gz", np.random.default_rng(2).integers(0, 256, (60, 8, 9)).astype(np.uint8))
    alive = []
    seen = predict_volume.Steps.picture

    def counted(self, image, index=0):
        alive.append(index)
        return seen(self, image, index)

    monkeypatch.setattr(predict_volume.Steps, "picture", counted)
    ahead = []

    def progress(done, _total):
        ahead.append(len(alive) - done)

    how = library.How(batch_size=4)
    predict(
        run_in(tmp_path / "run", height=8, width=9), [path], tmp_path / "out", how, model=Bright(), progress=progress
    )
    assert len(ahead) >= 60
    assert max(ahead) < 2 * how.batch_size


def test_the_sheet_shows_the_largest_slices_in_order():
    sheet, picture = Sheet(40), np.zeros((8, 8, 1), np.uint8)
    areas = [(7 * index) % 40 for index in range(40)]
    for index, area in enumerate(areas):
        sheet.add(index, picture, (np.arange(64) < area).astype(np.uint8).reshape(8, 8))
    shown = [-entry[2] for entry in sorted(sheet._best, key=lambda entry: -entry[2])]
    assert shown == sorted(sorted(range(40), key=lambda index: -areas[index])[:SHOWN])
    assert images.decode_png(sheet.png()).ndim == 3


@pytest.mark.parametrize("total", [1, 5, 12, 13, 40, 400])
def test_a_sheet_of_nothing_shows_slices_from_end_to_end(total):
    sheet = Sheet(total)
    for index in range(total):
        sheet.add(index, np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    shown = sorted(-entry[2] for entry in sheet._best)
    assert len(shown) == min(total, SHOWN)
    gaps = [after - before for before, after in itertools.pairwise(shown)]
    assert max(gaps, default=1) <= -(-total // SHOWN)
    sheet.png()


def test_a_volume_that_vanishes_while_it_is_predicted_fails(tmp_path):
    path = volume_of(tmp_path / "a.nii.gz", np.zeros((5, 8, 9), np.uint8))

    class Thief:
        def predict_on_batch(self, stack):
            Path(path).unlink(missing_ok=True)
            return np.zeros((*stack.shape[:3], 1), np.float32)

    report = predict(run_in(tmp_path / "run", height=8, width=9), [path], tmp_path / "out", model=Thief())
    assert [failure.code for failure in report.failures] == ["missing_file"]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "predict.json"]


def test_dicom_that_is_no_ct_is_passed_over_and_what_is_damaged_is_named(tmp_path):
    home = tmp_path / "in"
    ct_series.write_series(home / "a")
    ct_series.write_series(home / "b", elements={"Modality": "MR"})
    for name in ("x/1.dcm", "x/2.dcm"):
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((home / "a" / "1-2.dcm").read_bytes()[:700])  # damaged, and nothing says of which series
    run = run_in(tmp_path / "run", height=9, width=11, recipe={"window": ["-1000:1000"]})
    report = predict(run, [home], tmp_path / "out", model=Bright())
    assert [one.name for one in report.predictions] == ["a"]
    assert report.passed_over == {"DICOM that is MR, and not CT": 5}
    assert [failure.file.name for failure in report.failures] == ["1.dcm", "2.dcm"]
    assert all(failure.code and failure.reason for failure in report.failures)


def test_a_series_in_the_folder_itself_is_called_after_it(tmp_path):
    ct_series.write_series(tmp_path / "patient 7")
    run = run_in(tmp_path / "run", height=9, width=11, recipe={"window": ["-1000:1000"]})
    report = predict(run, [tmp_path / "patient 7"], tmp_path / "out", model=Bright())
    assert [one.name for one in report.predictions] == ["patient 7"]
    assert report.predictions[0].slices == 5


def test_a_series_with_a_missing_slice_fails(tmp_path):
    ct_series.write_series(tmp_path / "a", skip=(2,))
    run = run_in(tmp_path / "run", height=9, width=11, recipe={"window": ["-1000:1000"]})
    report = predict(run, [tmp_path / "a"], tmp_path / "out", model=Bright())
    assert [failure.code for failure in report.failures] == ["missing_slice"]


def test_an_output_that_cannot_be_written_ends_the_command(tmp_path):
    path = volume_of(tmp_path / "a.nii.gz", np.zeros((5, 8, 9), np.uint8))
    (tmp_path / "out" / "masks" / "a.nii.gz").mkdir(parents=True)
    run, how = run_in(tmp_path / "run", height=8, width=9), library.How(overwrite=True)
    with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be written"):
        predict(run, [path], tmp_path / "out", how, model=Bright())


def test_a_full_disk_ends_the_command_in_words(tmp_path, monkeypatch):
    path = volume_of(tmp_path / "a.nii.gz", np.zeros((5, 8, 9), np.uint8))

    def full(*_given, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nifti, "write_labels", full)
    with pytest.raises(InputError, match=r"disk .* is full"):
        predict(run_in(tmp_path / "run", height=8, width=9), [path], tmp_path / "out", model=Bright())
