"""What may be wrong with the rows and names of a data set, as functions that make it so of a copy of one on disk.

A way takes a ``Work`` and gives what the audit must name, a set a defect: files, or of AU401 the words. It gives none
where the data set has nothing that can be wrong like that. Each draws from ``Work.random``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from audit_work import Row, Work, files, grouped, used

from imagemask.types import SPLITS

Said = list[set[str]]
Way = tuple[str, str, str, Callable[[Work], Said]]
"""A code; what it can be found in: a dataset of ours, a folder, both; what is done; and how."""
_PUBLISHED = (
    "hflipped_{}",
    "rotated_90_{}",
    "mirrored_{}",
    "flipped-1-{}",
    "distorted_0.01_rsigma0.5_sigma40_{}",
    "{}~flipv",
)


# ---- reading ---------------------------------------------------------------------------------------------------------


def spoiled(change: Callable[[bytes, np.random.Generator], bytes], ext: str = "") -> Callable[[Work], Said]:
    """The bytes of some images or masks changed."""

    def way(work: Work) -> Said:
        names = [row[str(work.random.choice(["image", "mask"]))] for row in work.choose(used(work.data, work.rows))]
        names = [name for name in names if name.endswith(ext)]
        for name in names:
            work.write(name, change((work.folder / name).read_bytes(), work.random))
        return [{name} for name in names]

    return way


def one_byte(data: bytes, random: np.random.Generator) -> bytes:
    place = int(random.integers(len(data)))
    return data[:place] + bytes([data[place] ^ int(random.integers(1, 256))]) + data[place + 1 :]


def not_text(work: Work) -> Said:
    """Names that are no UTF-8: the finding says their bytes."""
    chosen = work.choose(work.rows)
    said = []
    for place, row in enumerate(chosen):
        new = Path(row["image"]).parent / os.fsdecode(b"caf\xe9 %d%s" % (place, row["image_ext"].encode()))
        (work.folder / row["image"]).rename(work.folder / new)
        said.append({f"{os.fsencode(new)!r} is not UTF-8: rename it"})
    return said


def gone(kind: str, *, named: str) -> Callable[[Work], Said]:
    """A file removed; what must be named is the image, the mask, or what is gone itself."""

    def way(work: Work) -> Said:
        chosen = work.choose(work.rows)
        for row in chosen:
            (work.folder / row[kind]).unlink()
        return [{row[named]} for row in chosen]

    return way


def parted(kind: str, where: str) -> Callable[[Work], Said]:
    """An image or a mask under another name, or in another split, than its pair."""

    def way(work: Work) -> Said:
        chosen = work.choose(work.rows)
        for row in chosen:
            away = {"split": work.other(row["split"])} if where == "split" else {"key": work.fresh(row, row["patient"])}
            new = work.folder / work.path(row | away, kind)
            new.parent.mkdir(parents=True, exist_ok=True)
            (work.folder / row[kind]).rename(new)
        return [{row["mask" if kind == "image" else "image"]} for row in chosen]

    return way


def twice(kind: str) -> Callable[[Work], Said]:
    """A second file of one stem, in another format."""

    def way(work: Work) -> Said:
        said = []
        for row in work.choose(work.rows):
            ext = str(work.random.choice([".bmp", ".tif"]))
            new = work.path(row | {f"{kind}_ext": ext}, kind)
            work.write(new, work.encoded((work.folder / row[kind]).read_bytes(), ext, 0))
            said.append({row[kind], new})
        return said

    return way


def nameless(work: Work) -> Said:
    """Pairs under a name that says no patient, and in no patient's folder."""
    known = [row for row in work.rows if row["patient"]]
    chosen = [
        work.put(row, key=f"unknown {chr(97 + place)}", patient="") for place, row in enumerate(work.choose(known))
    ]
    return [files([row]) for row in chosen]


def stray(folder: str) -> Callable[[Work], Said]:
    """Pictures that are neither images nor masks. (Of some layouts all are taken for one or the other.)"""

    def way(work: Work) -> Said:
        if not re.search(r"(^|/)(images|img|image)/", work.data.paths[0]):
            return []
        said = set()
        for row in work.choose(work.rows):
            said.add(f"{folder}{Path(row['image']).name}")
            work.write(f"{folder}{Path(row['image']).name}", (work.folder / row["image"]).read_bytes())
        return [{name} for name in sorted(said)]

    return way


