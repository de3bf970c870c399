"""Verify: a healthy dataset has no finding, and each thing that can be broken has its own."""

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask import card, files, images, manifest, pool, verify
from imagemask.errors import InputError
from imagemask.split import layout
from imagemask.types import Row
from imagemask.verify import CODES, Finding, annotate, pairs

PAGE = Path(__file__).parent.parent / "docs" / "verify.md"
ONE, TWO = {1: "tumour"}, {3: "cyst", 7: "tumour"}
SPLITS = ("train", "valid", "test")
GONE = b"patient_7,train,2\n"


def picture(*shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pair(dataset, patient, index, variant, *, labels, colour):
    """Write one pair; its row."""
    seed = patient * 100 + index * 10 + len(variant)
    written = np.array([0, *manifest.mask_values(labels).values()], np.uint8)
    classes = np.random.default_rng(seed).integers(0, len(labels) + 1, (6, 8))
    image, mask = picture(*(6, 8, 3) if colour else (6, 8), seed=seed), written[classes]
    case = f"case_{patient}"
    key = f"{case}-{index:04d}" + (f"~{variant}" if variant else "")
    (dataset / "images" / f"{key}.png").write_bytes(images.encode_png(image, level=1))
    (dataset / "masks" / f"{key}.png").write_bytes(images.encode_png(mask, level=6))
    return Row(
        key=key,
        dataset="demo",
        patient=f"patient_{patient}",
        group=f"patient_{patient}",
        case=case,
        slice=index,
        variant=variant,
        split=SPLITS[patient],
        fold="",
        category="",
        flags="",
        height=6,
        width=8,
        spacing_y=0.5,
        spacing_x=None,
        source_height=12,
        source_width=8,
        box="0 0 12 8",
        pad="0 1 0 1",
        foreground=int((classes > 0).sum()),
        classes=" ".join(str(one) for one in np.unique(classes) if one),
        source=f"imagesTr/{case}.nii.gz",
        source_sha256="0" * 64,
        digest=manifest.digest(image, mask),
        extra={"age": "41"},
    )


def healthy(dataset, *, labels=ONE, colour=False, slices=2):
    """A dataset of three patients, each in its split, with one variant each."""
    for folder in ("images", "masks"):
        (dataset / folder).mkdir(parents=True)
    rows = [
        pair(dataset, patient, index, variant, labels=labels, colour=colour)
        for patient in range(3)
        for index in range(slices)
        for variant in (("", "fliph") if index == 0 else ("",))
    ]
    manifest.write(dataset, manifest.table(map(manifest.record, rows), ["age"]))
    assigned = [(f"patient_{patient}", SPLITS[patient], "") for patient in range(3)]
    (dataset / "split.csv").write_bytes(manifest.csv_bytes(["patient", "split", "fold"], assigned))
    excluded = {"case_9": "withdrawn"}
    counts = {"discovered": 5, "built": 3, "quarantined": 1, "excluded": 1, "pairs": len(rows), "patients": 3}
    counts |= {
        "foreground_pairs": len(rows),
        "slices_read": 9,
        "slices_kept": 3 * slices,
        "slices_empty": 9 - 3 * slices,
    }
    document = {
        "schema": "imagemask.dataset/1",
        "name": "demo",
        "source": {"licence": "CC0", "citation": "Nobody", "title": "Demo"},
        "labels": [
            {"name": labels[value], "source_value": value, "mask_value": mask}
            for value, mask in manifest.mask_values(labels).items()
        ],
        "counts": counts,
        "excluded": excluded,
        "versions": {},
    }
    (dataset / "dataset.json").write_text(json.dumps(document))
    header = ["case", "file", "stage", "code", "reason", "remedy"]
    quarantined = ["case_8", "case_8.nii.gz", "read", "empty_file", "it is empty", ""]
    (dataset / "quarantine.csv").write_bytes(manifest.csv_bytes(header, [quarantined]))
    layout.write_stamp(dataset, layout.Stamp(files.sha256(dataset / "manifest.csv"), layout="none"))
    card.write(dataset)
    return dataset


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return healthy(tmp_path_factory.mktemp("verify") / "demo")


@pytest.fixture
def dataset(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "demo"))


