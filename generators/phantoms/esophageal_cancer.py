"""Writes a synthetic EEC-2022: the whole release and the small test release, side by side below one folder.

A frame shows mucosa, lit from the upper left, the dark lumen on the right, vessels, glare, black corners of which the
upper left one is the largest, and a smooth pale patch of mucus that means nothing. Cancer is of the colours of mucus
and of mucosa, and grainy: its texture tells it, no threshold does. Only exact arithmetic is used: a seed gives the same
bytes anywhere.

Quirks that must build: masks of 0 and 1 (one of 0 and 255, one in three equal channels), ``_mask`` behind the stems of
one patient's masks, a patient spelt JHX and jhx, a name without a patient, junk, and a frame that is in both releases.
With ``faults`` follow frames that must be quarantined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagemask.generators.phantoms.folder import flat_jpeg
from numpy.typing import NDArray

from imagemask import files, images, phantoms

SOURCE = "esophageal-cancer"
RELEASE, HEALTHY = "EEC-2022", "EEC-2022/non-EEC"
SMALL = (1, 7, 21)
"""The frames of the small test release; the first is the whole release's first test frame."""
LAST = 1299
_FOLDERS = {"train": "train", "valid": "val", "test": "test"}
_PALE, _RED = (228.0, 190.0, 158.0), (196.0, 62.0, 58.0)

Picture = NDArray[np.uint8]
Field = NDArray[np.float64]
Balls = tuple[tuple[float, float, float], ...]
"""(x, y, radius) in units of half the picture, of balls that melt into one shape."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A phantom below ``raw``, of frames of ``size`` x ``size`` pixels."""

    raw: Path
    size: int
    seed: int

    def frame(self, patient: int, index: int, *, cancer: bool = True) -> tuple[Picture, Picture]:
        """Image (RGB) and mask (0 and 1) of a frame: the lesion is the patient's, the view is the frame's own."""
        whose, view = (np.random.default_rng((self.seed, patient, *more)) for more in ((), (index,)))
        dx, dy = _between(view, -0.12, 0.12), _between(view, -0.12, 0.12)
        balls = _balls(whose, dx, dy, size=self.size) if cancer else ()
        return _paint(view, self.size, balls), _shape(balls, self.size).astype(np.uint8)

    def place(self, patient: int, index: int) -> tuple[Path, Path]:
        """Where image and mask of a frame lie in the whole release; both counted from 0."""
        folder = self.raw / RELEASE / _FOLDERS[split_of(patient)]
        stem = stem_of(patient, index)
        return folder / "image" / f"{stem}.png", folder / "mask" / f"{stem}{'_mask' * (patient == 1)}.png"

    def pair(self, patient: int, index: int) -> str:
        """Write one frame of the whole release; its case id."""
        image, mask = self.frame(patient, index)
        if (patient, index) == (0, 0):
            mask = np.stack([mask] * 3, axis=2)
        self.save(self.place(patient, index), image, mask * np.uint8(255 if (patient, index) == (2, 1) else 1))
        return f"{split_of(patient)}+{stem_of(patient, index)}"

    def small(self, number: int) -> str:
        """Write one frame of the small test release, with a mask of 0 and 255; its case id."""
        image, mask = self.frame(2, 0) if number == SMALL[0] else self.frame(1000 + number, 0)
        places = self.raw / "EEC" / "test" / f"{number}.png", self.raw / "EEC" / "test mask" / f"{number}.png"
        self.save(places, image, mask * np.uint8(255))
        return f"test+{number}"

    def nameless(self) -> str:
        """Write a frame whose name does not say its patient; its case id."""
        folder = self.raw / RELEASE / "train"
        self.save((folder / "image" / "lesion a.png", folder / "mask" / "lesion a.png"), *self.frame(2000, 0))
        return "train+lesion a"

    def healthy(self, number: int) -> str:
        """Write a frame without cancer; its case id."""
        image, _ = self.frame(3000 + number, 0, cancer=False)
        self.save((self.raw / HEALTHY / f"{number}.png",), image)
        return f"non-EEC+{number}"

    def save(self, paths: tuple[Path, ...], *pictures: Picture) -> None:
        """Write pictures, the image first."""
        levels = (images.IMAGE_LEVEL, images.MASK_LEVEL)
        for path, picture, level in zip(paths, pictures, levels, strict=False):
            files.make_folder(path.parent)
            files.write_atomic(path, images.encode_png(picture, level=level))

    def junk(self) -> None:
        """What operating systems have left behind."""
        for path in self.place(0, 0):
            files.write_atomic(path.with_name(f"._{path.name}"), phantoms.apple_double())
        files.write_atomic(self.raw / HEALTHY / "Thumbs.db", b"\xd0\xcf\x11\xe0")


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write both releases below ``raw``: two to five frames of each of ``patients``, ``slices`` frames without cancer.

    Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    phantoms.begin(raw, patients=patients, size=size, slices=slices)
    tree = Tree(raw, size, seed)
    cancer = [tree.pair(patient, index) for patient in range(patients) for index in range(2 + patient % 4)]
    copied = SMALL[:1] if patients > 2 else ()
    cancer += [name for number in SMALL for name in [tree.small(number)] if number not in copied]
    cancer.append(tree.nameless())
    healthy = [tree.healthy(number) for number in (*range(slices - 1), LAST)]
    tree.junk()
    broken = _write_faults(tree) if faults else {}
    sets = (len(cancer) + len(healthy), len(cancer))
    phantoms.finish(raw, SOURCE, ids=[*cancer, *healthy], sets=sets, faults=broken, patients=patients)


