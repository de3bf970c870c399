"""Pictures: masks at their own size, whatever they are called and wherever they lie; and what is refused, or fails."""

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fifos import fifo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from predicting import Bright, Oracle, run_in, run_over

from imagemask import build, images, phantoms
from imagemask.build import How as BuildHow
from imagemask.cli.predict import predict as command
from imagemask.errors import InputError, UsageError
from imagemask.learn import inputs, outputs
from imagemask.learn import predict as library
from imagemask.learn.predict import How, predict
from imagemask.volumes import nifti

RNG = np.random.default_rng(0)


def draw(path, shape=(32, 32), seed=0, **given_):
    """A picture of noise, in the format of its name; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path, **given_)
    return pixels


def mask_of(out, name):
    return images.read_png(out / "masks" / f"{name}.png")


@pytest.fixture
def run(tmp_path):
    return run_in(tmp_path / "run")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def names(report):
    return [one.name for one in report.predictions]


# --- what comes back ---


def test_a_dataset_of_pictures_comes_back_from_a_perfect_model(tmp_path, out):
    """Two classes, in a folder, through build and predict: the very masks."""
    rng, raw = np.random.default_rng(7), tmp_path / "raw"
    for number in range(4):
        for kind in ("images", "masks"):
            (raw / kind).mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (40, 56, 3), np.uint8)
        mask = (rng.random((40, 56)) * 3).astype(np.uint8)
        Image.fromarray(image).save(raw / "images" / f"p{number}.png")
        Image.fromarray(mask).save(raw / "masks" / f"p{number}.png")
    job = build.prepare(
        "folder", raw=raw, out=tmp_path / "data", recipe={}, options={"labels": "1=cyst,2=tumour", "name": "pairs"}
    )
    build.run(job, BuildHow(workers=1), started=lambda _: None, progress=lambda _: None)
    over, oracle = run_over(tmp_path / "run", tmp_path / "data"), Oracle(tmp_path / "data")
    report = predict(over, [raw / "images"], out, model=oracle)
    assert names(report) == ["p0", "p1", "p2", "p3"]
    assert oracle.hits == set(oracle.known)
    for one in report.predictions:
        truth = np.asarray(Image.open(raw / "masks" / f"{one.name}.png"))
        assert np.array_equal(images.read_png(one.mask), truth)
        assert one.foreground == {"cyst": (truth == 1).sum(), "tumour": (truth == 2).sum()}
        overlay = images.read_png(out / "overlays" / f"{one.name}.png")
        assert overlay.shape == (40, 56, 3)


def test_a_run_that_sees_the_centre_finds_nothing_outside_it(tmp_path, out):
    over = run_in(tmp_path / "run", height=16, width=16, picture=(32, 32), crop_share=0.25)
    Image.fromarray(np.full((64, 32), 255, np.uint8)).save(tmp_path / "a.png")
    report = predict(over, [tmp_path / "a.png"], out, How(probabilities=True), model=Bright())
    expected = np.zeros((64, 32), np.uint8)
    expected[16:48, 8:24] = 255
    assert np.array_equal(mask_of(out, "a"), expected)
    assert report.predictions[0].foreground == {"cell": 32 * 16}
    assert np.array_equal(images.read_png(out / "probabilities" / "a.png"), expected)
    with pytest.raises(UsageError, match="trained on the centre of each picture"):
        predict(over, [tmp_path / "a.png"], tmp_path / "other", How(tiles="always"), model=Bright())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "misnamed.jpg", "no_suffix"])
def test_formats_are_told_by_content(tmp_path, run, out, name):
    path = tmp_path / "in" / name
    kind = {"misnamed.jpg": "PNG", "no_suffix": "PNG"}.get(name)
    pixels = draw(path, format=kind)
    report = predict(run, [path], out, model=Bright())
    assert names(report) == [name.split(".")[0]]
    expected = np.where(pixels >= 127.5, 255, 0)
    assert np.array_equal(mask_of(out, names(report)[0]), expected)
    assert report.predictions[0].foreground == {"cell": (expected > 0).sum()}


@given(st.tuples(st.integers(20, 90), st.integers(20, 90)), st.sampled_from(["auto", "never", "always"]), st.booleans())
def test_a_mask_has_the_size_of_its_picture(shape, tiles, flips):
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        pixels = draw(here / "a.png", shape)
        report = predict(
            run_in(here / "run"), [here / "a.png"], here / "out", How(tiles=tiles, flips=flips), model=Bright()
        )
        found = mask_of(here / "out", "a")
        assert found.shape == shape
        assert report.predictions[0].foreground["cell"] == np.count_nonzero(found)
        if tiles == "always":
            sure = np.abs(pixels - 127.5) > 1
            assert np.array_equal(found[sure], np.where(pixels >= 127.5, 255, 0)[sure])


def test_a_turned_photograph_is_predicted_as_it_is_looked_at(tmp_path, run, out):
    pixels = np.zeros((32, 20), np.uint8)
    pixels[:4, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    predict(run, [path], out, How(tiles="always"), model=Bright())
    assert np.array_equal(mask_of(out, "a"), images.read_image(path))
    assert mask_of(out, "a").shape == (20, 32)


def test_16_bits_and_several_frames(tmp_path, run, out):
    deep = RNG.integers(0, 65536, (32, 32)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    frames = [Image.fromarray(RNG.integers(0, 256, (32, 32), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "frames.tif", save_all=True, append_images=frames[1:])
    report = predict(run, [tmp_path / "deep.png", tmp_path / "frames.tif"], out, model=Bright())
    assert np.array_equal(mask_of(out, "deep"), np.where((deep.astype(int) + 128) // 257 >= 127.5, 255, 0))
    assert np.array_equal(mask_of(out, "frames"), np.where(np.asarray(frames[0]) >= 127.5, 255, 0))
    assert [one.flags for one in report.predictions] == [(), ("several_frames",)]


def test_a_picture_of_8_bits_is_windowed_already_unless_the_dataset_was_built_from_such(tmp_path, out):
    """A window of HU made white of all that a dataset of CT had written itself."""
    pixels = draw(tmp_path / "a.png")
    window = {"recipe": {"window": ["-1350:150"]}}
    report = predict(run_in(tmp_path / "ct", **window), [tmp_path / "a.png"], out, model=Bright())
    assert np.array_equal(mask_of(out, "a"), np.where(pixels >= 127.5, 255, 0))
    assert report.predictions[0].flags == ("windowed_already",)
    photos = run_in(tmp_path / "photos", from_pictures=True, recipe={"window": ["0:100"]})
    report = predict(photos, [tmp_path / "a.png"], tmp_path / "b", model=Bright())
    assert np.array_equal(mask_of(tmp_path / "b", "a"), np.where(pixels >= 50, 255, 0))
    assert report.predictions[0].flags == ()


def test_a_window_for_16_bits_is_not_put_to_pictures_of_8(tmp_path, out):
    """The dataset's own pictures among them, which that window has made."""
    pixels = draw(tmp_path / "a.png")
    deep = run_in(tmp_path / "deep", from_pictures=True, recipe={"window": ["0:4000"]})
    report = predict(deep, [tmp_path / "a.png"], out, model=Bright())
    assert np.array_equal(mask_of(out, "a"), np.where(pixels >= 127.5, 255, 0))
    assert report.predictions[0].flags == ("windowed_already",)


