"""Copies: how often the audit is wrong about them, how many it finds, and how long a large data set takes.

Run with ``python benchmarks/audit_copies.py rates REAL``, where REAL holds the published pairs (pancreas,
cervical-cancer, lung-tumor, volumes), or with ``python benchmarks/audit_copies.py time [--images N] [--workers N]``
(20,000 on 2), which writes phantoms of CT slices, 512x512, to a temporary folder beside, and runs ``imagemask audit``
over them.

``rates`` prints two Markdown tables. Of data sets as they are: in how many pictures each code is found, with patients
known (split by patient) and unknown (split by image, as the published sets are). Of altered copies of a sample of their
pictures, put into another split: how many are found in one cluster with what they were made from.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from measure import Idleness, machine

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

    def call(*words: str) -> None:
        command = [sys.executable, "-m", "imagemask", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    folder.mkdir(parents=True)
    if raw is None:
        call("phantom", source, "--patients", "24", *(("--size", str(size)) if size else ()))
    call("build", source, *options, *(("--raw", str(raw), "--keep-empty") if raw else ()))
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


def recall(data: Pictures, *, known: bool) -> dict[str, tuple[int, int]]:
    """By kind of copy: how many of a sample are found, of how many. Every other one is turned or flipped."""
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
        clusters = [
            set(one.files)
            for one in audited([*data.pixels, *injected], patients, splits)
            if one.code in ("AU110", "AU112")
        ]
        pairs = [{f"{row:05d}", f"{len(data.pixels) + place:05d}"} for place, row in enumerate(sample)]
        found[kind] = sum(any(pair <= cluster for cluster in clusters) for pair in pairs), len(pairs)
    return found


def rates(real: Path) -> None:
    """Print the two tables."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        sets = list(every(real, Path(folder)))
    rows = [clean(data) for data in sets]
    print(_table(list(rows[0]), [list(row.values()) for row in rows]), "\n")
    of_recall = [data for data in sets if "volume" not in data.name and "x" not in data.name.split()[-1]]
    counts = {known: [recall(data, known=known) for data in of_recall] for known in (True, False)}
    lines = []
    for kind in KINDS:
        line = [kind]
        for known in (True, False):
            line += [f"{one[kind][0]}/{one[kind][1]}" for one in counts[known]]
            line.append(
                f"{sum(one[kind][0] for one in counts[known]) / sum(one[kind][1] for one in counts[known]):.1%}"
            )
        lines.append(line)
    header = ["copy"]
    for said in ("known", "unknown"):
        header += [*(f"{data.name}, {said}" for data in of_recall), f"all, {said}"]
    print(_table(header, lines))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---- how long it takes -----------------------------------------------------------------------------------------------

SIDE, SLICES, INJECTED = 512, 100, 40
_ROWS, _COLUMNS = (axis.astype(np.float32) for axis in np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j])


