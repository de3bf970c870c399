"""How long the audit of a large data set takes, and its memory: python benchmarks/audit_time.py [--images 20000].

Phantoms of CT slices, 512x512, 100 a patient, are written to a temporary folder in the current one, with altered copies
of training slices in test/; then ``imagemask audit`` runs over them. Printed are seconds, memory of all its processes,
how many of the copies were found, and whatever else was.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from audit_copies import KINDS, Pixels, turned
from measure import Idleness, Memory, machine

from imagemask import images

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nobody", action="store_true", help="leave --patient away")
    given = parser.parse_args()
    timed(given.images, given.workers, known=not given.nobody)


if __name__ == "__main__":
    main()
