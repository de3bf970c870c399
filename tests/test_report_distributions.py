"""Distributions of a dataset on a page, and its statistics and samples as PNGs: what they say is what there is."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pages import dataset

from imagemask import images, manifest, split
from imagemask.errors import InputError
from imagemask.report import distributions, statistics
from imagemask.report.statistics import Bar, bar_chart, bars, title_of


@pytest.fixture
def folder(tmp_path):
    return dataset(tmp_path / "drawn")


@pytest.fixture
def frame(folder):
    return manifest.read(folder)


def page(folder, frame):
    (section,) = distributions.sections(folder, frame)
    assert (section.id, section.title) == ("distributions", "Distributions")
    return ET.fromstring(f"<div>{section.html}</div>")


def titles(found):
    return [one.findtext("h3") for one in found.iter("figure")]


def words(found):
    return " ".join("".join(found.itertext()).split())


def test_a_dataset_with_spacing_has_every_plot(folder, frame):
    frame[["spacing_y", "spacing_x"]] = 0.5, 2.0
    found = page(folder, frame)
    assert titles(found) == [
        *("Lesion area, of the picture", "Lesion area, in mm\N{SUPERSCRIPT TWO}", "Foreground by split"),
        *("Slices (pairs) a patient", "Intensities", "Where foreground lies"),
    ]
    for figure in found.iter("figure"):
        assert figure.find("details//table") is not None  # the numbers, for whoever cannot see the plot
        assert figure.find("svg/title") is not None
    assert "every picture was read" in words(found)


def test_without_spacing_there_is_no_plot_in_millimetres(folder, frame):
    frame[["spacing_y", "spacing_x"]] = np.nan
    assert not [title for title in titles(page(folder, frame)) if "mm" in title]
    some = frame.index[(frame["variant"] == "") & (frame["foreground"] > 0)]
    frame.loc[some[3:], ["spacing_y", "spacing_x"]] = 1.0
    assert "3 pairs have no known spacing and are left out" in words(page(folder, frame))


def test_augmented_copies_are_left_out_and_counted(folder, frame):
    copies = int((frame["variant"] != "").sum())
    assert copies
    assert f"Augmented copies ({copies}) are left out" in words(page(folder, frame))
    strips = next(one for one in page(folder, frame).iter("figure") if one.findtext("h3") == "Foreground by split")
    counts = [int(row[1].text) for row in strips.find("details//tbody")]
    assert sum(counts) == len(frame) - copies


def test_areas_are_those_of_the_manifest(folder, frame):
    """5 x 8 pixels of 40 x 48 are 2.08 %, 20 mm2 at 0.5 mm2 a pixel."""
    frame = frame.assign(foreground=40, spacing_y=0.5, spacing_x=1.0)
    found = page(folder, frame)
    descriptions = [one.findtext("svg/desc") for one in found.iter("figure")]
    assert "median 2.08 % of the picture" in descriptions[0]
    assert "median 20 mm\N{SUPERSCRIPT TWO}" in descriptions[1]


def test_intensities_and_positions_are_those_of_the_pixels(tmp_path):
    folder = dataset(tmp_path / "d", patients=3, slices=2)
    frame = manifest.read(folder)
    for number, key in enumerate(frame["key"]):
        mask = np.zeros((40, 48), np.uint8)
        mask[:10, 36:] = 1  # the upper right sixteenth
        image = np.full((40, 48, 3) if number % 2 else (40, 48), 255 if number % 2 else 0, np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            (folder / kind / f"{key}.png").write_bytes(images.encode_png(pixels, level=1))
    seen = distributions.look(folder, frame)
    assert seen.masks == len(frame)
    assert (seen.where[:8, 24:] == len(frame)).all()
    assert seen.where.sum() == len(frame) * 64
    total = sum(seen.grey.values())
    assert total[1:-1].sum() == 0
    assert total[0] == len(frame[::2]) * 40 * 48
    assert total[-1] == len(frame[1::2]) * 40 * 48
    heat = next(one for one in page(folder, frame).iter("figure") if one.findtext("h3") == "Where foreground lies")
    assert [cell.text for cell in heat.find("details//tbody")[0]] == ["top", "0%", "0%", "0%", "100%"]


def test_of_many_pictures_some_are_read_evenly_and_the_page_says_so(folder, frame, monkeypatch):
    monkeypatch.setattr(distributions, "READ", 6)
    plain = frame[frame["variant"] == ""]
    read = []
    monkeypatch.setattr(distributions.images, "read_png", lambda path: read.append(path) or np.ones((40, 48), np.uint8))
    found = page(folder, frame)
    assert len(read) == 12
    assert f"6 of {len(plain)} pictures, evenly chosen, were read" in words(found)
    of_split = plain.set_index("key")["split"]
    assert len({of_split[path.stem] for path in read}) >= 3


def test_a_picture_that_cannot_be_read_is_named(folder, frame):
    key = frame.loc[frame["variant"] == "", "key"].iloc[0]
    (folder / "images" / f"{key}.png").write_bytes(b"not a picture")
    assert f"1 could not be: {key}" in words(page(folder, frame))


def test_pairs_without_a_split_or_a_patient_are_not_forgotten(folder, frame):
    frame["split"], frame["patient"] = "", ""
    found = page(folder, frame)
    assert "Slices (pairs) a case" in titles(found)
    assert next(one.text for one in found.iter("text") if one.get("class") == "label") == "not assigned"


def test_nothing_is_shown_of_nothing(folder, frame):
    assert distributions.sections(folder, frame.iloc[:0]) == []


def test_names_from_the_manifest_are_escaped(folder, frame):
    frame["key"] = [f"<b>{number}" for number in range(len(frame))]
    (section,) = distributions.sections(folder, frame)
    assert "<b>" not in section.html


def test_the_statistics_count_what_the_manifest_says(frame):
    found = {bar.name: bar for bar in bars(frame)}
    assert set(found) == {"train", "valid", "test", "not assigned"}
    for name, bar in found.items():
        rows = frame[frame["split"] == ("" if name == "not assigned" else name)]
        assert bar == Bar(
            name,
            len(rows),
            int((rows["variant"] != "").sum()),
            int((rows["foreground"] > 0).sum()),
            rows["patient"].nunique(),
        )
    assert [bar.name for bar in bars(frame[frame["split"] == "train"])] == ["train", "valid", "test"]


def test_statistics_and_samples_are_written_as_pictures(folder, frame, tmp_path):
    out = tmp_path / "new" / "folder"
    written = statistics.write(folder, frame, out)
    names = [
        "Drawn_Statistics.png",
        *(f"Drawn_Samples_{name}.png" for name in ("train", "valid", "test", "unassigned")),
    ]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    before = [path.read_bytes() for path in written]
    assert all(images.read_png(path).ndim == 3 for path in written)
    assert [path.read_bytes() for path in statistics.write(folder, frame, out)] == before


def test_the_statistics_leave_copies_out_that_are_laid_out_nowhere(folder, frame, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        statistics, "bar_chart", lambda found, *, title: seen.append(found) or np.zeros((9, 9), np.uint8)
    )
    for variants in ("train", "everywhere"):
        split.write_stamp(folder, split.Stamp("0" * 64, variants=variants))
        statistics.write(folder, frame, tmp_path)
    trained, everywhere = ({bar.name: bar.variants for bar in found} for found in seen)
    assert (trained["valid"], trained["test"]) == (0, 0)
    assert all(everywhere.values())
    assert trained["train"] == everywhere["train"]
    plain = frame[(frame["split"] == "test") & (frame["variant"] == "")]
    assert next(bar.images for bar in seen[0] if bar.name == "test") == len(plain)


def test_bars_are_as_high_as_their_numbers():
    picture = bar_chart(
        [Bar("train", 200, 100, 200, 4), Bar("valid", 100, 0, 50, 2), Bar("test", 0, 0, 0, 0)], title="t"
    )
    blue, pale = np.array([0, 114, 178]), picture[150, 200]
    plain = (picture == blue).all(axis=2).sum(axis=0).max()
    augmented = (picture == pale).all(axis=2)[:, 200].sum()
    orange = (picture == np.array([197, 85, 0])).all(axis=2).sum(axis=0).max()
    assert plain == pytest.approx(orange, abs=2)
    assert augmented == pytest.approx(plain, abs=2)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("lung-tumor", "Lung-Tumor"),
        ("../../x", "X"),
        ("Überblick 3", "Uberblick-3"),
        ("\N{GREEK SMALL LETTER PI}", "Dataset"),
    ],
)
def test_titles_are_written_as_the_seeds_write_them_and_are_safe(name, title):
    assert title_of(name) == title


def test_an_empty_dataset_and_a_damaged_picture_are_refused(folder, frame, tmp_path):
    with pytest.raises(InputError, match="holds no pair"):
        statistics.write(folder, frame.iloc[:0], tmp_path / "out")
    for key in frame["key"]:
        (folder / "masks" / f"{key}.png").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be shown"):
        statistics.write(folder, frame, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())  # nothing of it, where not all of it can be made