def test_a_grey_picture_is_not_that_of_three_windows(tmp_path, out):
    draw(tmp_path / "a.png")
    rgb = run_in(tmp_path / "rgb", channels=3, recipe={"window": ["lung", "mediastinum", "bone"]})
    report = predict(rgb, [tmp_path / "a.png"], out, model=Bright())
    assert [(one.code, "3 windows" in one.reason) for one in report.failures] == [("image_channels", True)]


def test_the_threshold_is_the_runs_unless_another_is_given(tmp_path, out):
    pixels = draw(tmp_path / "a.png")
    run = run_in(tmp_path / "run", threshold=0.8)
    for given_, least in ((None, 0.8), (0.2, 0.2), (0.0, 0.0)):
        report = predict(run, [tmp_path / "a.png"], out, How(threshold=given_, overwrite=True), model=Bright())
        assert report.threshold == least
        assert np.array_equal(mask_of(out, "a") > 0, pixels / np.float32(255) >= least)
    blank = run_in(tmp_path / "blank", threshold=None)
    assert predict(blank, [tmp_path / "a.png"], tmp_path / "b", model=Bright()).threshold == 0.5


def test_probabilities_on_request(tmp_path, run, out):
    pixels = draw(tmp_path / "a.png")
    predict(run, [tmp_path / "a.png"], out, model=Bright())
    assert not (out / "probabilities").exists()
    predict(run, [tmp_path / "a.png"], out, How(probabilities=True), model=Bright())
    assert np.array_equal(images.read_png(out / "probabilities" / "a.png"), pixels)