class Broken:
    """A dataset to break: ``rows[0]`` is line 2 of its manifest; written back by ``save``."""

    def __init__(self, dataset):
        self.path = dataset
        self.header, *self.rows = list(csv.reader(io.StringIO((dataset / "manifest.csv").read_text())))

    def cell(self, line, column, value):
        self.rows[line - 2][self.header.index(column)] = value
        return self

    def cells(self, line, **values):
        for column, value in values.items():
            self.cell(line, column, value)
        return self

    def key(self, line):
        return self.rows[line - 2][0]

    def save(self):
        """Write the manifest, stamp the (empty) layout as its own, and its card: what is wrong is in the rows."""
        (self.path / "manifest.csv").write_bytes(manifest.csv_bytes(self.header, self.rows))
        if (self.path / ".layout").exists():
            stamp(self, layout="none")
        with contextlib.suppress(InputError):  # a manifest that cannot be read has no card
            card.write(self.path)

    def text(self, change, name="manifest.csv"):
        path = self.path / name
        data = change(path.read_bytes())
        assert data != path.read_bytes(), "nothing was broken"
        path.write_bytes(data)

    def json(self, *place, value):
        document = json.loads((self.path / "dataset.json").read_text())
        part = document
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        (self.path / "dataset.json").write_text(json.dumps(document))

    def mask(self, line, mask):
        """Put another mask in the place of one, and its digest into the row."""
        image = images.read_png(self.path / "images" / f"{self.key(line)}.png")
        (self.path / "masks" / f"{self.key(line)}.png").write_bytes(images.encode_png(mask, level=6))
        return self.cell(line, "digest", manifest.digest(image, mask))

    def file(self, folder, line):
        return self.path / folder / f"{self.key(line)}.png"


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def swap(broken):
    broken.rows[2], broken.rows[3] = broken.rows[3], broken.rows[2]
    broken.save()


def twice(broken):
    broken.rows.insert(1, broken.rows[0])
    broken.json("counts", "pairs", value=10)
    broken.json("counts", "foreground_pairs", value=10)
    broken.save()


def one_letter(broken):
    for line, case in ((2, "CASE_0"), (3, "CASE_0"), (4, "CASE_0")):
        broken.cells(line, case=case, key=broken.key(line).replace("case_0", case))
    broken.rows.insert(3, ["case_0-0000", *broken.rows[0][1:]])
    broken.cells(5, case="case_0").save()
    broken.json("counts", "pairs", value=10)
    broken.json("counts", "foreground_pairs", value=10)
    broken.json("counts", "slices_kept", value=7)
    broken.json("counts", "slices_read", value=10)
    broken.json("counts", "built", value=4)
    broken.json("counts", "discovered", value=6)
    for folder in ("images", "masks"):
        for path in sorted((broken.path / folder).glob("case_0*")):
            shutil.copy(path, path.with_name(path.name.replace("case_0", "CASE_0")))
            if path.stem != "case_0-0000":
                path.unlink()


def undeclared(broken):
    mask = images.read_png(broken.file("masks", 5)).copy()
    mask[mask == 255] = 7
    broken.mask(5, mask).save()


def other_classes(broken):
    mask = images.read_png(broken.file("masks", 5))
    broken.json(
        "labels",
        value=[{"name": "a", "source_value": 1, "mask_value": 1}, {"name": "b", "source_value": 2, "mask_value": 255}],
    )
    for line in range(2, 11):
        if line != 5:
            broken.cell(line, "classes", "2")
    assert set(np.unique(mask)) == {0, 255}
    broken.save()


