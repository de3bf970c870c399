"""Data sets on disk, ours and trees of foreign layouts, real and phantom; and copies of them that may be spoiled."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from measure import command
from PIL import Image

from imagemask.types import SPLITS

Row = dict[str, Any]
"""A pair: what the manifest, or whoever laid the tree out, says of it; ``image`` and ``mask`` are its files."""
REAL = {"pancreas": r"(?i)(pancreas_\d+)", "cervical-cancer": r"_(\d+)\.", "lung-tumor": r"^(\d+)_"}
"""The patient in the names of published pairs; of cells the picture that they are of."""
PHANTOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lung-tumor": (r"(?i)(lung_\d+)", ("--flip", "h", "--rotate", "5", "--keep-empty")),
    "pancreas": (r"(?i)(pancreas_\d+)", ("--flip", "h", "--rotate", "5")),
    "cervical-cancer": (r"(?i)^([a-z-]+_\d+)-", ("--per-cell", "--flip", "v")),
    "ovarian-tumor": (r"(?i)(otu2d_\d+)", ("--flip", "h", "--rotate", "5", "--combine")),
    "esophageal-cancer": (r"(?i)(\destd\d+jhx\d{6})", ("--rotate", "10")),
    "folder": (r"(?i)^(p\d+)_", ("--flip", "h")),
}
"""The patient in the names of what is built (the picture, where nobody is named), and options of a second build."""
GIVEN = ("--licence", "CC0-1.0", "--citation", "a benchmark")
WORDS = {"train": "training", "valid": "val", "test": "testing"}
SHAPES = (
    ("{split}/images/{stem}{ext}", "{split}/masks/{stem}{ext}", {}, ""),
    ("img/{split}/{stem}{ext}", "gt/{split}/{stem}{ext}", WORDS, ""),
    ("{split}/{stem}{ext}", "{split}/{stem}_mask{ext}", {}, ""),
    ("{split}/images/{patient}/{stem}{ext}", "{split}/masks/{patient}/{stem}{ext}", {}, r"/images/([^/]+)/"),
    ("{split}_dataset/image/{stem}{ext}", "{split}_dataset/label/{stem}{ext}", {}, ""),
    ("{split} images/{stem}{ext}", "{split} masks/{stem}{ext}", WORDS, ""),
)
"""Layouts of foreign trees: image, mask, names of splits, and a ``--patient`` that searches the path."""
PATIENTS, PICTURES = 5, 3  # of a split, and of a patient, into which defects are injected
_LOSSLESS = {".bmp": {}, ".tif": {"compression": "tiff_lzw"}}


@dataclass(frozen=True)
class Data:
    """A data set. ``name_says`` finds a patient in a file name, ``patient`` is what the audit is given (a folder)."""

    name: str
    folder: Path
    rows: list[Row]
    real: bool
    name_says: str
    patient: str | None = None
    paths: tuple[str, str] = ("", "")  # of image and mask, to be filled in; a dataset of ours has its own
    words: dict[str, str] = field(default_factory=dict)  # what the tree calls its splits

    @property
    def ours(self) -> bool:
        return self.patient is None


def used(data: Data, rows: list[Row]) -> list[Row]:
    """What a training or a test reads: of valid and test no copies, unless a folder holds them."""
    return [row for row in rows if not (data.ours and row["variant"] and row["split"] in SPLITS[1:])]


def grouped(rows: list[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what columns say, where they all say something."""
    found = defaultdict(list)
    for row in rows:
        if all(row[column] != "" for column in columns):
            found[tuple(row[column] for column in columns)].append(row)
    return found


