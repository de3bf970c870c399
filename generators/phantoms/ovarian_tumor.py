"""Writes a synthetic MMOTU: speckled sectors with an outlined cyst or tumour of each class, and the real one's quirks.

Upper-case names, pictures of many sizes, three annotations each, lists in two line ends with two blanks and trailing
ones, and CEUS pictures beside. With ``faults``, pictures that must be quarantined follow, one of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagemask.generators.ovarian_tumor import CLASSES
from imagemask.generators.phantoms import jpeg
from numpy.typing import NDArray

from imagemask import files, images, phantoms

FOLDERS = {"2d": "MMOTU/OTU_2d", "3d": "MMOTU/OTU_3d"}
COLOURS = tuple(CLASSES.values())
_FEWEST_CEUS = 4
_GREY, _DOPPLER = 4, 3  # which pictures have one channel, and which of seven show flow in colours

Picture = NDArray[np.uint8]
Ball = tuple[float, float, float]
"""Where a ball is (y, x) and its radius, in halves of the picture's height; the picture's middle is 0, 0."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a class looks: grey levels of the inside, of its rim, and of ``balls`` in it; ``shadow`` lies below it."""

    inside: int
    rim: int
    balls: int = 0
    grey: int = 0
    radius: float = 0.0
    shadow: int = 100
    lobes: int = 5


