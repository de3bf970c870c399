"""Section 7.4 of the failure catalogue: a SipakMed broken in one place, Dyskeratotic_001 unless said otherwise.

Its picture has two cells, the first at the right edge.
"""

import shutil
from functools import partial

import numpy as np
import pytest
from faults import Bench, Built, Fault, Quarantined, both, data, remove
from imagemask.generators.phantoms.cervical_cancer import bmp
from PIL import Image

from imagemask import images

CASE, FOLDER = "Dyskeratotic_001", "im_Dyskeratotic"
PICTURE = f"{FOLDER}/001.bmp"
CELL, NUCLEUS = f"{FOLDER}/001_cyt01.dat", f"{FOLDER}/001_nuc01.dat"
SECOND, SECOND_NUCLEUS = f"{FOLDER}/001_cyt02.dat", f"{FOLDER}/001_nuc02.dat"
ALL = (CELL, NUCLEUS, SECOND, SECOND_NUCLEUS)
ALONE = "im_Koilocytotic/im_Koilocytotic/001_nuc01.dat"
SIZE = 96
sipakmed = partial(Fault, source="cervical-cancer", case=CASE)


def outline(*names, change):
    """Change the vertices of outlines, n x 2."""

    def inject(scene):
        for name in names:
            path = scene.raw / name
            points = np.array([line.split(",") for line in path.read_text().split()], float)
            path.write_text("".join(f"{x:.3f},{y:.3f}\n" for x, y in change(points)))

    return inject


def text(change, name=CELL):
    """Change the text of an outline."""
    return data(name, lambda content: change(content.decode()).encode())


def line(number, to):
    """Change one line, counted from 1."""
    return text(lambda content: "\n".join([*content.split("\n")[: number - 1], to, *content.split("\n")[number:]]))


def moved(x, y=0.0):
    return lambda points: points + np.array([x, y])


def tied(points):
    """A part of the outline is run through backwards: the line crosses itself."""
    return np.concatenate([points[:4], points[12:3:-1], points[13:]])


def picture(change, name=PICTURE):
    """Write the picture anew: ``change`` is given a path and the pixels, HxWx3."""
    return lambda scene: change(scene.raw / name, images.read_image(scene.raw / name))


def saved(mode, **given):
    """As Pillow stores a picture of another mode."""
    return picture(lambda path, pixels: Image.fromarray(pixels).convert(mode, **given).save(path, format="BMP"))


def run_lengths(path, pixels):
    """A BMP of 8 bits in run lengths (BI_RLE8): a pair of bytes a run, 0 0 at the end of a row, 0 1 at the end."""
    reduced = Image.fromarray(pixels).quantize(64)
    indices = np.asarray(reduced)[::-1]
    body = b"".join(b"".join(bytes([1, index]) for index in row) + b"\0\0" for row in indices.tolist()) + b"\0\1"
    colours = np.array(reduced.getpalette()).reshape(-1, 3)[:64]
    table = b"".join(bytes([*colour[::-1], 0]) for colour in colours.tolist())
    head = [40, pixels.shape[1], pixels.shape[0], 1 | 8 << 16, 1, len(body), 2835, 2835, 64, 0]
    start = 14 + 40 + len(table)
    parts = [value.to_bytes(4, "little") for value in (start + len(body), 0, start, *head)]
    path.write_bytes(b"BM" + b"".join(parts) + table + body)


def with_alpha(path, pixels):
    """A BMP of 32 bits, the fourth byte unused."""
    rows = np.concatenate([pixels[::-1, :, ::-1], np.zeros((*pixels.shape[:2], 1), np.uint8)], axis=2)
    head = [40, pixels.shape[1], pixels.shape[0], 1 | 32 << 16, 0, rows.size, 2835, 2835, 0, 0]
    parts = [value.to_bytes(4, "little") for value in (54 + rows.size, 0, 54, *head)]
    path.write_bytes(b"BM" + b"".join(parts) + rows.tobytes())