def darker(broken):
    path = broken.file("images", 4)
    path.write_bytes(images.encode_png(images.read_png(path) // 2, level=1))


def other_mask(broken):
    path = broken.file("masks", 4)
    path.write_bytes(images.encode_png(images.read_png(path)[::-1], level=6))


def no_mask(broken):
    broken.file("masks", 4).write_bytes(png(np.zeros((6, 8), np.uint8)))


def taller(broken):
    broken.file("masks", 4).write_bytes(png(np.zeros((7, 8), np.uint8)))


def deep(broken):
    broken.file("images", 4).write_bytes(png(np.zeros((6, 8), np.uint16)))


def coloured_mask(broken):
    broken.file("masks", 4).write_bytes(png(np.zeros((6, 8, 3), np.uint8)))


def transparent(broken):
    broken.file("images", 4).write_bytes(png(np.zeros((6, 8, 4), np.uint8)))


def cut(broken):
    path = broken.file("images", 4)
    path.write_bytes(path.read_bytes()[:-20])


def folder_for_file(broken):
    broken.file("masks", 4).unlink()
    broken.file("masks", 4).mkdir()


def no_split(line):
    def change(broken):
        assigned = list(csv.reader(io.StringIO((broken.path / "split.csv").read_text())))
        (broken.path / "split.csv").write_bytes(manifest.csv_bytes(assigned[0], assigned[2:]))
        for other in (2, 3, 4):
            broken.cells(other, split="")
        broken.save()

    return change


def leak(column):
    """Patients stay whole by name, the unit ``column`` does not."""

    def change(broken):
        without_split(broken)
        if column == "patient":
            broken.cells(5, patient="patient_0").cells(6, patient="patient_0").cells(7, patient="patient_0")
            broken.cells(5, group="").cells(6, group="").cells(7, group="").save()
            broken.json("counts", "patients", value=2)
        elif column == "group":
            broken.cells(2, group="twins").cells(8, group="twins").save()
        else:
            broken.cells(2, split="test", patient="", group="").cells(3, patient="", group="").save()

    return change


def unlink(name):
    return lambda broken: (broken.path / name).unlink()


def edited(line, **values):
    return lambda broken: broken.cells(line, **values).save()


def counted(**values):
    def change(broken):
        for name, value in values.items():
            broken.json("counts", name, value=value)

    return change


def replaced(old, new, name="manifest.csv"):
    return lambda broken: broken.text(lambda data: data.replace(old, new, 1), name)


def written(name, data):
    return lambda broken: broken.text(lambda _: data, name)


def added(name):
    def change(broken):
        (broken.path / name).parent.mkdir(exist_ok=True)
        (broken.path / name).write_bytes(b"x")

    return change


def without_split(broken):
    for name in ("split.csv", ".layout"):
        (broken.path / name).unlink()
    return broken


def nobody_tested(broken):
    """The patient of the test set is gone, and split.csv still knows her."""
    broken.text(lambda data: data.replace(b"patient_2,test", b"patient_2,train") + b"patient_9,test,\n", "split.csv")
    for line in (8, 9, 10):
        broken.cell(line, "split", "train")
    broken.save()


def unlawful(**values):
    """A cell that split.csv would contradict, were it there."""
    return lambda broken: without_split(broken).cells(4, **values).save()


def same_value(broken):
    broken.json("labels", value=[{"name": name, "source_value": 1, "mask_value": 255} for name in "ab"])


def stamp(broken, **said):
    layout.write_stamp(broken.path, layout.Stamp(files.sha256(broken.path / "manifest.csv"), **said))


def laid_out(then):
    """Lay the three folders out, then break something."""

    def change(broken):
        layout.lay_out(broken.path, manifest.read(broken.path), "copy", "train")
        then(broken)

    return change


# Code; line of the finding (None: the dataset's); what is broken; whether --fast sees it; how.
BREAKS = [
    ("IM001", 3, "not UTF-8", True, replaced(b"case_0-0000~fliph", b"case_0-0000~\xff")),
    ("IM001", 10, "the end is cut off", True, lambda broken: broken.text(lambda data: data[:-30])),
    ("IM001", 11, "half a row", True, lambda broken: broken.text(lambda data: data + b"case_3,\n")),
    ("IM001", 11, "an empty line", True, lambda broken: broken.text(lambda data: data + b"\n")),
    ("IM001", 1, "CR LF", True, lambda broken: broken.text(lambda data: data.replace(b"\n", b"\r\n"))),
    ("IM001", 2, "a quote that ends nowhere", True, replaced(b"imagesTr", b'"imagesTr"x')),
    ("IM002", 1, "a column is missing", True, replaced(b"digest", b"digset")),
    ("IM002", 1, "a column stands twice", True, replaced(b",age", b",key")),
    ("IM002", 1, "the columns stand in another order", True, replaced(b"patient,group", b"group,patient")),
    ("IM003", 4, "a height that is no number", True, edited(4, height="six")),
    ("IM003", 4, "a width of 0", True, edited(4, width="0")),
    ("IM003", 4, "a negative spacing", True, edited(4, spacing_x="-1")),
    ("IM003", 4, "a spacing that is no number", True, edited(4, spacing_y="half")),
    ("IM003", 4, "an infinite spacing", True, edited(4, spacing_y="inf")),
    ("IM003", 4, "a box of three numbers", True, edited(4, box="0 0 12")),
    ("IM003", 4, "a box beyond the source", True, edited(4, box="0 0 13 8")),
    ("IM003", 4, "an empty box", True, edited(4, box="5 0 5 8")),
    ("IM003", 4, "a pad that leaves nothing", True, edited(4, pad="3 0 3 0")),
    ("IM003", 4, "a digest that is none", True, edited(4, digest="0" * 63)),
    ("IM003", 4, "a hash that is none", True, edited(4, source_sha256="x")),
    ("IM003", 4, "classes out of order", True, edited(4, classes="2 1")),
    ("IM003", 4, "foreground without classes", True, edited(4, classes="")),
    ("IM003", 4, "an unnamed dataset", True, edited(4, dataset="")),
    ("IM004", 4, "a key of another slice", True, edited(4, slice="2")),
    ("IM004", 4, "a key of a variant", True, edited(4, variant="flipv")),
    ("IM005", 3, "a row stands twice", True, twice),
    ("IM005", 5, "two keys differ by case only", True, one_letter),
    ("IM006", 5, "two rows are swapped", True, swap),
    ("IM007", 4, "a fold that is no number", True, unlawful(fold="first")),
    ("IM007", 4, "a split of another name", True, unlawful(split="training")),
    ("IM008", 5, "a patient is divided", True, leak("patient")),
    ("IM008", 8, "a group is divided", True, leak("group")),
    ("IM008", 3, "a case is divided", True, leak("case")),
    ("IM009", 2, "a patient has no split", True, no_split(2)),
    ("IM010", None, "an unknown header", True, replaced(b"patient,", b"person,", "split.csv")),
    ("IM010", None, "no header", True, written("split.csv", b"")),
    ("IM010", None, "an empty line", True, written("split.csv", b"\n")),
    ("IM010", None, "a ragged row", True, replaced(b",train,", b",train", "split.csv")),
    ("IM010", 4, "a fold that split.csv does not know", True, edited(4, fold="1")),
    ("IM010", None, "an assignment to nowhere", True, replaced(b"patient_2,test", b"patient_9,tset", "split.csv")),
    ("IM010", None, "two assignments", True, replaced(b"patient_2,test", b"patient_0,train", "split.csv")),
    ("IM010", 8, "an assignment is missing", True, replaced(b"patient_2,test,\n", b"", "split.csv")),
    ("IM011", 4, "a row of another dataset", True, edited(4, dataset="other")),
    ("IM012", 4, "no image", True, lambda broken: broken.file("images", 4).unlink()),
    ("IM012", 4, "no mask", True, lambda broken: broken.file("masks", 4).unlink()),
    ("IM013", None, "an image without a row", True, added("images/case_3-0000.png")),
    ("IM013", None, "a picture of another kind", True, added("masks/case_0-0000.jpg")),
    ("IM013", None, "what a killed build left", True, added("images/.case_0-0000.png.tmp")),
    ("IM014", 4, "an empty file", True, lambda broken: broken.file("images", 4).write_bytes(b"")),
    ("IM014", 4, "a JPEG by another name", True, lambda broken: broken.file("masks", 4).write_bytes(b"\xff\xd8" * 40)),
    ("IM014", 4, "a picture is cut off", True, cut),
    ("IM014", 4, "a folder for a file", True, folder_for_file),
    ("IM015", 4, "a mask of another height", True, taller),
    ("IM016", 4, "16 bits", True, deep),
    ("IM016", 4, "a mask in colours", True, coloured_mask),
    ("IM016", 4, "an image with alpha", True, transparent),
    ("IM017", 5, "a value that nobody declared", False, undeclared),
    ("IM018", 4, "another foreground", False, edited(4, foreground="1")),
    ("IM019", 5, "another class", False, other_classes),
    ("IM020", 4, "an image is darker", False, darker),
    ("IM020", 4, "a mask is upside down", False, other_mask),
    ("IM020", 4, "a mask is empty", False, no_mask),
    ("IM020", 4, "another digest", False, edited(4, digest="0" * 64)),
    ("IM021", None, "no dataset.json", True, unlink("dataset.json")),
    ("IM021", None, "not JSON", True, written("dataset.json", b"{")),
    ("IM021", None, "another schema", True, lambda broken: broken.json("schema", value="imagemask.dataset/2")),
    ("IM021", None, "no licence", True, lambda broken: broken.json("source", "licence", value="")),
    ("IM021", None, "a mask value twice", True, same_value),
    ("IM021", None, "a count that is none", True, counted(pairs="9")),
    ("IM022", None, "another number of pairs", True, counted(pairs=8)),
    ("IM022", None, "another number of patients", True, counted(patients=4)),
    ("IM022", None, "another number of foreground pairs", True, counted(foreground_pairs=3)),
    ("IM022", None, "slices that vanished", True, counted(slices_read=10)),
    ("IM022", None, "cases that vanished", True, counted(discovered=6)),
    ("IM022", None, "fewer cases than there are", True, counted(built=2, discovered=4)),
    ("IM022", None, "an exclusion without a reason", True, lambda broken: broken.json("excluded", value={})),
    ("IM023", None, "no quarantine.csv", True, unlink("quarantine.csv")),
    ("IM023", None, "a case too few", True, replaced(b"case_8,", b"", "quarantine.csv")),
    ("IM023", None, "another header", True, replaced(b"stage", b"phase", "quarantine.csv")),
    ("IM023", None, "not UTF-8", True, replaced(b"empty", b"\xff", "quarantine.csv")),
    (
        "IM023",
        None,
        "another number of cases",
        True,
        written("quarantine.csv", b"case,file,stage,code,reason,remedy\n"),
    ),
    ("IM024", None, "no stamp", True, unlink(".layout")),
    (
        "IM024",
        None,
        "a stamp of another manifest",
        True,
        lambda broken: broken.text(lambda data: b"0" * 64 + data[64:], ".layout"),
    ),
    (
        "IM024",
        None,
        "laying out was killed",
        True,
        lambda broken: broken.text(lambda data: b"unfinished" + data[64:], ".layout"),
    ),
    ("IM024", 3, "a laid-out mask is missing", True, laid_out(unlink("train/masks/case_0-0000~fliph.png"))),
    ("IM024", None, "a laid-out image too many", True, laid_out(added("test/images/case_9-0000.png"))),
    ("IM024", 2, "a laid-out image differs", False, laid_out(added("train/images/case_0-0000.png"))),
    ("IM027", None, "nobody of the test set is left", True, nobody_tested),
    (
        "IM027",
        None,
        "nobody of a fold is left",
        True,
        lambda broken: broken.text(lambda data: data + GONE, "split.csv"),
    ),
    ("IM026", None, "no README.md", True, unlink("README.md")),
    ("IM026", None, "no croissant.json", True, unlink("croissant.json")),
    ("IM026", None, "another licence in the card", True, replaced(b"CC0", b"MIT", "README.md")),
    ("IM026", None, "a card of another manifest", True, replaced(b'"sha256": "', b'"sha256": "0', "croissant.json")),
    ("IM026", None, "a card of other tables", True, lambda broken: broken.json("source", "title", value="Another")),
    ("IM025", 1, "no row", True, lambda broken: broken.text(lambda data: data[: data.index(b"\n") + 1])),
]


def codes(report):
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("labels", [ONE, TWO])
@pytest.mark.parametrize("colour", [False, True])
def test_a_healthy_dataset_has_no_finding(tmp_path, labels, colour):
    report = verify.verify(healthy(tmp_path / "demo", labels=labels, colour=colour, slices=3))
    assert report.findings == []
    assert (report.pairs, report.patients, report.kept_whole, report.exit_code) == (12, 3, "patient", 0)


@pytest.mark.parametrize(
    ("code", "line", "what", "_fast", "change"), BREAKS, ids=[f"{one[0]}-{one[2]}" for one in BREAKS]
)
def test_one_broken_thing_has_its_code_and_no_other(dataset, code, line, what, _fast, change):
    change(Broken(dataset))
    report = verify.verify(dataset)
    assert set(codes(report)) == {code}, report.findings
    assert (report.findings[0].line, report.exit_code) == (line, 5)
    assert all(finding.message and finding.remedy == CODES[code].remedy for finding in report.findings)


@pytest.mark.parametrize(
    ("code", "line", "what", "fast", "change"), BREAKS, ids=[f"{one[0]}-{one[2]}" for one in BREAKS]
)
def test_fast_finds_all_but_what_lies_in_pixels(dataset, code, line, what, fast, change):
    change(Broken(dataset))
    assert set(codes(verify.verify(dataset, fast=True))) == ({code} if fast else set())


def test_a_card_of_somebody_else_is_no_finding(dataset):
    (dataset / "README.md").write_text("# Mine\n")
    (dataset / "croissant.json").write_text("{}")
    assert verify.verify(dataset).findings == []


def test_every_code_has_its_broken_dataset():
    assert {one[0] for one in BREAKS} == {code for code in CODES if code < "IM1"}


def test_the_page_lists_the_codes_as_they_are():
    rows = re.findall(r"^\| (IM\d+) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(code, one.meaning, one.remedy) for code, one in CODES.items()]


@given(st.data())
def test_no_byte_of_a_picture_changes_unseen(original, tmp_path_factory, data):
    path = data.draw(st.sampled_from(sorted(original.glob("*/*.png"))))
    place = data.draw(st.integers(0, path.stat().st_size - 1))
    change = data.draw(st.integers(1, 255))
    broken = Path(shutil.copytree(original, tmp_path_factory.mktemp("bytes") / "demo"))
    changed = bytearray(path.read_bytes())
    changed[place] ^= change
    (broken / path.relative_to(original)).write_bytes(bytes(changed))
    found = verify.verify(broken).findings
    assert {one.file for one in found} == {path.relative_to(original).as_posix()}


CHECKED = [name for name in manifest.COLUMNS if name not in ("category", "flags", "source", "group")]


@given(
    line=st.integers(2, 10),
    column=st.sampled_from(CHECKED),
    text=st.sampled_from(["x/y", "../x", "~", "-1", "٣", "1 1"]),
)
def test_no_nonsense_in_a_checked_cell_stays_unseen(original, tmp_path_factory, line, column, text):
    broken = Broken(Path(shutil.copytree(original, tmp_path_factory.mktemp("cells") / "demo")))
    broken.cells(line, **{column: text}).save()
    assert {one.line for one in verify.verify(broken.path, fast=True).findings} >= {line}


def test_a_key_that_leaves_the_folder_is_not_followed(dataset, monkeypatch):
    opened = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(path), read(path))[1])
    Broken(dataset).cells(4, case="../../case", key="../../case-0001").save()
    verify.verify(dataset)
    assert opened
    assert not any("case-0001" in path.name for path in opened)


def test_a_row_that_cannot_be_understood_does_not_hide_the_others(dataset):
    broken = Broken(dataset)
    broken.cells(4, height="six").save()
    broken.file("masks", 4).unlink()
    broken.file("masks", 5).unlink()
    assert [(one.code, one.line) for one in verify.verify(dataset).findings] == [("IM003", 4), ("IM012", 5)]


def test_lines_count_even_where_a_cell_holds_a_line_break(dataset):
    Broken(dataset).cells(2, source="a\nfile").cells(4, foreground="1").save()
    assert [(one.code, one.line) for one in verify.verify(dataset).findings] == [("IM018", 5)]


def test_without_dataset_json_pixels_are_still_compared(dataset):
    broken = Broken(dataset)
    broken.cells(4, foreground="1").save()
    unlink("dataset.json")(broken)
    assert codes(verify.verify(dataset)) == ["IM021", "IM018"]


def test_every_wrong_key_of_dataset_json_is_named(dataset):
    broken = Broken(dataset)
    broken.json("labels", value=[{"name": "a", "source_value": 1, "mask_value": 256}])
    broken.json("source", value={"licence": "CC0"})
    messages = [one.message for one in verify.verify(dataset).findings]
    assert [message.partition(":")[0] for message in messages] == ["labels.0.mask_value", "source.citation"]


def test_a_split_by_case_may_divide_patients_and_no_case(dataset):
    broken = Broken(dataset)
    for line in range(5, 8):
        broken.cells(line, patient="patient_0", group="patient_0")
    broken.json("counts", "patients", value=2)
    rows = [(f"case_{number}", split, "") for number, split in enumerate(SPLITS)]
    (dataset / "split.csv").write_bytes(manifest.csv_bytes(["case", "split", "fold"], rows))
    broken.save()
    report = verify.verify(dataset)
    assert (report.findings, report.kept_whole) == ([], "case")
    broken.cells(3, split="test").save()
    assert codes(verify.verify(dataset)) == ["IM010", "IM008"] or codes(verify.verify(dataset)) == ["IM008", "IM010"]


def test_a_dataset_that_was_never_split_is_healthy(dataset):
    broken = without_split(Broken(dataset))
    for line in range(2, 11):
        broken.cells(line, split="")
    broken.save()
    assert verify.verify(dataset).findings == []


def test_a_divided_patient_is_one_finding_that_counts_its_pairs(dataset):
    leak("patient")(Broken(dataset))
    (finding,) = verify.verify(dataset).findings
    assert finding.message == "patient 'patient_0' stands in train (3 pairs), valid (3 pairs)"


def test_a_dataset_without_pairs_is_not_in_order(dataset):
    broken = without_split(Broken(dataset))
    broken.rows = []
    broken.save()
    report = verify.verify(dataset)
    assert (codes(report), report.pairs, report.exit_code) == (["IM025"], 0, 5)
    assert codes(report) == [one.code for one in verify.check_manifest(dataset / "manifest.csv")]


def test_what_operating_systems_leave_behind_is_no_finding(dataset):
    for name in ("images/.DS_Store", "masks/._case_0-0000.png"):
        added(name)(Broken(dataset))
    assert verify.verify(dataset).findings == []


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match=r"there is no manifest\. Build"):
        verify.verify(tmp_path)
    (tmp_path / "manifest.csv").mkdir()
    with pytest.raises(InputError, match=r"manifest.csv: cannot be read: Is a directory"):
        verify.verify(tmp_path)