def rows_of(dataset: Path) -> list[Row]:
    with (dataset / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Work:
    """A copy of a data set that may be spoiled: its files are links, never written through."""

    def __init__(self, data: Data, folder: Path, seed: int) -> None:
        self.data, self.folder, self.random = data, folder, np.random.default_rng(seed)
        self.rows = [dict(row) for row in data.rows]
        self._new = 9000
        others = [
            path for path in data.folder.rglob("*") if path.parent.name == "fragments" or path.parent == data.folder
        ]
        names = [row[kind] for row in self.rows for kind in ("image", "mask")]
        for name in [*names, *(path.relative_to(data.folder) for path in others if path.is_file() and data.ours)]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(data.folder / name, folder / name)
        self.save()

    def save(self) -> None:
        """Write the rows where they are read: a manifest's."""
        if self.data.ours:
            header = (self.data.folder / "manifest.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")
            out = io.StringIO()
            writer = csv.DictWriter(out, header, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(self.rows, key=lambda row: row["key"]))
            self.write("manifest.csv", out.getvalue().encode())

    def write(self, name: str, data: bytes) -> None:
        (self.folder / name).unlink(missing_ok=True)
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)

    def choose(self, some: list[Any], most: int = 5) -> list[Any]:
        order = self.random.permutation(len(some))[:most]
        return [some[place] for place in order]

    def other(self, split: str) -> str:
        present = sorted({row["split"] for row in self.rows} - {split, ""})
        return str(self.random.choice(present)) if present else ""

    def path(self, row: Row, kind: str) -> str:
        if self.data.ours:
            return f"{kind}s/{row['key']}.png"
        split = self.data.words.get(row["split"], row["split"]) or "later"
        template = self.data.paths[kind == "mask"]
        said = template.format(split=split, patient=row["patient"], stem=row["key"], ext=row[f"{kind}_ext"])
        return Path(said).as_posix()

    def put(self, row: Row, **changes: str) -> Row:
        """Change what is said of a pair: its files follow."""
        row |= changes
        for kind in ("image", "mask"):
            new = self.path(row, kind)
            if new != row[kind]:
                (self.folder / new).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / row[kind]).rename(self.folder / new)
                row[kind] = new
        return row

    def renamed(self, row: Row, patient: str) -> Row:
        """The same pair, of somebody else: in a folder its name says so, too."""
        if self.data.ours:
            return self.put(row, patient=patient)
        return self.put(row, patient=patient, key=self.name_of(row, patient))

    def name_of(self, row: Row, patient: str) -> str:
        """The name of a file with another patient in it."""
        said = re.search(self.data.name_says, f"{row['key']}.")
        return row["key"][: said.start(1)] + patient + row["key"][said.end(1) :] if said else row["key"]

    def fresh(self, row: Row, patient: str) -> str:
        """A name that nobody has, of ``patient`` if it says one: the last number that does not becomes another."""
        self._new += 1
        name = self.name_of(row, patient)
        said = re.search(self.data.name_says, f"{name}.")
        numbers = [
            one for one in re.finditer(r"\d+", name) if not said or not said.start(1) <= one.start() < said.end(1)
        ]
        return f"{name[: numbers[-1].start()]}{self._new}{name[numbers[-1].end() :]}"

    def copy(self, row: Row, split: str, patient: str, how: str = "bytes", name: str | None = None) -> Row:
        """Another pair with the pixels of one: its ``bytes``, encoded ``again``, in another ``format``, ``turned``."""
        case = name or self.fresh(row, patient)
        new = row | {"key": f"{case}-0000" if self.data.ours else case, "split": split, "patient": patient}
        if self.data.ours:
            new |= {"case": case, "group": patient or case, "slice": 0}
        turn = int(self.random.integers(1, 8))
        for kind in ("image", "mask"):
            data = (self.folder / row[kind]).read_bytes()
            if how != "bytes":
                new[f"{kind}_ext"] = str(self.random.choice(list(_LOSSLESS))) if how == "format" else ".png"
                data = self.encoded(data, new[f"{kind}_ext"], turn if how == "turned" else 0)
            new[kind] = self.path(new, kind)
            self.write(new[kind], data)
        self.rows.append(new)
        return new

    def encoded(self, data: bytes, ext: str, turn: int) -> bytes:
        pixels = np.rot90(np.asarray(Image.open(io.BytesIO(data))), turn % 4)
        pixels = np.ascontiguousarray(pixels[:, ::-1] if turn >= 4 else pixels)
        out = io.BytesIO()
        how = _LOSSLESS.get(ext, {"compress_level": int(self.random.integers(0, 10))})
        Image.fromarray(pixels).save(out, {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}[ext], **how)
        return out.getvalue()

    def command(self, *words: str) -> None:
        """Run a command of ours over the copy, and read what it wrote."""
        self.save()
        command(*words, cwd=self.folder)
        splits = {row["key"]: row["split"] for row in rows_of(self.folder)}
        for row in self.rows:
            row["split"] = splits[row["key"]]


def files(rows: list[Row]) -> set[str]:
    return {row["image"] for row in rows}


# ---- which there are -------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """SHA-256 of the decoded pixels; "" of a picture of one colour, which the audit leaves to another code."""
    pixels = np.asarray(Image.open(path))
    if pixels.min() == pixels.max():
        return ""
    return hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()).hexdigest()


def of_manifest(name: str, dataset: Path, source: list[Row], *, says: str, real: bool) -> Data:
    """A dataset of ours; ``source`` are its rows before ``imagemask split``."""
    rows, shipped = rows_of(dataset), {row["key"]: row["split"] for row in source}
    for row in rows:
        row |= {kind: f"{kind}s/{row['key']}.png" for kind in ("image", "mask")}
        row |= {"image_ext": ".png", "mask_ext": ".png", "origin": f"{row['case']}-{row['slice']}"}
        row |= {"shipped": shipped[row["key"]], "digest": digest(dataset / row["image"])}
    return Data(name, dataset, rows, real, says)