class Body:
    """A made-up patient: an outline with lungs, spine, organs and vessels that change smoothly from slice to slice."""

    def __init__(self, seed: int, slices: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.across, self.deep = self.rng.uniform(0.68, 0.9), self.rng.uniform(0.5, 0.68)
        self.middle = self.rng.uniform(-0.06, 0.06, 2)
        self.organs, self.bend = self._field(max(2, slices // 12), 7), self._field(max(2, slices // 12), 4)
        self.vessels = self._field(max(2, slices // 4), 48)
        self.slices = slices

    def _field(self, knots: int, side: int) -> Pixels:
        return self.rng.standard_normal((knots, side, side), np.float32)

    def _at(self, field: Pixels, along: float) -> Pixels:
        place = along * (len(field) - 1)
        begin = min(int(place), len(field) - 2)
        mixed = field[begin] * (1 - (place - begin)) + field[begin + 1] * (place - begin)
        return cv2.resize(mixed, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)

    def slice(self, index: int, noise: list[Pixels]) -> tuple[Pixels, Pixels]:
        """Image and mask, uint8."""
        along = index / max(1, self.slices - 1)
        organs, vessels, bend = (self._at(field, along) for field in (self.organs, self.vessels, self.bend))
        x, y = _COLUMNS - self.middle[0], _ROWS - self.middle[1]
        radius = (x / (self.across * (1 - 0.1 * along))) ** 2 + (y / self.deep) ** 2 + 0.06 * bend
        image = 100 + 14 * np.tanh(2 * organs) + 10 * np.maximum(vessels - 1, 0)
        for side, size in ((0.38, 0.9), (-0.38, 0.7)):
            lung = ((x - side * self.across) / (0.33 * self.across)) ** 2 + ((y + 0.05) / (0.62 * self.deep)) ** 2
            lung = lung + 0.1 * organs * np.sign(side) < 1 - size * along
            image[lung] = 25 + 40 * np.maximum(vessels[lung] - 0.6, 0)
        image[x**2 + (y - 0.62 * self.deep) ** 2 < 0.02] = 190
        image[radius > 0.88] = 60
        grain = np.roll(noise[self.rng.integers(len(noise))], self.rng.integers(0, SIDE, 2), (0, 1))
        image = np.where(radius < 1, image + grain, 4 + 0.2 * np.abs(grain))
        lesion = (organs > 1.2) & (radius < 0.8)
        return np.clip(image, 0, 255).astype(np.uint8), lesion.astype(np.uint8) * 255


def write(folder: Path, total: int) -> int:
    """A tree of ``total`` pairs, split by patient, and INJECTED altered copies of training slices in test/."""
    rng = np.random.default_rng(7)
    noise = [cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE), np.float32), (0, 0), 0.8) * 10 for _ in range(16)]
    for split in ("train", "valid", "test"):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
    kinds, injected = list(KINDS.values()), 0
    for number in range(total // SLICES):
        body, split = Body(number, SLICES), ("train", "train", "train", "valid", "test")[number % 5]
        for index in range(SLICES):
            image, mask = body.slice(index, noise)
            _save(folder / split, f"P{number:04d}_{index:03d}", image, mask)
            if split == "train" and index == 50 and injected < INJECTED:
                altered = turned(kinds[injected % len(kinds)](image, rng), int(rng.integers(0, 8)))
                _save(folder / "test", f"Q{number:04d}_{index:03d}", altered, np.zeros(altered.shape, np.uint8))
                injected += 1
    return injected


def _save(folder: Path, name: str, image: Pixels, mask: Pixels) -> None:
    (folder / "images" / f"{name}.png").write_bytes(images.encode_png(image, level=images.IMAGE_LEVEL))
    (folder / "masks" / f"{name}.png").write_bytes(images.encode_png(mask, level=images.MASK_LEVEL))


class Memory:
    """The largest memory of a process and all that it started, in MiB: what is shared counts once (PSS)."""

    def __init__(self, root: int) -> None:
        self.peak, self._root, self._ended = 0.0, root, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.peak

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self.peak = max(self.peak, sum(map(self._of, self._family())))

    def _family(self) -> set[int]:
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = path.read_text()
            except OSError:
                continue
            parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
        family = {self._root}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return family

    @staticmethod
    def _of(process: int) -> float:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def timed(total: int, workers: int, *, known: bool) -> None:
    """Print how long the command takes, its memory, and what it found."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name, "tree")
        begin = time.perf_counter()
        injected = write(folder, total)
        print(f"{machine()}; {total:,} pairs and {injected} copies written in {time.perf_counter() - begin:.0f} s")
        words = ["audit", str(folder), "--json", "--workers", str(workers)]
        words += ["--patient", r"^([PQ]\d+)_"] if known else []
        begin, idle = time.perf_counter(), Idleness()
        with Path(name, "report.json").open("w") as out:
            process = subprocess.Popen([sys.executable, "-m", "imagemask", *words], stdout=out)
            memory = Memory(process.pid)
            code = process.wait()
        seconds, peak = time.perf_counter() - begin, memory.stop()
        report = json.loads(Path(name, "report.json").read_text())
        files = [set(one["files"]) for one in report["findings"] if one["code"] in ("AU110", "AU112")]
        right = [some for some in files if len({re.sub(r".*/[PQ]", "", file) for file in some}) == 1]
        print(
            f"    {seconds:.0f} s, {(total + injected) / seconds:.0f} pairs/s, {peak:.0f} MiB at the peak, exit {code}"
        )
        print(f"    the machine was {idle.share():.0%} idle meanwhile")
        print(f"    copies across splits: {len(right)} of {injected} found, {len(files) - len(right)} findings more")
        print("".join(f"        {sorted(some)[:4]}\n" for some in files if some not in right), end="")
        print(f"    findings: {dict(sorted(Counter(one['code'] for one in report['findings']).items()))}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("rates").add_argument("real", type=Path)
    timing = jobs.add_parser("time")
    timing.add_argument("--images", type=int, default=20_000)
    timing.add_argument("--workers", type=int, default=2)
    timing.add_argument("--nobody", action="store_true", help="leave --patient away")
    given = parser.parse_args()
    if given.job == "rates":
        rates(given.real.resolve())
    else:
        timed(given.images, given.workers, known=not given.nobody)


if __name__ == "__main__":
    main()