_LOOKS = (
    _Look(62, 120),  # chocolate cyst: ground glass
    _Look(16, 165, shadow=125),  # serous cystadenoma: clear, bright behind
    _Look(150, 130, balls=1, grey=215, radius=0.55, shadow=45),  # teratoma: a bright ball that casts a shadow
    _Look(52, 85, shadow=70, lobes=3),  # theca cell tumour: solid and dark
    _Look(8, 150, shadow=140, lobes=0),  # simple cyst: round
    _Look(80, 125, balls=6, grey=14, radius=0.22, lobes=2),  # normal ovary: follicles
    _Look(24, 140, balls=4, grey=70, radius=0.4, shadow=115),  # mucinous cystadenoma: chambers
    _Look(38, 110, balls=5, grey=165, radius=0.3, shadow=80, lobes=8),  # high-grade cystadenoma: solid parts
)


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write the source below ``raw``: ``patients`` pictures about ``size`` pixels high, and a few CEUS ones.

    Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    phantoms.begin(raw, patients=patients, size=size, slices=slices)
    healthy = [_Scan(raw / FOLDERS["2d"], number, size, seed) for number in range(1, patients + 1)]
    broken = [_Scan(raw / FOLDERS["2d"], patients + 1 + place, size, seed) for place in range(len(FAULTS) * faults)]
    ceus = range(1, max(_FEWEST_CEUS, patients // 6) + 1)
    contrast = [_Scan(raw / FOLDERS["3d"], number, size, seed, contrast=True) for number in ceus]
    for scan in (*healthy, *broken, *contrast):
        scan.write()
    codes = {}
    for scan, (code, spoil) in zip(broken, FAULTS.items(), strict=False):
        spoil(scan)
        codes[f"OTU2D_{scan.number:04d}"] = code
    _write_lists(raw / FOLDERS["2d"], [*healthy, *broken], classes=True)
    _write_lists(raw / FOLDERS["3d"], contrast, classes=False)
    for path in files.walk(raw).files:
        files.write_atomic(path.with_name(f"._{path.name}"), phantoms.apple_double())
    files.write_atomic(raw / "MMOTU" / ".DS_Store", b"\0\0\0\1Bud1")
    ids = [f"OTU2D_{scan.number:04d}" for scan in healthy]
    phantoms.finish(raw, "ovarian-tumor", ids=ids, sets=(patients, patients), faults=codes)


@dataclass(frozen=True, slots=True)
class _Scan:
    """One picture: where it is written, and what it shows."""

    root: Path
    number: int
    size: int
    seed: int
    contrast: bool = False

    @property
    def kind(self) -> int:
        """The class, from 0, as the lists count."""
        return (self.number - 1) % len(_LOOKS)

    @property
    def image(self) -> Path:
        return self.root / "images" / f"{self.number}.JPG"

    def mask(self, kind: str) -> Path:
        """Where an annotation lies: ``_binary``, "" (colours) or ``_binary_binary``."""
        return self.root / "annotations" / f"{self.number}{kind}.PNG"

    def write(self) -> None:
        """Write the picture and its three annotations."""
        grey, inside = self.paint()
        for path in (self.image, self.mask("")):
            files.make_folder(path.parent)
        files.write_atomic(self.image, jpeg.encode(self._coloured(grey, inside)))
        white = inside.view(np.uint8)
        masks: dict[str, Picture] = {
            "": white[..., None] * np.array(COLOURS[self.kind], np.uint8),
            "_binary": white,
            "_binary_binary": white * np.uint8(255),
        }
        for kind, mask in masks.items():
            files.write_atomic(self.mask(kind), images.encode_png(mask, level=images.MASK_LEVEL))

    def paint(self) -> tuple[Picture, NDArray[np.bool_]]:
        """The picture in grey, and what is outlined."""
        shape, random = self._shape(), np.random.default_rng((self.seed, self.number, self.contrast))
        y, x = ((2.0 * np.arange(count) + 1 - count) / shape[0] for count in shape)
        place = y[:, None], x[None]
        look = _LOOKS[self.kind]
        middle = _between(random, -0.2, 0.25), _between(random, -0.4, 0.4)
        radius = _between(random, 0.26, 0.42)
        lobes = [(*middle, radius), *(_near(random, middle, radius, 0.8, 0.55) for _ in range(look.lobes))]
        field = _field(place, lobes)
        inside = field > 0.12
        level = 122 - 26 * (y[:, None] + 1) + 0 * x[None]  # tissue, darker with depth
        level = np.where(_field(place, [_vessel(random, middle)]) > 0.2, 20, level)  # dark, and no tumour
        below = (np.abs(x[None] - middle[1]) < radius * 0.7) & (y[:, None] > middle[0]) & ~inside
        level = np.where(below, level * look.shadow / 100, level)
        level = np.where(inside, np.where(field < 0.3, look.rim, look.inside), level)
        parts = [_near(random, middle, radius, 0.6, look.radius) for _ in range(look.balls)]
        level = np.where(inside & (_field(place, parts) > 0.12), look.grey, level)
        return self._marked(_speckled(level, place, (self.seed, self.number)), inside), inside

    def _shape(self) -> tuple[int, int]:
        """Rows and columns: 4:3, odd ones, 16:9, square, and upright."""
        size = self.size
        shapes = ((size, size * 4 // 3), (size - 1, size + 13), (size * 9 // 10, size * 8 // 5), (size, size))
        return (*shapes, (size + 5, size - 4))[(self.number - 1) % 5]

    def _marked(self, grey: Picture, inside: NDArray[np.bool_]) -> Picture:
        """With what the device burns in: its mark at the top left, a scale at the right, and some callipers."""
        edge = max(2, len(grey) // 24)
        grey[edge : 2 * edge, edge : 3 * edge] = 235
        grey[:: edge * 2, -2:] = 200
        if self.number % 6 == 0:
            rows, columns = np.nonzero(inside)
            for row in (rows[0], rows[-1]):
                column = columns[rows == row][0]
                grey[row, max(0, column - 2) : column + 3] = grey[max(0, row - 2) : row + 3, column] = 240
        return grey

    def _coloured(self, grey: Picture, inside: NDArray[np.bool_]) -> Picture:
        """As it is stored: three channels but for one picture; CEUS is amber, and some show flow in red and blue."""
        if self.contrast:
            return np.stack([grey, grey // 4 * 3, grey // 3], axis=2)
        if self.number == _GREY:
            return grey
        picture = np.stack([grey] * 3, axis=2)
        if self.number % 7 == _DOPPLER:
            flow = np.zeros_like(inside)
            rows, columns = np.nonzero(inside)
            flow[rows[0] : rows[0] + 6, columns[0] : columns[0] + 9] = True
            picture[flow] = (190, 40, 20)
            picture[np.roll(flow, 7, axis=0)] = (20, 50, 200)
        return picture


def _between(random: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(random.random())


def _near(random: np.random.Generator, middle: tuple[float, float], radius: float, far: float, size: float) -> Ball:
    """A ball of about ``size`` radii, at most ``far`` radii off the middle along each axis."""
    y, x = (at + _between(random, -far, far) * radius for at in middle)
    return y, x, radius * size * _between(random, 0.8, 1.2)


def _vessel(random: np.random.Generator, middle: tuple[float, float]) -> Ball:
    """A dark ball on the other side of the picture."""
    return _between(random, 0.35, 0.6), (0.75 if middle[1] < 0 else -0.75), _between(random, 0.10, 0.16)


def _field(place: tuple[NDArray[np.float64], NDArray[np.float64]], balls: Sequence[Ball]) -> NDArray[np.float64]:
    """How far inside balls that melt into one another each pixel is."""
    (y, x), field = place, np.zeros((place[0].shape[0], place[1].shape[1]))
    for row, column, radius in balls:
        near = 1 - ((y - row) * (y - row) + (x - column) * (x - column)) / (radius * radius)
        field += np.maximum(near, 0) ** 2
    return field


def _speckled(
    level: NDArray[np.float64], place: tuple[NDArray[np.float64], NDArray[np.float64]], seed: tuple[int, ...]
) -> Picture:
    """Grey levels with the grain of ultrasound, wider than high; black beside the sector that the probe sees."""
    height, width = level.shape
    fine = phantoms.noise((height, width), (*seed, 1))
    coarse = phantoms.noise((-(-height // 2), -(-width // 3)), (*seed, 2)).repeat(2, axis=0).repeat(3, axis=1)
    grain = 100 + (2 * coarse[:height, :width] + fine).astype(np.int64) // 2
    grey: Picture = np.clip(level.astype(np.int64) * grain // 100 + fine // 6, 0, 255).astype(np.uint8)
    y, x = place
    beside = (np.abs(x) > 0.75 * (y + 1.7)) | (x * x + (y + 1.7) * (y + 1.7) > 7.0)
    grey[beside] = 0
    return grey


def _write_lists(root: Path, scans: Sequence[_Scan], *, classes: bool) -> None:
    """train.txt with LF; val.txt with CRLF, trailing blanks and an empty line; class lists with two blanks."""
    scans = sorted(scans, key=lambda scan: str(scan.number))
    parts = {"train": [one for one in scans if one.number % 3], "val": [one for one in scans if one.number % 3 == 0]}
    for name, part in parts.items():
        end = "\n" if name == "train" else "  \r\n"
        text = "".join(f"{scan.number}{end}" for scan in part) + "\r\n" * (name == "val")
        files.write_atomic(root / f"{name}.txt", text.encode())
        if classes:
            text = "".join(f"{scan.number}.JPG  {scan.kind}{end[-2:].strip(' ')}" for scan in part)
            files.write_atomic(root / f"{name}_cls.txt", text.encode())


def _third_value(scan: _Scan) -> None:
    mask = images.read_png(scan.mask("_binary"))
    mask[:4, :4] = 7
    files.write_atomic(scan.mask("_binary"), images.encode_png(mask, level=images.MASK_LEVEL))


def _smaller(scan: _Scan) -> None:
    for kind in ("", "_binary", "_binary_binary"):
        mask = images.read_png(scan.mask(kind))
        files.write_atomic(scan.mask(kind), images.encode_png(mask[1:], level=images.MASK_LEVEL))


def _other_colours(scan: _Scan) -> None:
    """Only the annotation in colours, and in colours of no class."""
    mask = images.read_png(scan.mask(""))
    mask[mask.any(axis=2)] = (200, 10, 90)
    files.write_atomic(scan.mask(""), images.encode_png(mask, level=images.MASK_LEVEL))
    _remove(scan, "_binary", "_binary_binary")


def _as_jpeg(scan: _Scan) -> None:
    mask = images.read_png(scan.mask("_binary_binary"))
    files.write_atomic(scan.mask("_binary"), jpeg.encode(mask))


def _remove(scan: _Scan, *kinds: str) -> None:
    for kind in kinds:
        scan.mask(kind).unlink()


def _twice(scan: _Scan) -> None:
    """7.JPG and 7.jpeg; 7.jpg would do as well, but for file systems that do not tell capitals."""
    grey, _ = scan.paint()
    files.write_atomic(scan.image.with_suffix(".jpeg"), jpeg.encode(grey[::-1]))


def _gone(scan: _Scan) -> None:
    scan.image.unlink()
    _remove(scan, "", "_binary", "_binary_binary")


FAULTS: Mapping[str, Callable[[_Scan], object]] = {
    "empty_file": lambda scan: files.write_atomic(scan.image, b""),
    "damaged_image": lambda scan: files.write_atomic(scan.image, scan.image.read_bytes()[:-900]),
    "missing_mask": lambda scan: _remove(scan, "", "_binary", "_binary_binary"),
    "missing_image": lambda scan: scan.image.unlink(),
    "listed_missing": _gone,
    "duplicate_stem": _twice,
    "size_mismatch": _smaller,
    "label_values": _third_value,
    "unknown_colour": _other_colours,
    "jpeg_mask": _as_jpeg,
}
"""What can be wrong with a picture: the code under which it is quarantined, and how that is done to it."""
