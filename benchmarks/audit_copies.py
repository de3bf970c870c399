"""Copies: how often the audit is wrong about them, and how many it finds: python benchmarks/audit_copies.py REAL.

REAL holds the published pairs (pancreas, cervical-cancer, lung-tumor, volumes). Printed are four Markdown tables. Of
data sets as they are: in how many pictures each code is found, with patients known (split by patient) and unknown
(split by image, as the published sets are). Of altered copies of a sample of their pictures, put into another split:
how many are found in one cluster with what they were made from. Of slices split one by one, with nobody known: how many
neighbours in different splits are found to look like neighbours. Of the same copies, none being compared: how many are
said to be left over.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from measure import command, machine

from imagemask import images, manifest
from imagemask.audit import copies
from imagemask.audit.fingerprints import fingerprint
from imagemask.audit.tree import COLUMNS, Tree

SAMPLE = 30
Pixels = np.ndarray

# ---- how often it is wrong -------------------------------------------------------------------------------------------


@dataclass
class Pictures:
    """A data set: its pictures, whose each is, and which of its volume (-1: no volume)."""

    name: str
    pixels: list[Pixels]
    patients: list[str]
    slices: list[int]


def published(real: Path) -> Iterator[Pictures]:
    """The published pairs."""
    for name, expression in (
        ("pancreas", r"(PANCREAS_\d+)-(\d+)"),
        ("cervical-cancer", r"_(\d+)()\."),
        ("lung-tumor", r"^(\d+)_(\d+)"),
    ):
        paths = sorted((real / name / "images").iterdir())
        said = [re.search(expression, path.name).groups() for path in paths]
        yield Pictures(
            name,
            [images.read_image(path) for path in paths],
            [who for who, _ in said],
            [int(at or -1) for _, at in said],
        )


def built(
    source: str,
    folder: Path,
    *options: str,
    raw: Path | None = None,
    size: int | None = None,
    name: str = "",
) -> Pictures:
    """A dataset of ours: of real volumes, or of a phantom whose slices have ``size`` rows and columns."""

    folder.mkdir(parents=True)
    if raw is None:
        command("phantom", source, "--patients", "24", *(("--size", size) if size else ()), cwd=folder)
    command("build", source, *options, *(("--raw", raw, "--keep-empty") if raw else ()), cwd=folder)
    dataset = folder / "datasets" / source
    rows = manifest.read(dataset)
    who = rows["patient"].where(rows["patient"] != "", rows["case"])
    pixels = [images.read_png(dataset / "images" / f"{key}.png") for key in rows["key"]]
    shutil.rmtree(folder)
    return Pictures(
        name or f"{source} phantom{f' {size}x{size}' if size else ''}", pixels, list(who), list(rows["slice"])
    )


def every(real: Path, folder: Path) -> Iterator[Pictures]:
    """Everything that rates are taken of."""
    yield from published(real)
    for source in ("lung-tumor", "pancreas"):
        yield built(source, folder / "v" / source, raw=real / "volumes" / source, name=f"{source}, one whole volume")
    for source in ("lung-tumor", "pancreas", "cervical-cancer", "ovarian-tumor", "esophageal-cancer"):
        yield built(source, folder / "p" / source)
    for source in ("lung-tumor", "pancreas"):
        yield built(source, folder / "l" / source, size=256)
    yield built("lung-tumor", folder / "e", "--keep-empty", name="lung-tumor phantom, whole volumes")
    yield built("lung-tumor", folder / "s", "--size", "64", name="lung-tumor phantom shrunk to 64x64")


def audited(pixels: list[Pixels], patients: list[str], splits: list[str]) -> list[copies.Finding]:
    """The copies among pictures in memory."""
    frame = pd.DataFrame({name: [""] * len(pixels) for name in COLUMNS} | {"slice": -1, "line": 0})
    frame["image"] = frame["key"] = frame["case"] = [f"{place:05d}" for place in range(len(pixels))]
    frame["patient"], frame["split"] = patients, splits
    tree = Tree(Path(), frame, None, manifest=False)
    prints = np.stack([fingerprint(picture) for picture in pixels])
    return list(copies.findings(tree, prints, lambda row: pixels[row]))


def clean(data: Pictures) -> dict[str, str]:
    """In how many pictures of ``data`` each code of altered copies is found; of neighbours, how many are some."""
    rng = np.random.default_rng(0)
    people = sorted(set(data.patients))
    test = {who for who in people if rng.random() < 0.3}
    known = audited(data.pixels, data.patients, ["test" if who in test else "train" for who in data.patients])
    apart = np.where(rng.random(len(data.pixels)) < 0.3, "test", "train").tolist()
    unknown = audited(data.pixels, [""] * len(data.pixels), apart)
    row = {"data": f"{data.name} ({len(data.pixels)} pictures, {len(people)} patients)"}
    for said, findings, codes in (
        ("known", known, ("AU112", "AU113", "AU118")),
        ("unknown", unknown, ("AU112", "AU116", "AU117", "AU119")),
    ):
        for code in codes:
            row[f"{code}, {said}"] = str(sum(len(one.files) for one in findings if one.code == code))
    near = [one for one in unknown if one.code == "AU117"]
    right = sum(_of_one_patient(data, [int(file) for file in one.files]) for one in near)
    row["AU117 clusters of one patient"] = f"{right} of {len(near)}"
    exact = Counter(one.code for one in (*known, *unknown) if one.code in ("AU110", "AU111", "AU114", "AU115"))
    row["exact"] = ", ".join(f"{code} x{count}" for code, count in sorted(exact.items())) or "none"
    return row


def _of_one_patient(data: Pictures, rows: list[int]) -> bool:
    return len({data.patients[row] for row in rows}) == 1


# ---- how many it finds -----------------------------------------------------------------------------------------------

SURE = ("AU110", "AU112")


class Found(NamedTuple):
    """So many of so many."""

    found: int
    of: int


Alter = Callable[[Pixels, np.random.Generator], Pixels]


def encoded(quality: int) -> Alter:
    """As a JPEG of this quality."""
    return lambda picture, _: cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED
    )


def resized(factor: float) -> Alter:
    """Larger or smaller."""
    kernel = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return lambda picture, _: cv2.resize(picture, None, fx=factor, fy=factor, interpolation=kernel)


def toned(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Of another brightness (up to 12 grey levels), contrast (0.88 to 1.12) and gamma (0.85 to 1.15)."""
    bent = 255 * (picture / 255) ** rng.uniform(0.85, 1.15)
    moved = (bent - 128) * rng.uniform(0.88, 1.12) + 128 + rng.uniform(-12, 12)
    return np.clip(moved, 0, 255).astype(np.uint8)


