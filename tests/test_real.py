"""Real CT, and real published pairs, from raw folder to verified dataset; skipped where they are not at hand."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imagemask import images, manifest
from imagemask.cli import main
from imagemask.errors import CaseError

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "real"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def centre(mask):
    """Mean row and column of the foreground, as shares of the picture."""
    rows, columns = np.nonzero(mask)
    return rows.mean() / mask.shape[0], columns.mean() / mask.shape[1]


@pytest.mark.parametrize(("name", "pairs"), [("lung-tumor", 30), ("pancreas", 4)])
def test_a_real_volume_builds_and_verifies(here, name, pairs):
    call("check", name, "--raw", REAL / "volumes" / name)
    call("build", name, "--raw", REAL / "volumes" / name)
    assert f"{pairs} pairs: no findings" in call("verify")


def built(here, name):
    """Image and mask of each pair of a real volume, through a window in which grey is HU."""
    call("build", name, "--raw", REAL / "volumes" / name, "--window", "0:255")
    dataset = here / "datasets" / name
    for key in manifest.read(dataset)["key"]:
        yield images.read_png(dataset / "images" / f"{key}.png"), images.read_png(dataset / "masks" / f"{key}.png")


def test_the_real_spleen_lies_low_on_the_viewer_s_right_and_is_soft_tissue(here):
    inside = []
    for image, mask in built(here, "lung-tumor"):
        row, column = centre(mask)
        assert row > 0.5
        assert column > 0.7
        inside += image[mask > 0].tolist()
    assert 20 < np.median(inside) < 200


def test_the_real_pancreas_is_soft_tissue_in_front_of_the_spine(here):
    inside = []
    for image, mask in built(here, "pancreas"):
        row, column = centre(mask)
        bone = centre(image == 255)  # of these slices: vertebra, ribs and table, most of it behind
        assert row < bone[0]
        assert column > 0.5
        inside += image[mask > 0].tolist()
    assert 0 < np.median(inside) < 200


@pytest.mark.parametrize(
    ("name", "options", "pairs", "patients"),
    [
        ("pancreas", ["--patient", r"(PANCREAS_\d+)", "--mask-threshold", 128], 126, 31),
        ("lung-tumor", ["--patient", r"^(\d+)_"], 8, 6),
        ("cervical-cancer", ["--patient", r"_(\d+)\.", "--mask-threshold", 64], 155, 54),
    ],
)
def test_published_pairs_build_split_by_patient_and_verify(here, name, options, pairs, patients):
    call(
        "build",
        "folder",
        "--raw",
        REAL / name,
        "--name",
        "real",
        "--licence",
        "see source",
        "--citation",
        "see source",
        *options,
    )
    call("split", "--by-patient")
    assert f"{pairs} pairs: no findings" in call("verify")
    rows = manifest.read(here / "datasets" / "real")
    assert rows["patient"].nunique() == patients
    assert set(rows["split"]) == {"train", "valid", "test"}
    assert (rows.groupby("patient")["split"].nunique() == 1).all()


def test_jpeg_masks_are_refused_with_the_histogram_that_shows_why(here):
    output = call("build", "folder", "--raw", REAL / "pancreas", "--patient", r"(PANCREAS_\d+)", code=2)
    assert "pixels by value 0: " in output
    assert "--mask-threshold 128" in output


def test_real_frames_are_read_as_they_are():
    """Two frames of cancer from the authors' repository, and a figure that shows their outlines."""
    for name in ("1", "7"):
        frame = images.read_image(REAL / "esophageal-cancer" / f"{name}.png")
        assert (frame.shape, frame.dtype) == ((480, 480, 3), np.uint8)
        assert frame[:40, :10].max() < 60, "the corner is not black"
        red, green, blue = (np.median(frame[100:380, 100:380, channel]) for channel in range(3))
        assert red > green
        assert red > blue
    with pytest.raises(CaseError) as caught:  # its corners are
        images.read_image(REAL / "esophageal-cancer" / "ROI_example.png")
    assert caught.value.code == "transparent_image"


def test_real_frames_without_masks_build_with_empty_ones_and_say_so(here):
    raw = here / "raw" / "esophageal-cancer" / "non-EEC"
    raw.mkdir(parents=True)
    for name in ("1.png", "7.png"):
        (raw / name).write_bytes((REAL / "esophageal-cancer" / name).read_bytes())
    assert "not one pair was built" in call("build", "esophageal-cancer", "--out", "none", code=4)
    call("build", "esophageal-cancer", "--keep-empty")
    assert "2 pairs: no findings" in call("verify")
    dataset = here / "datasets" / "esophageal-cancer"
    rows = manifest.read(dataset)
    assert rows["case"].tolist() == ["non-EEC+1", "non-EEC+7"]
    assert set(rows["flags"]) == {"leak_risk synthetic_mask"}
    assert (set(rows["patient"]), set(rows["category"]), set(rows["foreground"])) == ({""}, {"non-EEC"}, {0})
    for key, name in zip(rows["key"], ("1.png", "7.png"), strict=True):
        frame = images.read_image(raw / name)
        assert np.array_equal(images.read_png(dataset / "images" / f"{key}.png"), frame)
        assert not images.read_png(dataset / "masks" / f"{key}.png").any()
