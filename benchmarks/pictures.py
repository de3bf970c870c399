"""The folders that the picture benchmarks work on: real sizes, and stain, speckle and noise that keep codecs busy.

Both hold the files that a build reads and nothing else: no CROPPED folder, no second layout, no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BODIES = 5  # different pictures of a folder; the others are these, each with a number down its left edge
CLUSTER = (1536, 2048)
SCANS = ((600, 800), (720, 960), (768, 1024), (900, 1200), (583, 791))
CLASSES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal")  # those that the seed's script takes
_BACKGROUND, _CELL, _NUCLEUS = (180, 198, 205), (105, 160, 175), (70, 60, 120)
_COLOURS = ((64, 0, 0), (0, 64, 0), (0, 0, 64), (64, 0, 64), (64, 64, 0), (64, 64, 64), (0, 128, 0), (0, 0, 128))

Contour = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """Outlines of one cell, points x, y."""

    cytoplasm: Contour
    nucleus: Contour


def cervical(raw: Path, images: int) -> None:
    """SipakMed's clusters, official layout: 24-bit BMPs of 2048x1536 with 1 to 8 cells each, two contours a cell."""
    bodies: dict[int, NDArray[np.uint8]] = {}
    for number in range(images):
        name, index = CLASSES[number % len(CLASSES)], number // len(CLASSES) + 1
        folder = raw / f"im_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        stem, body = folder / f"{index:03d}", number % BODIES
        cells = list(_cells(body, 1 + (3 * body + 2) % 8))
        for cell, outlines in enumerate(cells, start=1):
            _write_contour(Path(f"{stem}_cyt{cell:02d}.dat"), outlines.cytoplasm)
            _write_contour(Path(f"{stem}_nuc{cell:02d}.dat"), outlines.nucleus)
        if body not in bodies:
            bodies[body] = _smear(body, cells)
        _save(bodies[body], number, Path(f"{stem}.bmp"), "BMP")


def ovarian(raw: Path, images: int) -> None:
    """MMOTU's OTU_2d, the authors' layout: JPEGs of 800x600 to 1200x900, three annotations each, and the lists."""
    folders = [raw / "OTU_2d" / name for name in ("images", "annotations")]
    for folder in folders:
        folder.mkdir(parents=True)
    bodies = [_scan(seed) for seed in range(BODIES)]
    for number in range(1, images + 1):
        body = (number - 1) % BODIES
        scan, mask = bodies[body]
        _save(scan, number, folders[0] / f"{number}.JPG", "JPEG")
        colour = mask[..., np.newaxis] * np.array(_COLOURS[body], np.uint8)
        for end, annotation in (("", colour), ("_binary", mask), ("_binary_binary", mask * np.uint8(255))):
            Image.fromarray(annotation).save(folders[1] / f"{number}{end}.PNG")
    first = images * 2 // 3
    for name, numbers in (("train", range(1, first + 1)), ("val", range(first + 1, images + 1))):
        _write_lines(raw / "OTU_2d" / f"{name}.txt", (str(number) for number in numbers))
        of_class = (f"{number}.JPG  {(number - 1) % BODIES}" for number in numbers)
        _write_lines(raw / "OTU_2d" / f"{name}_cls.txt", of_class)


def _cells(seed: int, count: int) -> Iterator[Cell]:
    random = np.random.default_rng((seed, 1))
    for _ in range(count):
        centre = random.uniform((300, 300), (CLUSTER[1] - 300, CLUSTER[0] - 300))
        radius = random.uniform(110, 260)
        yield Cell(
            _outline(random, centre, radius, int(random.integers(50, 100))),
            _outline(random, centre, radius * random.uniform(0.2, 0.4), int(random.integers(30, 60))),
        )


def _outline(random: Any, centre: NDArray[np.float64], radius: float, points: int) -> Contour:
    """A wavy circle, sampled where a hand would set its points: not evenly."""
    angles = np.sort(np.linspace(0, 2 * np.pi, points, endpoint=False) + random.uniform(0, 3 / points, points))
    radii = radius * (1 + 0.15 * np.sin(2 * angles + random.uniform(0, 6)) + 0.08 * np.sin(5 * angles))
    return np.column_stack((centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)))


def _write_contour(path: Path, points: Contour) -> None:
    _write_lines(path, (f"{x:.5f},{y:.5f}" for x, y in points))


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _smear(seed: int, cells: list[Cell]) -> NDArray[np.uint8]:
    """A stained smear: uneven light, cells with a nucleus, and noise of which LZMA leaves a little more than half."""
    random = np.random.default_rng((seed, 2))
    picture = np.empty((*CLUSTER, 3), np.uint8)
    picture[:] = _BACKGROUND
    for colour, outlines in (
        (_CELL, [cell.cytoplasm for cell in cells]),
        (_NUCLEUS, [cell.nucleus for cell in cells]),
    ):
        for outline in outlines:
            cv2.fillPoly(picture, [np.rint(outline).astype(np.int32)], colour)
    light = _clouds(random, CLUSTER, (12, 16), 22) + _clouds(random, CLUSTER, (96, 128), 10)
    grain = random.normal(0, 1.5, (*CLUSTER, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(picture, (7, 7), 0) + light[..., np.newaxis] + grain, 0, 255).astype(np.uint8)


def _clouds(random: Any, shape: tuple[int, int], grid: tuple[int, int], depth: float) -> NDArray[np.float32]:
    """Smooth random brightness."""
    coarse = random.normal(0, depth, grid).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _scan(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An ultrasound picture in three equal channels, and where a tumour was outlined (1)."""
    random = np.random.default_rng((seed, 3))
    height, width = shape = SCANS[seed]
    y, x = np.indices(shape, np.float32)
    speckle = cv2.GaussianBlur(random.rayleigh(0.8, shape).astype(np.float32), (3, 3), 0)
    grey = (70 + _clouds(random, shape, (9, 12), 25)) * speckle
    inside = ((y - 0.55 * height) / (0.22 * height)) ** 2 + ((x - 0.45 * width) / (0.2 * width)) ** 2
    mask = (inside + _clouds(random, shape, (8, 10), 0.15) < 1).astype(np.uint8)
    grey[mask > 0] *= 0.3
    grey[np.hypot(y, x - width / 2) > 1.02 * height] = 0  # beyond the sector
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2), mask


def _save(picture: NDArray[np.uint8], number: int, path: Path, kind: str) -> None:
    """``picture`` with its number down its left edge, in bits: as published ones, no two of a source look the same, to
    whoever samples their bytes.
    """
    numbered = picture.copy()
    for bit in range(8):
        numbered[:, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    Image.fromarray(numbered).save(path, kind, **({"quality": 90} if kind == "JPEG" else {}))