def split_of(patient: int) -> str:
    """The set that a patient is in."""
    return tuple(_FOLDERS)[patient % 3]


def stem_of(patient: int, index: int) -> str:
    """The name of a frame."""
    who = "JHX" if (patient, index) == (0, 1) else "jhx"
    return f"{patient % 3 + 1}ESTD{patient + 1}{who}2014{patient:02}{4 * index:03}OR"


def _between(random: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(random.random())


def _balls(random: np.random.Generator, dx: float, dy: float, *, size: int) -> Balls:
    """The lesion of a patient, as it lies in a frame."""
    x, y = _between(random, -0.45, 0.35), _between(random, -0.15, 0.45)
    radius = max(_between(random, 0.22, 0.36), 5 / size)
    around = ((_between(random, -0.8, 0.8), _between(random, -0.8, 0.8), _between(random, 0.5, 0.8)) for _ in range(5))
    rest = ((x + dx + u * radius, y + dy + v * radius, radius * part) for u, v, part in around)
    return ((x + dx, y + dy, radius), *rest)


def _axes(size: int) -> tuple[Field, Field]:
    """Pixel centres from -1 to 1: x as a row, y as a column."""
    centres = (2 * np.arange(size) + 1) / size - 1
    return centres[None, :], centres[:, None]


def _shape(balls: Balls, size: int) -> NDArray[np.bool_]:
    """What balls melt into, within the part of the picture that is not black."""
    x, y = _axes(size)
    field = np.zeros((size, size))
    for ball_x, ball_y, radius in balls:
        near = 1 - ((x - ball_x) * (x - ball_x) + (y - ball_y) * (y - ball_y)) / (radius * radius)
        field += np.maximum(near, 0) * np.maximum(near, 0)
    return (field > 0.12) & ~_corners(size)


def _corners(size: int) -> NDArray[np.bool_]:
    x, y = _axes(size)
    return (abs(x) + abs(y) > 1.72) | (x + y < -1.55)


def _grain(random: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth chance, 0 to 1: values on a lattice of ``cells`` a side, eased into each other."""
    lattice = random.integers(0, 256, (cells + 2, cells + 2)) / 255
    place = np.arange(size) * cells / size
    low = place.astype(np.int64)
    part = place - low
    ease = part * part * (3 - 2 * part)
    left, right = lattice[:, low], lattice[:, low + 1]
    rows = left + (right - left) * ease
    upper, lower = rows[low], rows[low + 1]
    return np.asarray(upper + (lower - upper) * ease[:, None], np.float64)


def _paint(random: np.random.Generator, size: int, lesion: Balls) -> Picture:
    x, y = _axes(size)
    folds, spots, vessels = (_grain(random, size, cells) for cells in (3, 9, 6))
    grains = _grain(random, size, max(8, size // 4))
    light = 1 - 0.3 * ((x + 0.4) * (x + 0.4) + (y + 0.3) * (y + 0.3)) + 0.25 * (folds - 0.5)
    tint = _between(random, 0.9, 1.1)
    layers = [channel * light + 26 * (spots - 0.5) for channel in (205.0, 112 * tint, 98 * tint)]
    layers = [
        layer * np.where(abs(vessels - 0.5) < 0.018, dark, 1)
        for layer, dark in zip(layers, (0.9, 0.7, 0.7), strict=True)
    ]
    lumen_x, lumen_y = 0.42 + _between(random, -0.1, 0.1), -0.25 + _between(random, -0.1, 0.1)
    depth = np.maximum(0, 1 - ((x - lumen_x) * (x - lumen_x) + (y - lumen_y) * (y - lumen_y)) / 0.2)
    layers = [layer * (1 - 0.85 * depth) for layer in layers]
    mucus = _shape(_balls(random, 0.1, 0.1, size=size), size) * 0.45
    layers = [layer + (pale - layer) * mucus * spots for layer, pale in zip(layers, _PALE, strict=True)]
    pale, strength = grains > 0.52, _shape(lesion, size) * _between(random, 0.3, 0.5)
    layers = [
        layer + (np.where(pale, light_one, red) - layer) * strength
        for layer, light_one, red in zip(layers, _PALE, _RED, strict=True)
    ]
    glare = (_grain(random, size, max(6, size // 16)) > 0.96)[..., None]
    picture = np.where(glare, 245.0, np.stack(layers, axis=2))
    picture = np.where(_corners(size)[..., None], 14.0, picture)
    grey = phantoms.noise((size, size), (int(random.integers(0, 1 << 30)),)) // 6
    return np.asarray(np.clip(picture.astype(np.int64) + grey[..., None], 0, 255), np.uint8)


def _write_faults(tree: Tree) -> dict[str, str]:
    """One frame a fault, each of a patient of its own in the training set, and a number too many; {case id: code}."""
    broken = {tree.healthy(LAST + 1): "missing_mask"}
    for number, (code, spoil) in enumerate(_FAULTS.items()):
        patient = 900 + 3 * number
        broken[tree.pair(patient, 0)] = code
        spoil(*tree.place(patient, 0))
    return broken


def _mask_of(change: Callable[[Picture], Picture]) -> Callable[[Path, Path], object]:
    """A fault of the mask's pixels."""

    def spoil(_image: Path, mask: Path) -> None:
        pixels = change(images.read_png(mask))
        files.write_atomic(mask, images.encode_png(pixels, level=images.MASK_LEVEL))

    return spoil


def _with_background(mask: Picture) -> Picture:
    """What the authors train a network of one picture on: 128 is neither tissue nor lesion."""
    values = mask * np.uint8(255)
    values[0] = 128
    return values


def _again(image: Path, mask: Path) -> None:
    """The same frame under another number, outlined otherwise."""
    files.write_atomic(image.with_name(image.name.replace("000OR", "004OR")), image.read_bytes())
    other = images.encode_png(images.read_png(mask)[::-1].copy(), level=images.MASK_LEVEL)
    files.write_atomic(mask.with_name(mask.name.replace("000OR", "004OR")), other)


def _second(image: Path, _mask: Path) -> None:
    """Another picture of the same stem."""
    other = images.encode_png(images.read_png(image)[::-1].copy(), level=images.IMAGE_LEVEL)
    files.write_atomic(image.with_suffix(".tif"), other)


_FAULTS: Mapping[str, Callable[[Path, Path], object]] = {
    "missing_mask": lambda _image, mask: mask.unlink(),
    "missing_image": lambda image, _mask: image.unlink(),
    "label_values": _mask_of(_with_background),
    "colour_mask": _mask_of(lambda mask: np.stack([mask, mask, 0 * mask], axis=2)),
    "size_mismatch": _mask_of(lambda mask: mask[1:]),
    "jpeg_mask": lambda _image, mask: files.write_atomic(mask, flat_jpeg(*images.read_png(mask).shape)),
    "damaged_image": lambda image, _mask: files.write_atomic(image, image.read_bytes()[:-40]),
    "twins_differ": _again,
    "duplicate_stem": _second,
}