def test_probabilities_of_several_classes_are_an_array(tmp_path, out):
    pixels = draw(tmp_path / "a.png")
    run = run_in(tmp_path / "run", labels=("one", "two"))

    class Three:
        def predict_on_batch(self, stack):
            share = np.asarray(stack)[..., 0].astype(np.float32) / 255
            return np.stack([1 - share, share * 0.75, share * 0.25], -1)

    predict(run, [tmp_path / "a.png"], out, How(probabilities=True), model=Three())
    found = np.load(out / "probabilities" / "a.npy")
    assert found.dtype == np.float16
    np.testing.assert_allclose(found[..., 1], pixels / 255 * 0.75, atol=1e-3)
    assert np.array_equal(mask_of(out, "a"), (pixels >= 127.5).astype(np.uint8))


def test_the_overlay_shows_the_picture_with_its_outline(tmp_path, out):
    pixels = np.full((32, 32), 90, np.uint8)
    pixels[10:20, 10:20] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    predict(run_in(tmp_path / "run"), [tmp_path / "a.png"], out, model=Bright())
    overlay = images.read_png(out / "overlays" / "a.png")
    changed = (overlay != pixels[..., None]).any(-1)
    ring = np.zeros((32, 32), bool)
    ring[10:20, 10:20] = True
    ring[11:19, 11:19] = False
    assert np.array_equal(changed, ring)


# --- what is found, and what it is called ---


def test_a_folder_is_searched_and_its_tree_kept(tmp_path, run, out):
    home = tmp_path / "in"
    for name in ("a.png", "x/a.png", "x/y/b.bmp", ".hidden.png", ".git/c.png", "._a.png", "__MACOSX/d.png"):
        draw(home / name, format="BMP" if name.endswith("bmp") else "PNG")
    (home / "notes.txt").write_text("not an image")
    (home / "empty.log").touch()
    (home / "away").symlink_to(tmp_path / "run")
    report = predict(run, [home], out, model=Bright())
    assert names(report) == ["a", "x/a", "x/y/b"]
    assert (out / "masks" / "x" / "y" / "b.png").is_file()
    assert not report.failures
    assert report.passed_over == {
        "empty or unreadable, and no image by their names": 1,
        "hidden": 2,
        "left behind by an operating system": 2,
        "links that are not followed": 1,
        "no image": 1,
    }


def test_a_pipe_is_passed_over_in_a_folder_and_a_failure_where_it_is_named(tmp_path, run, out):
    draw(tmp_path / "in" / "a.png")
    with fifo(tmp_path / "in" / "b.png") as named:
        report = predict(run, [tmp_path / "in", named], out, model=Bright())
    assert names(report) == ["a"]
    assert report.passed_over == {"pipes, sockets and devices": 1}
    assert [(one.file, one.code, one.reason) for one in report.failures] == [
        (named, "special_file", "is a pipe, a socket or a device, which is not opened")
    ]


def found_names(paths, tmp_path):
    return [one.name for one in inputs.find(paths, out=tmp_path / "out").inputs]


def test_names_that_collide_grow_until_they_differ(tmp_path):
    for name in ("in/a.png", "in/a.bmp", "in/b.png", "in/x/A.png", "other/in/b.png"):
        draw(tmp_path / name)
    assert found_names([tmp_path / "in"], tmp_path) == ["a.bmp", "a.png", "b", "x/A"]
    one, two = tmp_path / "in" / "b.png", tmp_path / "other" / "in" / "b.png"
    found = found_names([one, two], tmp_path)
    assert len(set(found)) == 2
    assert all(name.endswith("b.png") for name in found)
    assert found_names([tmp_path / "in" / "a.png", tmp_path / "in" / "x" / "A.png"], tmp_path) == [
        "in/a.png",
        "x/A.png",
    ]


