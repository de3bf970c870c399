"""Writes a small folder of image/mask pairs: several pictures a patient, in any of the layouts that are guessed.

Pictures are planes of the synthetic chest in a lung window. Quirks that must build: a mask of 0 and 1 among those of 0
and 255, a colour picture, a name with spaces and accents, junk, and predictions beside the masks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagemask import files, images, phantoms

SOURCE = "folder"
LAYOUTS: Mapping[str, tuple[str, str]] = {
    "roles": ("images/{stem}.png", "masks/{stem}.png"),
    "splits": ("{split}/images/{stem}.png", "{split}/masks/{stem}.png"),
    "nnunet": ("imagesTr/{stem}_0000.png", "labelsTr/{stem}.png"),
    "beside": ("{stem}.png", "{stem}_mask.png"),
    "observers": ("{stem}.png", "{stem}_1stHO.png"),
}
"""Where an image and its mask lie, by the name of the layout."""
_SPLITS = ("train", "valid", "test")
_ODD_NAME = "{patient}_{plane:03} (café à côté)"
_LABELS = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".png"}

Picture = NDArray[np.uint8]


def write(raw: Path, *, patients: int, size: int, slices: int, seed: int, faults: bool) -> None:
    """Write ``patients`` times ``slices`` pairs of ``size`` x ``size`` pixels to ``images/`` and ``masks/`` in ``raw``.

    Raises UsageError for a folder that is not empty, or numbers out of range.
    """
    Tree(raw, "roles", size=size, slices=slices, seed=seed).write(patients, faults=faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A phantom in any of LAYOUTS."""

    raw: Path = field(kw_only=False)
    layout: str = field(kw_only=False)
    size: int
    slices: int
    seed: int

    def write(self, patients: int, *, faults: bool = False) -> None:
        """Write it. Raises UsageError for a folder that is not empty, or numbers out of range."""
        phantoms.begin(self.raw, patients=patients, size=self.size, slices=self.slices)
        ids = [self._pair(number, index) for number in range(patients) for index in range(self.slices)]
        self._junk()
        broken = self._broken() if faults else {}
        counts = (len(ids), len(ids))
        phantoms.finish(self.raw, SOURCE, ids=ids, sets=counts, faults=broken, patients=patients)

    def paths(self, number: int, index: int) -> tuple[Path, Path]:
        """Where image and mask of a patient's picture lie; both counted from 0."""
        fields = {"stem": _stem(number, index), "split": _SPLITS[number % 3]}
        image, mask = (self.raw / part.format(**fields) for part in LAYOUTS[self.layout])
        return image, mask

    def _id(self, number: int, index: int) -> str:
        return f"{_SPLITS[number % 3]}+" * (self.layout == "splits") + _stem(number, index)

    def _pair(self, number: int, index: int) -> str:
        """Write one pair; its case id."""
        body = _body(self.slices, self.size, (self.seed, number))
        image, mask = body.plane(index)
        small = self.layout == "nnunet" or (number, index) == (0, 2)  # 0 and 1, as its dataset.json says
        picture = _grey(image, colour=(number, index) == (1, 0))
        _save(self.paths(number, index), picture, mask * np.uint8(1 if small else 255))
        return self._id(number, index)

    def _junk(self) -> None:
        """What lies around in real folders and is neither image nor mask."""
        files.write_atomic(self.raw / ".DS_Store", b"\0\0\0\1Bud1")
        image, _ = self.paths(0, 0)
        files.write_atomic(image.with_name(f"._{image.name}"), phantoms.apple_double())
        blank = images.encode_png(np.zeros((self.size, self.size), np.uint8), level=images.MASK_LEVEL)
        if self.layout == "nnunet":
            files.write_atomic(self.raw / "dataset.json", json.dumps(_LABELS).encode())
        elif self.layout == "observers":
            files.write_atomic(self.raw / f"{_stem(0, 0)}_2ndHO.png", blank)
        elif self.layout != "beside":
            files.make_folder(self.raw / "predictions")
            files.write_atomic(self.raw / "predictions" / f"{_stem(0, 0)}.png", blank)

    def _broken(self) -> dict[str, str]:
        """One pair a fault, each of a patient of its own; {case id: code}."""
        broken = {}
        for number, (code, spoil) in enumerate(_FAULTS.items(), start=900):
            broken[self._pair(number, self.slices // 2)] = code  # a plane whose mask is not empty
            spoil(*self.paths(number, self.slices // 2))
        return broken


@lru_cache(maxsize=2)
def _body(slices: int, size: int, seed: tuple[int, ...]) -> phantoms.Body:
    return phantoms.chest((slices, size, size), seed=seed, planes=max(1, slices * 2 // 3))


def _stem(number: int, index: int) -> str:
    patient = f"P{number + 1:03}"
    return (_ODD_NAME if (number, index) == (0, 1) else "{patient}_{plane:03}").format(patient=patient, plane=index + 1)


def _grey(plane: NDArray[np.int16], *, colour: bool = False) -> Picture:
    """HU as 8 bits in the lung window, -1350 to 150, in whole numbers; HxWx3 where ``colour`` is asked for."""
    grey = (np.clip(plane.astype(np.int32) + 1350, 0, 1500) * 17 // 100).astype(np.uint8)
    return np.stack([grey, grey // 2, grey // 3], axis=2) if colour else grey


def _save(paths: tuple[Path, Path], image: Picture, mask: Picture) -> None:
    for path, picture, level in zip(paths, (image, mask), (images.IMAGE_LEVEL, images.MASK_LEVEL), strict=True):
        files.make_folder(path.parent)
        files.write_atomic(path, images.encode_png(picture, level=level))


def _truncate(image: Path, _mask: Path) -> None:
    files.write_atomic(image, image.read_bytes()[:-40])


def _third_value(_image: Path, mask: Path) -> None:
    pixels = images.read_png(mask)
    pixels[0, 0] = 7
    files.write_atomic(mask, images.encode_png(pixels, level=images.MASK_LEVEL))


def _smaller(_image: Path, mask: Path) -> None:
    files.write_atomic(mask, images.encode_png(images.read_png(mask)[1:], level=images.MASK_LEVEL))


def _twice(image: Path, _mask: Path) -> None:
    files.write_atomic(image.with_suffix(".tif"), image.read_bytes())


def _as_jpeg(_image: Path, mask: Path) -> None:
    files.write_atomic(mask, flat_jpeg(*images.read_png(mask).shape))


_FAULTS: Mapping[str, Callable[[Path, Path], object]] = {
    "empty_file": lambda image, _mask: files.write_atomic(image, b""),
    "damaged_image": _truncate,
    "missing_mask": lambda _image, mask: mask.unlink(),
    "missing_image": lambda image, _mask: image.unlink(),
    "duplicate_stem": _twice,
    "size_mismatch": _smaller,
    "label_values": _third_value,
    "jpeg_mask": _as_jpeg,
}


def flat_jpeg(height: int, width: int) -> bytes:
    """A grey picture, 128 throughout, as a baseline JPEG (ITU T.81): no encoder's version can change a byte of it.

    Each block of 8 x 8 pixels is two bits: no difference from the block before, and the end of the block.
    """
    table = (1).to_bytes() + bytes(15) + bytes(1)  # one code, of one bit, for the symbol 0
    blocks = -(-height // 8) * -(-width // 8)
    parts = {
        b"\xdb": bytes(1) + bytes([16]) * 64,
        b"\xc0": b"\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x01\x01\x11\x00",
        b"\xc4": b"\x00" + table + b"\x10" + table,
        b"\xda": b"\x01\x01\x00\x00\x3f\x00",
    }
    head = b"".join(b"\xff" + name + (len(body) + 2).to_bytes(2) + body for name, body in parts.items())
    return b"\xff\xd8" + head + bytes(-(-blocks // 4)) + b"\xff\xd9"