def test_a_key_that_names_no_file_is_found_even_where_the_layout_is_current(dataset):
    broken = Broken(dataset)
    broken.cells(4, key="a/b").save()
    stamp(broken)
    assert set(codes(verify.verify(dataset))) == {"IM004", "IM006", "IM013", "IM024"}


def test_two_workers_give_the_same_report_as_one_and_count_every_pair(dataset, monkeypatch):
    broken = Broken(dataset)
    for change in (darker, undeclared, taller):
        with contextlib.suppress(FileNotFoundError):
            change(broken)
    edited(4, height="six")(broken)  # a row that is not looked at
    monkeypatch.setattr(verify, "_AT_A_TIME", 2)
    done = []
    alone = verify.verify(dataset, progress=lambda *counts: done.append(counts))
    ended, of = zip(*done, strict=True)
    assert alone.pairs == 9
    assert {sum(ended), *of} == {8}
    assert verify.verify(dataset, workers=2) == alone
    assert len(alone.findings) >= 2


def test_a_worker_that_dies_is_an_error_and_not_a_healthy_dataset(dataset, monkeypatch):
    monkeypatch.setattr(pool, "run", lambda call, tasks, *, died, **_: map(died, tasks))
    with pytest.raises(InputError, match=r"a worker died at one of the 9 pairs from case_0-0000 on\. .*--workers"):
        verify.verify(dataset)