def laid_out(data: Data, folder: Path, shape: tuple[str, str, dict[str, str], str]) -> Data:
    """What is read of a data set, as a tree of a foreign layout. Where nobody is named, groups stand for patients."""
    who = "patient" if any(row["patient"] for row in data.rows) else "group"
    said = re.compile(data.name_says)
    rows = [row | {"patient": row[who], "group": "", "case": "", "shipped": ""} for row in used(data, data.rows)]
    if who == "group" and not any(row["group"] for row in data.rows):
        rows = [row | {"patient": said.search(f"{row['key']}.")[1]} for row in rows]
    image, mask, words, path = shape
    tree = Data(
        f"{data.name}, as {image}",
        folder,
        rows,
        data.real,
        data.name_says,
        path or data.name_says,
        (image, mask),
        words,
    )
    for row in rows:
        for kind, template in (("image", image), ("mask", mask)):
            split = words.get(row["split"], row["split"])
            name = template.format(split=split, patient=row["patient"], stem=row["key"], ext=row[f"{kind}_ext"])
            new = Path(name).as_posix()
            (folder / new).parent.mkdir(parents=True, exist_ok=True)
            os.link(data.folder / row[kind], folder / new)
            row[kind] = new
    return tree


def real(home: Path, folder: Path) -> Iterator[Data]:
    """Published pairs, split by patient: as a tree, and built from it as a dataset of ours."""
    folder.mkdir()
    for (name, says), shape in zip(REAL.items(), SHAPES, strict=False):
        rows = []
        masks = {path.stem: path for path in (home / name / "masks").iterdir()}
        for path in sorted((home / name / "images").iterdir()):
            (folder / "flat" / name).mkdir(parents=True, exist_ok=True)
            pair = {"image": path, "mask": masks[path.stem]}
            row = {"key": path.stem, "variant": "", "origin": path.stem, "digest": digest(path)}
            row |= {"patient": re.search(says, path.name)[1], "group": "", "shipped": ""}
            for kind, one in pair.items():
                shutil.copy(one, folder / "flat" / name / f"{kind} {one.name}")
                row |= {kind: f"{kind} {one.name}", f"{kind}_ext": one.suffix}
            rows.append(row)
        patients = np.random.default_rng(0).permutation(sorted({row["patient"] for row in rows})).tolist()
        for row in rows:
            row["split"] = ("train", "valid", "train", "test", "train")[patients.index(row["patient"]) % 5]
        flat = Data(name, folder / "flat" / name, rows, True, says)
        tree = laid_out(flat, folder / f"{name} tree", shape)
        yield tree
        out = folder / f"{name} ours"
        build = ("--raw", tree.folder, "--out", out, "--patient", says, "--split-from-path", "--mask-threshold", 128)
        command("build", "folder", *build, *GIVEN, "--name", name, "--workers", 1, cwd=folder)
        source = rows_of(out)
        command("split", out, cwd=folder)
        yield of_manifest(f"{name}, ours", out, source, says=says, real=True)


def phantoms(folder: Path) -> Iterator[Data]:
    """Phantoms of all sources, plain and with options, as datasets of ours and as trees of foreign layouts."""
    folder.mkdir()
    shapes = cycle(SHAPES)
    for name, (says, options) in PHANTOMS.items():
        command("phantom", name, "--size", 64, "--slices", 12, cwd=folder)
        for given in ((), options):
            out = folder / " ".join((name, "phantom", *given))
            known = (*GIVEN, *(() if given else ("--patient", says))) if name == "folder" else ()
            command("build", name, "--out", out, *given, *known, "--workers", 1, cwd=folder)
            source = rows_of(out)
            by = ("--by", "image") if name == "folder" and given else ()
            command("split", out, "--ratios", "60,20,20", *by, cwd=folder)
            ours = of_manifest(out.name, out, source, says=says, real=False)
            yield ours
            yield laid_out(ours, folder / f"{out.name} tree", next(shapes))


def smaller(data: Data) -> Data:
    """The first PATIENTS of each split (or groups, ...), PICTURES of each, and what was made of them."""
    patients, pictures = defaultdict(dict), defaultdict(dict)
    for row in data.rows:
        who = row["patient"] or row["group"] or row["case"] or row["origin"]
        pictures[row["split"], who].setdefault(row["origin"], []).append(row)
        patients[row["split"]][who] = pictures[row["split"], who]
    chosen = [
        some
        for here in patients.values()
        for who in sorted(here)[:PATIENTS]
        for some in list(here[who].values())[:PICTURES]
    ]
    return replace(data, rows=[row for some in chosen for row in some])
