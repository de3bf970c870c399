"""Synthetic anatomy: one chest and one abdomen from which every phantom source is made, plane by plane.

Everything is painted in one upright frame: planes from the feet up, rows to the patient's back, columns to the
patient's left (so the liver is on the viewer's left and the spine at the bottom). No axis is a mirror of itself: the
liver, the heart and the unequal lungs tell left from right, the spine and the table front from back, a bright marker in
the top plane up from down. A wrong flip cannot pass.

The same seed gives the same voxels on any machine: only exact arithmetic is used, and noise is made of whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask import files
from imagemask.errors import UsageError
from imagemask.types import PHANTOM

AIR, PADDING, MARKER_HU = -1000, -1024, 1800
SMALLEST_SIZE, FEWEST_SLICES = 32, 5
_ENDLESS = 1e6

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Organ:
    """An ellipsoid of one density (HU). ``centre`` and ``radii`` are (x, y, z) in units of half the picture.

    x runs from -1 (the patient's right) to 1, y from -1 (front) to 1, z from -1 (feet) to 1.
    """

    centre: Point
    radii: Point
    hu: int


def _tube(x: float, y: float, rx: float, ry: float, hu: int) -> Organ:
    return Organ((x, y, 0.0), (rx, ry, _ENDLESS), hu)


_BACK = (
    _tube(0.0, 0.42, 0.14, 0.12, 400),  # vertebra
    _tube(0.0, 0.56, 0.06, 0.05, 20),  # spinal canal
    _tube(0.01, 0.65, 0.03, 0.06, 330),  # spinous process
    _tube(0.0, 0.80, 0.80, 0.03, -300),  # table
)
_WALL = (_tube(0.0, 0.05, 0.92, 0.68, -100), _tube(0.0, 0.05, 0.86, 0.61, 40))
_RIBS = ((0.82, 0.08), (0.73, -0.26), (0.70, 0.38), (0.46, -0.46), (0.45, 0.56))
CHEST = (
    *_WALL,
    Organ((-0.43, -0.02, 0.05), (0.36, 0.46, 1.25), -850),  # right lung
    Organ((0.47, 0.02, 0.10), (0.28, 0.40, 1.20), -850),  # left lung
    Organ((0.16, -0.16, -0.35), (0.30, 0.25, 0.65), 45),  # heart
    Organ((-0.42, -0.05, -1.15), (0.42, 0.50, 0.65), 60),  # dome of the liver
    Organ((0.45, 0.20, -1.20), (0.25, 0.30, 0.45), 50),  # spleen
    Organ((0.0, 0.04, 0.85), (0.06, 0.06, 0.70), -990),  # trachea
    _tube(0.10, 0.28, 0.07, 0.07, 160),  # aorta
    Organ((0.0, -0.50, 0.2), (0.10, 0.03, 0.9), 300),  # breastbone
    *(_tube(side * x, y, 0.035, 0.03, 350) for side in (-1, 1) for x, y in _RIBS),
    *_BACK,
)
ABDOMEN = (
    *_WALL,
    _tube(0.0, 0.0, 0.76, 0.48, -95),  # fat around the organs
    Organ((-0.40, -0.08, 0.25), (0.40, 0.40, 0.95), 110),  # liver
    Organ((0.38, -0.26, 0.35), (0.24, 0.18, 0.60), 30),  # stomach
    Organ((0.36, -0.34, 0.35), (0.15, 0.07, 0.45), -900),  # gas in it
    Organ((0.60, 0.16, 0.35), (0.16, 0.24, 0.55), 120),  # spleen
    Organ((-0.36, 0.27, -0.35), (0.14, 0.13, 0.60), 180),  # right kidney
    Organ((0.36, 0.26, -0.20), (0.13, 0.14, 0.60), 180),  # left kidney
    Organ((-0.15, -0.20, -0.85), (0.30, 0.17, 0.40), 35),  # bowel
    Organ((0.38, -0.12, -0.90), (0.22, 0.20, 0.45), 25),
    Organ((0.34, -0.18, -0.90), (0.12, 0.06, 0.35), -850),
    Organ((-0.45, 0.08, 1.15), (0.32, 0.36, 0.45), -850),  # bases of the lungs
    Organ((0.48, 0.10, 1.15), (0.24, 0.30, 0.40), -850),
    _tube(0.05, 0.23, 0.07, 0.07, 170),  # aorta
    _tube(-0.12, 0.21, 0.07, 0.06, 130),  # vena cava
    *_BACK,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the mask outlines: balls that melt into one smooth, irregular shape of density ``hu``.

    A ball is (x, y, t) and a radius in the plane; t runs from -1 to 1 over the planes ``first`` to ``last``, inclusive.
    """

    balls: tuple[tuple[Point, float], ...]
    hu: int
    first: int
    last: int


@dataclass(frozen=True)
class Body:
    """A patient: ``shape`` is (slices, rows, columns). ``plane(index)`` paints one slice, counted from the feet."""

    shape: tuple[int, int, int]
    organs: tuple[Organ, ...]
    target: Target
    seed: tuple[int, ...]

    def plane(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Image (HU) and mask (0 or 1) of one plane, rows x columns, upright."""
        image = np.full(self.shape[1:], AIR, np.int16)
        for organ in self.organs:
            self._paint(image, organ, _centres(self.shape[0])[index])
        mask = self.outline(index)
        image[mask > 0] = self.target.hu
        image += noise(self.shape[1:], (*self.seed, index))
        np.maximum(image, PADDING, out=image)
        image[self._outside] = PADDING
        if index == self.shape[0] - 1:
            image[_marker_box(self.shape)] = MARKER_HU
        return image, mask

    def outline(self, index: int) -> NDArray[np.uint8]:
        """The mask of one plane alone."""
        target = self.target
        if not target.first <= index <= target.last:
            return np.zeros(self.shape[1:], np.uint8)
        half = (target.last - target.first + 1) / 2
        t = (index + 0.5 - target.first - half) / half
        y, x = _centres(self.shape[1])[:, None], _centres(self.shape[2])
        field = np.zeros(self.shape[1:])
        for (ball_x, ball_y, ball_t), radius in target.balls:
            near = 1 - (_squares(y, ball_y, radius) + _squares(x, ball_x, radius) + 0.6 * (t - ball_t) ** 2)
            field += np.maximum(near, 0) ** 2
        return (field > 0.12).astype(np.uint8)

    def _paint(self, image: NDArray[np.int16], organ: Organ, z: float) -> None:
        """Set the voxels of ``organ`` in the plane at height ``z``; looks only at the box around its section."""
        room = 1 - ((z - organ.centre[2]) / organ.radii[2]) ** 2
        if room <= 0:
            return
        (y, rows), (x, columns) = (
            _near(self.shape[axis], organ.centre[2 - axis], organ.radii[2 - axis]) for axis in (1, 2)
        )
        inside = _squares(y, organ.centre[1], organ.radii[1])[:, None] + _squares(x, *_x(organ)) < room
        image[rows, columns][inside] = organ.hu

    @cached_property
    def _outside(self) -> NDArray[np.bool_]:
        """Beyond the scanner's circle of view, where a real CT holds padding."""
        y, x = _centres(self.shape[1])[:, None], _centres(self.shape[2])
        return y * y + x * x > 1


def chest(shape: tuple[int, int, int], *, seed: tuple[int, ...], planes: int | None = None) -> Body:
    """A chest with one tumour in a lung, over ``planes`` slices (a tenth to two fifths of them unless given)."""
    random = _Random(seed)
    right = random.between(0, 1) < 0.6
    x = random.between(-0.55, -0.38) if right else random.between(0.46, 0.57)
    y = random.between(-0.18, 0.22) if right else random.between(0.02, 0.24)
    size = max(random.between(0.07, 0.12), 5.0 / min(shape[1:]))
    balls = [((x, y, 0.0), size)]
    for _ in range(5):
        dx, dy, t = (random.between(-0.7, 0.7) for _ in range(3))
        balls.append(((x + dx * size, y + dy * size, t), size * random.between(0.5, 0.8)))
    first, last = _span(shape[0], random, planes=planes)
    organs = (*_vary(CHEST, random), *(_vessel(random) for _ in range(40)))
    return Body(shape, organs, Target(tuple(balls), 45, first, last), seed)


def abdomen(shape: tuple[int, int, int], *, seed: tuple[int, ...], planes: int | None = None) -> Body:
    """An abdomen with a pancreas from the head (the patient's right, low) to the tail (left, high), in fat."""
    random = _Random(seed)
    radius = max(0.085, 3.5 / min(shape[1:]))
    shift, bend = random.between(-0.03, 0.03), random.between(-0.02, 0.02)
    balls = []
    for step in range(13):
        along = step / 12
        x = -0.17 + 0.52 * along + shift
        y = 0.02 - 0.55 * along * (1 - along) * (1.45 - along) + (0.07 + bend) * along
        balls.append(((x, y, 1.5 * along - 0.75), radius * random.between(0.8, 1.1)))
    first, last = _span(shape[0], random, planes=planes)
    return Body(shape, _vary(ABDOMEN, random), Target(tuple(balls), 95, first, last), seed)


def volume(body: Body, codes: str) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Image (HU) and mask of a whole body as NIfTI stores them: axes run towards ``codes``, the first one fastest."""
    shape = tuple(body.shape[_AXIS[code]] for code in codes)
    image, mask = np.empty(shape, np.int16, order="F"), np.empty(shape, np.uint8, order="F")
    for index in range(body.shape[0]):
        upright_of(image, codes)[index], upright_of(mask, codes)[index] = body.plane(index)
    return image, mask


def stored(array: NDArray[Any], codes: str) -> NDArray[Any]:
    """An upright array as NIfTI stores it: axes run towards ``codes``, the first one fastest."""
    out = np.empty([array.shape[_AXIS[code]] for code in codes], array.dtype, order="F")
    upright_of(out, codes)[...] = array
    return out


def noise(shape: tuple[int, ...], seed: tuple[int, ...]) -> NDArray[np.int16]:
    """Whole numbers about 0, standard deviation 18, as in a CT: the sum of four bytes, so the same on any machine."""
    count = int(np.prod(shape))
    parts = np.frombuffer(np.random.default_rng(seed).bytes(4 * count), np.uint8).reshape(4, *shape)
    return np.asarray((parts.sum(axis=0, dtype=np.int16) - 510) >> 3, np.int16)


def upright_of(array: NDArray[Any], codes: str) -> NDArray[Any]:
    """The upright (slices, rows, columns) view of an array whose axes run towards ``codes`` (``LAS``, nibabel's words).

    Writing to the view fills the array in the file's own order.
    """
    flipped = array[tuple(slice(None, None, _STEP[code]) for code in codes)]
    return flipped.transpose(np.argsort([_AXIS[code] for code in codes]))


def affine_of(shape: Sequence[int], codes: str, spacing: Point, origin: Point = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    """The 4x4 affine (voxel index to RAS mm) of an array whose axes run towards ``codes``.

    ``shape`` is the upright one (slices, rows, columns), ``spacing`` is (x, y, z) in mm, ``origin`` the place of the
    leftmost, hindmost, lowest voxel. Arrays of one body in different orientations lie at the same place.
    """
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[:3, 3] = origin
    for axis, code in enumerate(codes):
        world = 2 - _AXIS[code]
        step = spacing[world] if code in "RAS" else -spacing[world]
        affine[world, axis] = step
        if step < 0:
            affine[world, 3] += spacing[world] * (shape[_AXIS[code]] - 1)
    return affine


_AXIS = {"S": 0, "I": 0, "A": 1, "P": 1, "R": 2, "L": 2}
_STEP = {"S": 1, "I": -1, "P": 1, "A": -1, "L": 1, "R": -1}


def apple_double() -> bytes:
    """The ``._`` twin that macOS packs beside a file: an AppleDouble header, empty Finder information, no fork."""
    entries = (9).to_bytes(4) + (50).to_bytes(4) + (70).to_bytes(4) + (2).to_bytes(4) + (120).to_bytes(4) + bytes(4)
    return b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02" + entries + bytes(70)


def begin(raw: Path, *, patients: int, size: int, slices: int) -> None:
    """Make the empty folder that a phantom is written to.

    Raises UsageError for a folder that holds something already, or for numbers out of range.
    """
    for name, value, least in (
        ("patients", patients, 1),
        ("size", size, SMALLEST_SIZE),
        ("slices", slices, FEWEST_SLICES),
    ):
        if value < least:
            raise UsageError(f"a phantom cannot have {value} {name}", remedy=f"Give --{name} {least} or more")
    files.make_folder(raw)
    if any(raw.iterdir()):
        raise UsageError(
            f"{raw}: is not empty", remedy="A phantom is written to a new folder: remove this one or name another"
        )


def finish(
    raw: Path,
    source: str,
    *,
    ids: Sequence[str],
    sets: tuple[int, int],
    faults: Mapping[str, str],
    patients: int | None = None,
) -> None:
    """Write the marker file, by which ``check`` knows a phantom and what it holds.

    ``ids`` are the cases that can be built; ``sets`` the healthy image and mask sets on disk; ``faults`` {case: code};
    ``patients`` how many there are, where that is not one a case.
    """
    facts = {
        "source": source,
        "patients": len(ids) if patients is None else patients,
        "cases": len(ids),
        "images": sets[0],
        "masks": sets[1],
        "ids": sorted(ids),
        "faults": dict(sorted(faults.items())),
    }
    files.write_atomic(raw / PHANTOM, (json.dumps(facts, indent=1) + "\n").encode("utf-8"))


class _Random:
    """Numbers for one body, from its seed."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._generator = np.random.default_rng(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())


def _vessel(random: _Random) -> Organ:
    """A short piece of a vessel in one of the lungs."""
    x = random.between(0.30, 0.62) * (1 if random.between(0, 1) < 0.5 else -1)
    width = random.between(0.008, 0.03)
    centre = (x, random.between(-0.25, 0.28), random.between(-0.4, 0.9))
    return Organ(centre, (width, width, random.between(0.05, 0.2)), int(random.between(-200, 60)))


def _vary(organs: tuple[Organ, ...], random: _Random) -> tuple[Organ, ...]:
    """The same organs, each a little larger or smaller: no two patients are alike."""
    return tuple(
        replace(organ, radii=(organ.radii[0] * scale, organ.radii[1] * scale, organ.radii[2]))
        for organ in organs
        for scale in (random.between(0.96, 1.04),)
    )


def _span(slices: int, random: _Random, *, planes: int | None) -> tuple[int, int]:
    """First and last plane of the target: between a tenth and two fifths of the slices, away from both ends."""
    fewest, most = -(-slices // 10), slices * 2 // 5
    count = min(slices, planes if planes is not None else fewest + int(random.between(0, most - fewest + 1)))
    first = int((slices - count) * random.between(0.42, 0.72))
    return first, first + count - 1


def _marker_box(shape: tuple[int, int, int]) -> tuple[slice, slice]:
    """Where the top plane is marked: on the front right of the patient."""
    rows, columns = shape[1:]
    edge = max(2, min(rows, columns) // 24)
    top, left = int(rows * 0.22), int(columns * 0.24)
    return slice(top, top + edge), slice(left, left + edge)


def _centres(count: int) -> NDArray[np.float64]:
    """The centres of ``count`` pixels laid over -1 to 1."""
    return (2 * np.arange(count) + 1) / count - 1


def _near(count: int, centre: float, radius: float) -> tuple[NDArray[np.float64], slice]:
    """The pixels that an ellipse can touch, by position and by index."""
    low = max(0, int((centre - radius + 1) / 2 * count) - 1)
    high = min(count, int((centre + radius + 1) / 2 * count) + 2)
    return _centres(count)[low:high], slice(low, high)


def _squares(positions: NDArray[np.float64], centre: float, radius: float) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = (positions - centre) / radius
    return scaled * scaled


def _x(organ: Organ) -> tuple[float, float]:
    return organ.centre[0], organ.radii[0]