def test_a_report_is_plain_data(dataset):
    cut(Broken(dataset))
    document = json.loads(json.dumps(dataclasses.asdict(verify.verify(dataset))))
    assert set(document) == {"dataset", "fast", "pairs", "patients", "kept_whole", "findings"}
    assert document["findings"][0]["code"] == "IM014"


class TestAnnotations:
    """GitHub's workflow commands."""

    def report(self, *findings):
        return verify.VerifyReport("demo", fast=False, pairs=1, patients=1, kept_whole="patient", findings=[*findings])

    def test_a_row_is_annotated_in_the_manifest_and_a_file_by_itself(self):
        row = Finding("IM012", 5, "masks/a.png", "the file is missing", "Build again")
        whole = Finding("IM023", None, "quarantine.csv", "is missing", "Merge")
        cell = Finding("IM003", 2, "manifest.csv", "it is wrong", "Restore it")
        assert annotate(self.report(row, whole, cell), Path("data/manifest.csv")) == [
            "::error file=data/manifest.csv,line=5,title=IM012::masks/a.png: the file is missing. Build again",
            "::error file=data/quarantine.csv,title=IM023::is missing. Merge",
            "::error file=data/manifest.csv,line=2,title=IM003::it is wrong. Restore it",
        ]

    @pytest.mark.parametrize(
        ("workspace", "git", "named"),
        [
            ("", "", "demo/manifest.csv"),
            ("", "repository", "sub/demo/manifest.csv"),
            ("", "repository/sub", "demo/manifest.csv"),
            ("repository", "repository/sub", "sub/demo/manifest.csv"),
            ("link", "", "sub/demo/manifest.csv"),
            ("elsewhere", "repository", "sub/demo/manifest.csv"),
        ],
    )
    def test_a_file_is_named_from_the_root_of_the_repository(self, tmp_path, monkeypatch, workspace, git, named):
        below = tmp_path / "repository" / "sub"
        below.mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to("repository")
        if git:
            (tmp_path / git / ".git").write_text("gitdir: ...")
        monkeypatch.chdir(below)
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / workspace) if workspace else "")
        report = self.report(Finding("IM003", 2, "manifest.csv", "it is wrong", "Restore it"))
        for given_as in (Path("demo"), below / "demo", Path("x/../demo")):
            [line] = annotate(report, given_as / "manifest.csv")
            assert line == f"::error file={named},line=2,title=IM003::it is wrong. Restore it"

    @given(st.text(), st.text(st.characters(exclude_characters="/\0"), min_size=1))
    def test_no_text_breaks_out_of_its_line_or_property(self, message, name):
        (line,) = annotate(
            self.report(Finding("IM003", 2, "manifest.csv", message, "x")), Path("d") / name / "manifest.csv"
        )
        head, _, rest = line.partition("::error ")[2].partition("::")
        assert not {"\r", "\n"} & set(line)
        assert re.fullmatch(r"file=[^,:]*,line=2,title=IM003", head)
        back = {"%0A": "\n", "%0D": "\r", "%25": "%"}
        assert re.sub("%(0A|0D|25)", lambda found: back[found[0]], rest) == f"{message}. x"


def test_a_png_that_ends_within_its_header_is_cut_off(dataset):
    broken = Broken(dataset)
    path = broken.file("images", 4)
    for size in (1, 8, 32, 33, 44):
        path.write_bytes(path.read_bytes()[:size])
        for fast in (True, False):
            assert codes(verify.verify(dataset, fast=fast)) == ["IM014"], size
        path.write_bytes((dataset / "images" / f"{broken.key(2)}.png").read_bytes())


def test_the_header_is_read_as_opencv_writes_it():
    data = images.encode_png(np.zeros((3, 5, 3), np.uint8), level=1)
    assert data.startswith(pairs._BEGIN)
    assert data.endswith(pairs._END)
    assert struct.unpack_from(">II", data, len(pairs._BEGIN)) == (5, 3)