def test_what_is_given_twice_is_done_once(tmp_path):
    draw(tmp_path / "in" / "a.png")
    paths = [tmp_path / "in" / "a.png", tmp_path / "in", tmp_path / "in" / ".." / "in" / "a.png"]
    assert found_names(paths, tmp_path) == ["a"]


def test_a_picture_and_a_volume_of_one_name_do_not_share_an_overlay(tmp_path, run, out):
    draw(tmp_path / "in" / "a.png")
    values = RNG.integers(0, 256, (3, 32, 32)).astype(np.uint8)
    affine = phantoms.affine_of(values.shape, "LAS", (1.0, 1.0, 1.0), (5, 5, 5))
    nifti.write_nifti(tmp_path / "in" / "a.nii.gz", phantoms.stored(values, "LAS"), affine)
    report = predict(run, [tmp_path / "in"], out, model=Bright())
    assert sorted(names(report)) == ["a.nii.gz", "a.png"]
    assert sorted(path.name for path in (out / "overlays").iterdir()) == ["a.nii.gz.png", "a.png.png"]


def test_the_output_in_the_input_is_not_predicted_again(tmp_path, run):
    home = tmp_path / "in"
    draw(home / "a.png")
    first = predict(run, [home], home / "out", model=Bright())
    again = predict(run, [home], home / "out", model=Bright())
    assert names(first) == names(again) == ["a"]
    assert again.passed_over == {"in the folder of the output": 3}


# --- what fails ---


def test_bad_input_is_named_and_the_rest_is_done(tmp_path, run, out):
    home = tmp_path / "in"
    draw(home / "good.png")
    draw(home / "cut.png")
    (home / "cut.png").write_bytes((home / "cut.png").read_bytes()[:200])
    draw(home / "coloured.png", (32, 32, 3))
    (home / "empty.png").touch()
    (home / "page.nii.gz").write_text("<html>404</html>")
    (home / "text.jpg").write_text("not a picture")
    gone, text = tmp_path / "gone.png", tmp_path / "notes.txt"
    text.write_text("named, so not passed over")
    report = predict(run, [gone, home, text], out, model=Bright())
    assert names(report) == ["good"]
    assert {failure.file.name: failure.code for failure in report.failures} == {
        "gone.png": "missing_file",
        "cut.png": "damaged_image",
        "coloured.png": "image_channels",
        "empty.png": "empty_file",
        "page.nii.gz": "unknown_format",
        "text.jpg": "unknown_format",
        "notes.txt": "unknown_format",
    }
    for failure in report.failures:
        assert failure.remedy
        assert str(failure.file) in str(failure)
    assert [path.name for path in (out / "masks").iterdir()] == ["good.png"]


def test_an_input_that_fails_has_no_output_not_even_an_earlier_one(tmp_path, run, out):
    path = tmp_path / "a.png"
    draw(path)
    predict(run, [path], out, model=Bright())
    path.write_bytes(path.read_bytes()[:100])
    report = predict(run, [path], out, model=Bright())
    assert not report.predictions
    assert not list(out.rglob("a.*"))
    with pytest.raises(InputError, match=r"nothing was predicted: 1 inputs failed"):
        library.require_some(report)


def test_nothing_to_predict_writes_nothing(tmp_path, run, out):
    (tmp_path / "in").mkdir()
    report = predict(run, [tmp_path / "in"], out)
    assert not out.exists()
    with pytest.raises(InputError):
        library.require_some(report)


# --- the folder of the output ---


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_command_again_writes_the_same(tmp_path, run, out):
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "b.png", (50, 40), seed=1)
    predict(run, [tmp_path / "in"], out, model=Bright())
    first = tree(out)
    (out / "masks" / "b.png").unlink()  # as if it had been stopped before the second
    (out / "masks" / ".b.png.tmp").write_bytes(b"half")
    predict(run, [tmp_path / "in"], out, model=Bright())
    assert tree(out) == first
    predict(run, [tmp_path / "in"], out, How(batch_size=1), model=Bright())
    assert tree(out) == first