def link_out(work: Work) -> Said:
    """A link to a picture outside the folder."""
    name = work.path(work.choose(work.rows)[0] | {"key": "linked 9999"}, "image")
    (work.folder / name).symlink_to(work.data.folder / work.rows[0]["image"])
    return [{name}]


# ---- leaks -----------------------------------------------------------------------------------------------------------


def whole(work: Work, column: str, *, least: int = 2) -> list[list[Row]]:
    """The rows of each patient (group, case) of whom ``least`` are read, all of one split: nothing is wrong yet."""
    units = [rows for (name,), rows in grouped(used(work.data, work.rows), column).items() if name]
    return [
        rows for rows in units if len(rows) >= least and len({row["split"] for row in rows}) == 1 and rows[0]["split"]
    ]


def everything(work: Work, column: str, units: list[list[Row]]) -> Said:
    """All that is read of some units, as it is now."""
    names = [unit[0][column].casefold() for unit in units]
    now = used(work.data, work.rows)
    return [files([row for row in now if row[column].casefold() == name]) for name in names]


def moved(column: str, share: float = 0) -> Callable[[Work], Said]:
    """One picture of a unit in another split, or a share of them."""

    def way(work: Work) -> Said:
        blanked(work, column)
        units = [unit for unit in whole(work, column) if any(not row["variant"] for row in unit)]
        units = work.choose(units)
        for unit in units:
            split = work.other(unit[0]["split"])
            plain = [row for row in unit if not row["variant"]]
            for row in work.choose(plain, max(1, int(share * len(plain)))):
                work.put(row, split=split)
        return everything(work, column, units)

    return way


def blanked(work: Work, column: str) -> None:
    """A source that names no patient, and of a case no group: what comes before ``column`` is found in its place."""
    above = {"patient": (), "group": ("patient",), "case": ("patient", "group")}[column]
    for row in work.rows if work.data.ours else ():
        row.update(dict.fromkeys(above, ""))


def merged(column: str) -> Callable[[Work], Said]:
    """Two units of different splits turn out to be one."""

    def way(work: Work) -> Said:
        units = whole(work, column, least=1)
        if not units:
            return []
        one = work.choose(units, 1)[0]
        others = work.choose([unit for unit in units if unit[0]["split"] != one[0]["split"]], 1)
        for row in others[0] if others else ():
            if column == "patient":
                work.renamed(row, one[0]["patient"])
            else:
                row[column] = one[0][column]
        return everything(work, column, [one]) if others else []

    return way


def respelled(work: Work) -> Said:
    """One picture of a patient in another split, where the name is spelled in other letters."""
    units = [unit for unit in whole(work, "patient") if unit[0]["patient"].swapcase() != unit[0]["patient"]]
    units = work.choose(units)
    for unit in units:
        row = work.choose(unit, 1)[0]
        said = re.search(work.data.name_says, f"{row['key']}.")[1].swapcase()
        work.put(work.renamed(row, said), split=work.other(row["split"]))
    return everything(work, "patient", units)


def origins(work: Work, *, splits: tuple[str, ...] = SPLITS) -> list[Row]:
    """Plain pictures in some splits."""
    return [row for row in work.rows if not row["variant"] and row["split"] in splits]


def of_origin(work: Work, rows: list[Row]) -> Said:
    names = {row["origin"] for row in rows}
    return [files([row for row in used(work.data, work.rows) if row["origin"] == name]) for name in sorted(names)]


def published(where: str) -> Callable[[Work], Said]:
    """Mirrored copies under the names that published sets give them, in ``another`` split or the ``same``."""

    def way(work: Work) -> Said:
        chosen = work.choose(origins(work, splits=SPLITS if where == "another" else SPLITS[1:]))
        for row in chosen:
            name = str(work.random.choice(_PUBLISHED)).format(row["key"])
            split = row["split"] if where == "same" else work.other(row["split"])
            if split:
                work.copy(row, split, row["patient"], "turned", name)["variant"] = "published"
        return held_out(work) if where == "same" else of_origin(work, chosen)

    return way