def as_png(path, pixels):
    path.write_bytes(images.encode_png(pixels, level=1))


def wider(path, pixels):
    path.write_bytes(bmp(np.pad(pixels, ((0, 0), (0, 10), (0, 0)), mode="edge")))


def copy(name, to):
    def inject(scene):
        (scene.raw / to).parent.mkdir(exist_ok=True)
        shutil.copy(scene.raw / name, scene.raw / to)

    return inject


def renamed(change):
    """All files of the picture under other names."""

    def inject(scene):
        for path in sorted((scene.raw / FOLDER).glob("001*.*")):
            path.rename(path.with_name(change(path.name)))

    return inject


def strange(scene):
    """A class that nobody published."""
    shutil.copytree(scene.raw / FOLDER, scene.raw / "im_Squamous", ignore=shutil.ignore_patterns("._*"))


EMPTY = "contour_dropped empty_contour unpaired_contour"
SHORT = "contour_dropped too_few_points unpaired_contour"
FLAT = "contour_dropped degenerate_contour unpaired_contour"
UNREADABLE = "contour_dropped contour_unreadable unpaired_contour"
OUTSIDE = "contour_dropped outside_image unpaired_contour"


def two(content):
    return "".join(content.splitlines(keepends=True)[:2])


CELLS = [
    sipakmed("S1 cell", data(CELL, lambda _: b""), Built(EMPTY, "other")),
    sipakmed("S1 nucleus", data(NUCLEUS, lambda _: b""), Built(EMPTY)),
    sipakmed("S1 blank", data(CELL, lambda _: b"\xef\xbb\xbf\r\n \r\n"), Built(EMPTY, "other")),
    sipakmed(
        "S1 all",
        both(*(data(name, lambda _: b"") for name in ALL)),
        Quarantined("no_contour", CELL, "empty_contour"),
    ),
    sipakmed("S2 cell", text(two), Built(SHORT, "other")),
    sipakmed("S2 nucleus", text(two, SECOND_NUCLEUS), Built(SHORT)),
    sipakmed("S2 all", both(*(text(two, name) for name in ALL)), Quarantined("no_contour", CELL, "too_few_points")),
    sipakmed("S3 a line", outline(CELL, change=lambda points: points[:, :1] + [0, 5]), Built(FLAT, "other")),
    sipakmed("S3 a point", outline(CELL, change=lambda points: points[:1].repeat(9, axis=0)), Built(FLAT, "other")),
    sipakmed("S4", outline(CELL, change=moved(500)), Built(OUTSIDE, "other")),
    sipakmed("S4 all", outline(*ALL, change=moved(-500, 80)), Quarantined("no_contour", CELL, "outside_image")),
    sipakmed("S5", outline(CELL, NUCLEUS, change=moved(7)), Built("contour_clipped", "other")),
    sipakmed("S5 a little", outline(CELL, NUCLEUS, change=moved(2)), Built("", "other")),
    sipakmed("S7", outline(NUCLEUS, change=moved(-10)), Built("nucleus_outside", "other")),
    sipakmed(
        "S8",
        outline(CELL, change=lambda points: points[:, ::-1]),
        Quarantined("swapped_axes", CELL, "inside as y, x"),
    ),
    sipakmed("S9 NaN", line(3, "nan,3.0"), Quarantined("bad_contour", CELL, "line 3 is 'nan,3.0'")),
    sipakmed("S9 infinite", line(4, "3.0,-inf"), Quarantined("bad_contour", CELL, "line 4 ")),
    sipakmed("S9 too large", line(5, "1e999,3.0"), Quarantined("bad_contour", CELL, "line 5 ")),
    sipakmed("S9 a word", line(6, "end of contour"), Quarantined("bad_contour", CELL, "line 6 ")),
    sipakmed("S9 nucleus", text(lambda content: content + "?", NUCLEUS), Built(UNREADABLE)),
    *(
        sipakmed(f"S10 {name}", text(lambda content, to=to: content.replace(",", to)), Built())
        for name, to in {"space": " ", "semicolon": ";", "tab": "\t", "comma and space": ", "}.items()
    ),
    sipakmed("S10 BOM", data(CELL, lambda content: b"\xef\xbb\xbf" + content), Built()),
    sipakmed("S10 CRLF", text(lambda content: content.replace("\n", "\r\n")), Built()),
    sipakmed("S10 blank lines", text(lambda content: "\n" + content.replace("\n", "\n \n\n")), Built()),
    sipakmed("S10 no end", text(str.strip), Built()),
    sipakmed(
        "S11 comma", text(lambda content: content.replace(".", ",")), Quarantined("decimal_comma", CELL, "line 1 is")
    ),
    sipakmed(
        "S11 semicolon",
        text(lambda content: content.replace(",", ";").replace(".", ",")),
        Quarantined("decimal_comma", CELL, "four numbers, or two"),
    ),
    sipakmed(
        "S12 columns", text(lambda content: content.replace("\n", ",0\n")), Quarantined("bad_contour", CELL, "line 1 ")
    ),
    sipakmed(
        "S12 header", text(lambda content: "x,y\n" + content), Quarantined("bad_contour", CELL, "line 1 is 'x,y'")
    ),
    sipakmed("S13", outline(CELL, change=tied), Built("self_intersecting", "other")),
    sipakmed("S14", outline(CELL, change=lambda points: np.concatenate([points, points[:1]])), Built()),
    sipakmed("S15", outline(CELL, change=lambda points: points.repeat(2, axis=0)), Built()),
    sipakmed("S16 no nucleus", remove(SECOND_NUCLEUS), Built("unpaired_contour")),
    sipakmed("S16 no cell", remove(SECOND), Built("unpaired_contour", "other")),
    sipakmed(
        "S16 nuclei only", remove(CELL, SECOND), Quarantined("no_contour", NUCLEUS, "--mask cell: unpaired_contour")
    ),
    sipakmed("S17", renamed(lambda name: name.replace("02.dat", "07.dat")), Built()),
    sipakmed("S18", remove(PICTURE), Quarantined("missing_image", CELL, "no image for 001_cyt01.dat")),
    sipakmed("S19", remove(*ALL), Quarantined("missing_mask", PICTURE, "no mask for 001.bmp")),
    sipakmed("S20 truncated", data(PICTURE, lambda content: content[:-300]), Quarantined("damaged_image", PICTURE)),
    sipakmed("S20 header", data(PICTURE, lambda content: content[:30]), Quarantined("damaged_image", PICTURE)),
    sipakmed("S20 no picture", data(PICTURE, lambda _: b"<html>"), Quarantined("unknown_format", PICTURE)),
    sipakmed("S20 empty", data(PICTURE, lambda _: b""), Quarantined("empty_file", PICTURE)),
    sipakmed("S21 palette", saved("P", palette=Image.Palette.ADAPTIVE), Built("converted_to_rgb", "other")),
    sipakmed("S21 grey", saved("L"), Built("converted_to_rgb", "other")),
    sipakmed("S21 run lengths", picture(run_lengths), Built("converted_to_rgb", "other")),
    sipakmed("S21 32 bits", picture(with_alpha), Built()),
    # In the healthy source five pictures are called 001.bmp.
    sipakmed("S22", lambda _: None, Built()),
    sipakmed(
        "S23",
        copy("im_Metaplastic/001.bmp", PICTURE),
        Built("duplicate_image", "other"),
        spreads={"Metaplastic_001": "duplicate_image"},
        rewrites=lambda row: {"group": CASE} if row["case"] == "Metaplastic_001" else {},
    ),
    sipakmed("S25", strange, Built()),
    sipakmed("S26 beside", copy(f"{FOLDER}/CROPPED/001_01.bmp", f"{FOLDER}/001_01.bmp"), Built()),
    sipakmed("S26 within", copy(PICTURE, f"{FOLDER}/CROPPED/002.bmp"), Built()),
    sipakmed("S26 without", remove("im_Metaplastic/CROPPED"), Built()),
    sipakmed("S27", renamed(str.upper), Built()),
    sipakmed("S27 twice", copy(CELL, f"{FOLDER}/001_CYT01.DAT"), Quarantined("duplicate_stem", ".dat", "one outline")),
    sipakmed("S28 a PNG", picture(as_png), Built("name_misleads")),
    sipakmed("S28 called PNG", renamed(lambda name: name.replace("bmp", "png")), Built("name_misleads")),
    sipakmed("S28 both", copy(PICTURE, f"{FOLDER}/001.png"), Quarantined("duplicate_stem", ".png", "001.bmp, 001.png")),
    sipakmed("S29", picture(wider), Built("unusual_size", "other")),
    sipakmed("S30 binary", data(CELL, lambda _: bytes(range(256))), Quarantined("bad_contour", CELL, "is no text")),
    sipakmed(
        "S30 huge",
        text(lambda content: content + " " * (11 << 20)),
        Quarantined("contour_too_large", CELL, "more than 10 MiB"),
    ),
]
CROPS = [
    sipakmed("S6 crop", copy(NUCLEUS, f"{FOLDER}/CROPPED/001_01_nuc.dat"), Built(OUTSIDE), case="Dyskeratotic_001_01"),
    sipakmed(
        "S18 crop",
        remove(f"{FOLDER}/CROPPED/001_01.bmp"),
        Quarantined("missing_image", "001_01_cyt.dat"),
        case="Dyskeratotic_001_01",
    ),
    sipakmed("S26 crops", remove(PICTURE, *ALL), Built(), case="Dyskeratotic_001_01"),
]
NUCLEI = [
    sipakmed(
        "S6 nucleus",
        outline(ALONE, change=moved(500)),
        Quarantined("no_contour", ".dat", "outside_image"),
        case="Koilocytotic_001",
    ),
    sipakmed("S16 nuclei", remove(CELL), Built("unpaired_contour")),
    sipakmed("S16 fewer nuclei", remove(NUCLEUS), Built("unpaired_contour", "other")),
    sipakmed("S1 nuclei", data(CELL, lambda _: b""), Built(EMPTY)),
    sipakmed("S7 nuclei", outline(CELL, change=moved(-14)), Built("nucleus_outside")),
]
MODES = {"cells": ((), CELLS), "crops": (("--cropped",), CROPS), "nuclei": (("--mask", "nucleus"), NUCLEI)}
FAULTS = [*CELLS, *CROPS, *NUCLEI]
TABLE = [(mode, fault) for mode, (_, faults) in MODES.items() for fault in faults]
TESTED = "tests/test_generators_cervical_cancer.py"
NOT_HERE = {
    "S24": f"the cases of a class are gone with its folder: {TESTED}::test_a_missing_class_is_named, "
    f"{TESTED}::test_the_build_says_what_this_copy_lacks",
    "S31": "a split of any source: "
    f"{TESTED}::test_a_split_keeps_parent_pictures_whole_and_says_that_there_are_no_patients",
}
POOLED: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A bench for each mode, made when it is asked for."""
    made = {}

    def of(mode):
        if mode not in made:
            size = {"patients": 6, "size": SIZE, "slices": 5, "seed": 1}
            made[mode] = Bench("cervical-cancer", tmp_path_factory.mktemp(mode), arguments=MODES[mode][0], **size)
        return made[mode]

    return of


@pytest.mark.parametrize(("mode", "fault"), TABLE, ids=lambda one: getattr(one, "id", one))
def test_fault(mode, fault, bench, tmp_path, monkeypatch):
    bench(mode).prove(fault, tmp_path, monkeypatch)