def test_predictions_are_added_to_those_of_the_same_settings(tmp_path, run, out):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    for name in ("a", "b", "a"):
        predict(run, [tmp_path / f"{name}.png"], out, model=Bright())
    document = json.loads((out / "predict.json").read_text())
    assert document["inputs"] == {"a": "../a.png", "b": "../b.png"}
    assert document["settings"]["threshold"] == 0.5


def test_what_is_somebody_elses_is_not_replaced(tmp_path, run, out):
    draw(tmp_path / "a.png")
    (out / "masks").mkdir(parents=True)
    (out / "masks" / "a.png").write_bytes(b"drawn by hand")
    with pytest.raises(UsageError, match=r"a\.png: is there already.*--overwrite"):
        predict(run, [tmp_path / "a.png"], out, model=Bright())
    assert (out / "masks" / "a.png").read_bytes() == b"drawn by hand"
    predict(run, [tmp_path / "a.png"], out, How(overwrite=True), model=Bright())
    assert mask_of(out, "a").shape == (32, 32)


def test_the_output_of_another_input_is_not_replaced(tmp_path, run, out):
    draw(tmp_path / "x" / "a.png")
    draw(tmp_path / "y" / "a.png", seed=1)
    predict(run, [tmp_path / "x" / "a.png"], out, model=Bright())
    before = tree(out)
    with pytest.raises(UsageError, match=r"was made of \.\./x/a\.png"):
        predict(run, [tmp_path / "y" / "a.png"], out, model=Bright())
    assert tree(out) == before


@pytest.mark.parametrize(
    ("how", "named"), [(How(threshold=0.3), "threshold"), (How(flips=True), "flips"), (How(tiles="never"), "tiles")]
)
def test_other_settings_are_refused_by_name(tmp_path, run, out, how, named):
    draw(tmp_path / "a.png")
    predict(run, [tmp_path / "a.png"], out, How(probabilities=True), model=Bright())
    with pytest.raises(UsageError, match=f"another {named}. Give another --out, or --overwrite"):
        predict(run, [tmp_path / "a.png"], out, how, model=Bright())
    predict(run, [tmp_path / "a.png"], out, dataclasses.replace(how, overwrite=True), model=Bright())
    assert not (out / "probabilities" / "a.png").exists()  # made by the other settings


def test_an_input_is_never_replaced(tmp_path, run):
    draw(tmp_path / "masks" / "a.png")
    before = tree(tmp_path / "masks")
    for how in (How(), How(overwrite=True)):
        with pytest.raises(UsageError, match=r"is an input"):
            predict(run, [tmp_path / "masks" / "a.png"], tmp_path, how, model=Bright())
    assert tree(tmp_path / "masks") == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, run):
    draw(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"is not a folder"):
        predict(run, [tmp_path / "a.png"], tmp_path / "a.png", model=Bright())


def test_a_damaged_document_makes_everything_somebody_elses(tmp_path, run, out):
    draw(tmp_path / "a.png")
    predict(run, [tmp_path / "a.png"], out, model=Bright())
    (out / outputs.DOCUMENT).write_text("{")
    with pytest.raises(UsageError, match=r"is there already"):
        predict(run, [tmp_path / "a.png"], out, model=Bright())


# --- the command ---


def no_backend(monkeypatch):
    """The command, with a model that is bright and no Keras needed."""
    from imagemask.learn import backend
    from imagemask.learn.run import Run

    monkeypatch.setattr(backend, "require", lambda: "none")
    monkeypatch.setattr(Run, "model", lambda _self: Bright())


def call(*words):
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)


def test_the_command_reports_and_tells_by_its_exit_code(tmp_path, run, out, monkeypatch):
    no_backend(monkeypatch)
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "dark.png", (1, 1))
    done = call(run.folder, tmp_path / "in", "--out", out)
    assert done.exit_code == 0, done.output
    assert "2 pictures" in done.stdout
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = call(run.folder / "run.json", tmp_path / "in", tmp_path / "gone.nii", "--out", out, "--json")
    assert done.exit_code == 3
    assert "broken.png" in done.stderr
    assert "gone.nii" in done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "imagemask.predict/1"
    assert [one["name"] for one in document["predictions"]] == ["a", "dark"]
    assert {failure["code"] for failure in document["failures"]} == {"damaged_image", "missing_file"}