def cropped(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Without up to 4 percent at each side."""
    height, width = picture.shape[:2]
    top, bottom, left, right = (int(rng.uniform(0, 0.04) * side) for side in (height, height, width, width))
    return picture[top : height - bottom, left : width - right].copy()


def cropped_and_resized(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """The same, brought to the size that it had."""
    return cv2.resize(cropped(picture, rng), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def noisy(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """With noise of 2 to 5 grey levels."""
    return np.clip(picture + rng.normal(0, rng.uniform(2, 5), picture.shape), 0, 255).astype(np.uint8)


KINDS: dict[str, Alter] = {
    "pixel for pixel": lambda picture, _: picture.copy(),
    "JPEG 95": encoded(95),
    "JPEG 75": encoded(75),
    "JPEG 50": encoded(50),
    "half the size": resized(0.5),
    "0.7 of the size": resized(0.7),
    "twice the size": resized(2),
    "brightness, contrast, gamma": toned,
    "cropped by up to 4% a side": cropped,
    "cropped, then resized": cropped_and_resized,
    "noise": noisy,
}


def turned(picture: Pixels, symmetry: int) -> Pixels:
    """One of the eight."""
    picture = np.rot90(picture, symmetry % 4)
    return np.ascontiguousarray(np.fliplr(picture) if symmetry >= 4 else picture)


def recall(data: Pictures, counted: Sequence[tuple[str, ...]], *, known: bool) -> dict[str, list[Found]]:
    """By kind of copy, of a sample, found by any of each set of codes. Every other one is turned or flipped."""
    distinct = sorted(
        {fingerprint(picture)["sha256"].tobytes(): row for row, picture in enumerate(data.pixels)}.values()
    )
    sample = distinct[:: max(1, len(distinct) // SAMPLE)][:SAMPLE]
    found = {}
    for kind, alter in KINDS.items():
        rng = np.random.default_rng(1)
        injected = [
            turned(alter(data.pixels[row], rng), int(rng.integers(1, 8)) if place % 2 else 0)
            for place, row in enumerate(sample)
        ]
        patients = [*data.patients, *(f"copy {row}" for row in sample)] if known else [""]
        patients *= 1 if known else len(data.pixels) + len(sample)
        splits = ["train"] * len(data.pixels) + ["test"] * len(sample)
        findings = audited([*data.pixels, *injected], patients, splits)
        pairs = [(row, len(data.pixels) + place) for place, row in enumerate(sample)]
        found[kind] = [Found(tied(findings, codes, pairs), len(pairs)) for codes in counted]
    return found


def neighbours(data: Pictures) -> Found:
    """Of neighbouring slices that a split of single pictures parted: how many are in a finding, nobody being known."""
    splits = np.where(np.random.default_rng(0).random(len(data.pixels)) < 0.3, "test", "train").tolist()
    place = {(who, at): row for row, (who, at) in enumerate(zip(data.patients, data.slices, strict=True))}
    pairs = [(row, place[who, at + 1]) for (who, at), row in place.items() if at >= 0 and (who, at + 1) in place]
    pairs = [pair for pair in pairs if splits[pair[0]] != splits[pair[1]]]
    findings = audited(data.pixels, [""] * len(data.pixels), splits)
    return Found(tied(findings, ("AU110", "AU112", "AU117"), pairs), len(pairs))


def tied(findings: list[copies.Finding], codes: tuple[str, ...], pairs: list[tuple[int, int]]) -> int:
    """How many pairs of pictures stand in one finding of these codes."""
    clusters = [set(one.files) for one in findings if one.code in codes]
    return sum(any({f"{row:05d}" for row in pair} <= cluster for cluster in clusters) for pair in pairs)


def rates(real: Path) -> None:
    """Print the tables."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        sets = list(every(real, Path(folder)))
    rows = [clean(data) for data in sets]
    print(_table(list(rows[0]), [list(row.values()) for row in rows]), "\n")
    of_recall = [data for data in sets if "volume" not in data.name and "x" not in data.name.split()[-1]]
    known, unknown = (
        [recall(data, (SURE, (*SURE, "AU118")), known=one) for data in of_recall] for one in (True, False)
    )
    sides = [
        (said, [{kind: both[at] for kind, both in one.items()} for one in counts])
        for said, counts, at in (("known", known, 0), ("known, or AU118", known, 1), ("unknown", unknown, 0))
    ]
    header = ["copy"]
    for said, _ in sides:
        header += [*(f"{data.name}, {said}" for data in of_recall), f"all, {said}"]
    lines = []
    for kind in KINDS:
        line = [kind]
        for _, counts in sides:
            line += [f"{one[kind].found}/{one[kind].of}" for one in counts]
            line.append(_share([one[kind] for one in counts]))
        lines.append(line)
    print(_table(header, lines), "\n")
    parted = [(data.name, neighbours(data)) for data in sets if max(data.slices) >= 0]
    cells = [[name, f"{one.found}/{one.of}"] for name, one in parted if one.of]
    print(_table(["parted neighbours", "found"], cells), "\n")
    print(left_over(of_recall))


def left_over(sets: Sequence[Pictures]) -> str:
    """A table of what AU119 says of copies where none are compared: all that looks alike is left over then."""
    most, copies.MOST_COMPARED = copies.MOST_COMPARED, 0
    try:
        counts = [recall(data, [("AU110", "AU119")], known=True) for data in sets]
    finally:
        copies.MOST_COMPARED = most
    lines = []
    for kind in KINDS:
        found = [one[kind][0] for one in counts]
        lines.append([kind, *(f"{one.found}/{one.of}" for one in found), _share(found)])
    return _table(["copy, AU119 where nothing is compared", *(data.name for data in sets), "all"], lines)


def _share(found: Sequence[Found]) -> str:
    return f"{sum(one.found for one in found) / sum(one.of for one in found):.1%}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    rates(Path(sys.argv[1]).resolve())