def held_out(work: Work) -> Said:
    """All copies in valid, and all in test."""
    copies = [row for row in work.rows if row["variant"]]
    return [files(some) for name in SPLITS[1:] if (some := [row for row in copies if row["split"] == name])]


def copy_moved(work: Work) -> Said:
    """A copy in another split than its original."""
    chosen = work.choose([row for row in work.rows if row["variant"] and row["split"]])
    for row in chosen:
        work.put(row, split=work.other(row["split"]))
    return of_origin(work, chosen)


def left_behind(work: Work) -> Said:
    """An original in another split, and its copies left in the training set."""
    copied = {row["origin"] for row in work.rows if row["variant"] and row["split"] == "train"}
    chosen = work.choose([row for row in origins(work, splits=("train",)) if row["origin"] in copied])
    for row in chosen:
        work.put(row, split=work.other("train"))
    return of_origin(work, chosen)


def everywhere(work: Work) -> Said:
    if not any(row["variant"] for row in work.rows):
        return []
    work.command("split", ".", "--variants", "everywhere", "--layout", "none")
    return held_out(work)


def against_source(work: Work) -> Said:
    """Rows in another split than the source's own."""
    chosen = work.choose([row for row in origins(work) if row["shipped"] == row["split"]])
    return [files([work.put(row, split=work.other(row["split"]))]) for row in chosen]


def drawn_anew(work: Work) -> Said:
    """The whole split drawn anew."""
    if not any(row["shipped"] for row in work.rows):
        return []
    work.command("split", ".", "--resplit", "--seed", str(work.random.integers(99)), "--layout", "none")
    return [files([row]) for row in used(work.data, work.rows) if row["shipped"] not in ("", row["split"])]


# ---- copies and splits -----------------------------------------------------------------------------------------------


def doubled(where: str, whose: str, how: str) -> Callable[[Work], Said]:
    """A picture there again, in the ``same`` split or ``another``; of the ``same`` patient, ``another``, or nobody."""

    def way(work: Work) -> Said:
        digests = [row["digest"] for row in work.rows]
        single = [row for row in origins(work) if row["digest"] and digests.count(row["digest"]) == 1]
        said = []
        for row in work.choose([row for row in single if row["patient"] or whose == "nobody" or where == "another"]):
            split = row["split"] if where == "same" else work.other(row["split"])
            others = {one["patient"] for one in origins(work, splits=(split,))} - {row["patient"], ""}
            if (whose == "another" and where == "same" and not others) or not split:
                continue
            patient = str(work.random.choice(sorted(others) or [""])) if whose == "another" else row["patient"]
            said.append(files([row, work.copy(row, split, "" if whose == "nobody" else patient, how)]))
        return said

    return way


def emptied(work: Work) -> Said:
    split = str(work.random.choice(sorted({row["split"] for row in work.rows} - {"", "train"})))
    for row in [row for row in work.rows if row["split"] == split]:
        work.put(row, split="train")
    return [{f"there is no {split} set"}]


def shrunk(column: str, most: float) -> Callable[[Work], Said]:
    """A split left with few patients (groups), or with a small share of all pictures."""

    def way(work: Work) -> Said:
        split = str(work.random.choice(sorted({row["split"] for row in work.rows} - {"", "train"})))
        here, total = origins(work, splits=(split,)), len(origins(work))
        units = sorted({row[column] for row in here} - {""})
        most_here = int(most * total) if most < 1 else int(most)
        if not units or not most_here:
            return []
        kept = work.choose(units, int(work.random.integers(1, most_here + 1)))
        stay = [row for row in here if row[column] in kept]
        for row in [row for row in work.rows if row["split"] == split and row[column] not in kept]:
            work.put(row, split="train")
        return [{f"{split} holds {len(stay)} image{'s' * (len(stay) != 1)}"}]

    return way


def unplaced(work: Work) -> Said:
    """Pairs of no split: cases built after it was drawn, a folder beside."""
    chosen = {row["origin"] for row in work.choose(origins(work))}
    rows = [row for row in work.rows if row["origin"] in chosen]
    for row in rows:
        work.put(row, split="")
    return [files([row]) for row in used(work.data, rows)]