def test_the_command_shows_volumes_and_passes_options_on(tmp_path, out, monkeypatch):
    no_backend(monkeypatch)
    run = run_in(tmp_path / "run", threshold=None)
    values = np.full((5, 32, 32), 200, np.uint8)
    affine = phantoms.affine_of(values.shape, "LAS", (1.0, 1.0, 2.0), (5, 5, 5))
    nifti.write_nifti(tmp_path / "v.nii", phantoms.stored(values, "LAS"), affine, gzip=False)
    words = ("--threshold", "0.9", "--flips", "--tiles", "never", "--batch-size", "2", "--probabilities", "--overwrite")
    done = call(run.folder, tmp_path / "v.nii", "--out", out, *words)
    assert done.exit_code == 0, done.output
    assert "5 slices, cell 0.00 ml" in done.stdout
    assert "1 volume" in done.stdout
    assert (out / "probabilities" / "v.nii.gz").is_file()
    done = call(run.folder, tmp_path / "v.nii", "--out", tmp_path / "b")
    assert "cell 10.24 ml" in done.stdout
    assert "threshold is 0.5" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_named_and_the_rest_is_done(tmp_path, run, out, monkeypatch):
    no_backend(monkeypatch)
    draw(tmp_path / "in" / "a.png")
    odd = os.fsencode(tmp_path / "in") + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((tmp_path / "in" / "a.png").read_bytes())
    done = call(run.folder, tmp_path / "in", "--out", out)
    assert done.exit_code == 3
    assert "caf\\udce9.png" in done.stderr
    assert "undecodable_name" in done.stderr
    assert [path.name for path in (out / "masks").iterdir()] == ["a.png"]


def test_the_bar_reaches_its_end(tmp_path, run, out):
    for number in range(5):
        draw(tmp_path / "in" / f"{number}.png", seed=number)
    (tmp_path / "in" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, kind in (("fails", np.int16), ("good", np.uint8)):  # the run has no window
        values = np.zeros((40, 32, 32), kind)
        affine = phantoms.affine_of(values.shape, "SPL", (1.0, 1.0, 2.0), (5, 5, 5))
        nifti.write_nifti(tmp_path / "in" / f"{name}.nii", phantoms.stored(values, "SPL"), affine, gzip=False)
    steps = []
    predict(run, [tmp_path / "in"], out, model=Bright(), progress=lambda *step: steps.append(step))
    assert steps[-1] == (85, 85)
    assert all(done <= total for done, total in steps)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.slow
def test_the_runs_own_model_is_loaded(tmp_path, out):
    """A small network, saved as ``train`` saves it: the mask is what the network itself says."""
    keras = pytest.importorskip("keras")
    from imagemask.learn import models

    options = {"levels": 2, "filters": 4, "height": 32, "width": 32, "channels": 1}
    keras.utils.set_random_seed(3)
    network = models.build("unet", models.options("unet", options))
    run = run_in(tmp_path / "run")
    network.save(run.folder / "best.keras")
    pixels = draw(tmp_path / "a.png")
    said = np.asarray(keras.ops.convert_to_numpy(network(pixels[None, ..., None].astype("float32"))))[0, ..., 0]
    threshold = float(np.median(said))
    report = predict(run, [tmp_path / "a.png"], out, How(threshold=threshold))
    wrong = (mask_of(out, "a") > 0) != (said >= threshold)
    assert not wrong[np.abs(said - threshold) > 1e-5].any()
    assert 0 < report.predictions[0].foreground["cell"] < pixels.size
    settings = json.loads((out / "predict.json").read_text())["settings"]
    assert len(settings["model"]) == 64
    (run.folder / "best.keras").unlink()
    with pytest.raises(InputError, match=r"best\.keras: is missing"):
        predict(run, [tmp_path / "a.png"], tmp_path / "b")