TURNED = {"AU110": "AU112", "AU111": "AU113", "AU115": "AU116"}
"""What turned and flipped copies are called; of one patient they are none."""
OF_ROWS: tuple[Way, ...] = (
    ("AU001", "both", "cut short", spoiled(lambda data, random: data[: int(random.integers(1, len(data) - 2))])),
    ("AU001", "both", "text in its place", spoiled(lambda *_: b"<html>404 Not Found</html>\n")),
    ("AU001", "both", "a GIF under its name", spoiled(lambda *_: b"GIF89a\1\0\1\0\0\0\0;")),
    ("AU001", "both", "no bytes", spoiled(lambda *_: b"")),
    ("AU001", "both", "one byte of a PNG changed", spoiled(one_byte, ".png")),
    ("AU001", "ours", "an image of the manifest removed", gone("image", named="image")),
    ("AU001", "ours", "a mask of the manifest removed", gone("mask", named="mask")),
    ("AU001", "folder", "a name that is not UTF-8", not_text),
    ("AU002", "folder", "a mask removed", gone("mask", named="image")),
    ("AU002", "folder", "a mask renamed", parted("mask", "name")),
    ("AU002", "folder", "a mask moved to another split", parted("mask", "split")),
    ("AU003", "folder", "an image removed", gone("image", named="mask")),
    ("AU003", "folder", "an image renamed", parted("image", "name")),
    ("AU003", "folder", "an image moved to another split", parted("image", "split")),
    ("AU004", "folder", "an image in a second format", twice("image")),
    ("AU004", "folder", "a mask in a second format", twice("mask")),
    ("AU005", "folder", "a name in which `--patient` finds nobody", nameless),
    ("AU006", "folder", "pictures at the top", stray("")),
    ("AU006", "folder", "a folder of other pictures", stray("predictions/")),
    ("AU006", "folder", "a link that leads out", link_out),
    ("AU101", "both", "one picture of a patient in another split", moved("patient")),
    ("AU101", "both", "half of the pictures", moved("patient", 0.5)),
    ("AU101", "both", "two patients turn out to be one", merged("patient")),
    ("AU101", "folder", "one picture, the name in other letters", respelled),
    ("AU102", "ours", "one picture of a group in another split", moved("group")),
    ("AU102", "ours", "half of the pictures", moved("group", 0.5)),
    ("AU102", "ours", "two groups turn out to be one", merged("group")),
    ("AU103", "ours", "one picture of a case in another split", moved("case")),
    ("AU103", "ours", "half of the pictures", moved("case", 0.5)),
    ("AU104", "folder", "a copy (`~fliph`, ...) moved to another split", copy_moved),
    ("AU104", "folder", "a copy written to another split (`hflipped_NAME`, ...)", published("another")),
    ("AU104", "both", "an original moved, its copies left in train", left_behind),
    ("AU105", "ours", "a row moved", against_source),
    ("AU105", "ours", "the split drawn anew", drawn_anew),
    ("AU106", "ours", "`imagemask split --variants everywhere`", everywhere),
    ("AU106", "folder", "copies written to valid and test", published("same")),
    *((code, on, f"{what}, {said}", doubled(where, whose, how))
      for code, where, whose, what in (
          ("AU110", "another", "another", "in another split"),
          ("AU111", "same", "another", "of another patient"),
          ("AU114", "same", "same", "of the same patient"),
          ("AU115", "same", "nobody", "in the same split, of nobody knows whom"),
      )
      for how, on, said in (
          ("bytes", "both", "byte for byte"),
          ("again", "both", "compressed anew"),
          ("format", "folder", "as BMP or TIFF"),
          ("turned", "both", "turned or flipped"),
      )
      if code in TURNED or how != "turned"),
    ("AU401", "both", "a split emptied", emptied),
    ("AU401", "both", "a split left with less than a twentieth", shrunk("origin", 0.049)),
    ("AU401", "both", "a split left with one to four patients", shrunk("patient", 4)),
    ("AU402", "both", "pairs that lose their split", unplaced),
)  # fmt: skip
