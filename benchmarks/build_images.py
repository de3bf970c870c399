"""How fast pictures become image/mask pairs: against the seeds' algorithms, the floor, and two workers.

Run with ``python benchmarks/build_images.py [ROUNDS]`` (5). Each side runs in a fresh process, in turn, and only its
work is timed, not its imports:

* ``build``: discover, read, check, resize, write, commit and merge; ``worker`` is the part of it that a worker does,
  from being handed the first case to the last fragment.
* ``seed``: the published algorithms without their augmentation (``picture_seeds.py``), which write JPEG.
* ``floor``: what cannot be left out: read every file of the cases once, hash it and decode it, bring picture and mask
  to size by the same routine, encode them as PNG in the same way, and write them.

A build and the floor have one OpenCV thread, as a worker of a pool has; the seeds have what they take. Processor time
counts what a build's worker does in a thread beside: with as many workers as cores, nothing is done beside.
What it printed is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import picture_seeds
import pictures
import sides
from measure import Took, each, judged, line, mid, ratio

ROUNDS, WORKERS = 5, 2
SEED, FLOOR, SPEEDUP = 1.0, 0.85, 1.7
WRITERS: dict[str, Callable[[Path, int], None]] = {
    "cervical-cancer": pictures.cervical,
    "ovarian-tumor": pictures.ovarian,
}
SEEDS: dict[str, Callable[[Path, Path], int]] = {
    "cells": picture_seeds.cervical,
    "clusters": picture_seeds.cervical_merged,
    "scans": picture_seeds.ovarian,
}


@dataclass(frozen=True)
class Scene:
    """``images`` pictures of a source, built at ``size`` (None: as they are); ``seed`` writes the same kind of pair."""

    source: str
    images: int
    size: int | None = None
    per_cell: bool = False
    seed: str = ""

    @property
    def name(self) -> str:
        """As in the table."""
        size = f"--size {self.size}" if self.size else "native size"
        return f"{self.source}, {self.images} images, {size}{', --per-cell' if self.per_cell else ''}"

    @property
    def asked(self) -> str:
        """Recipe and options, as JSON."""
        options = {"per_cell": True} if self.per_cell else {}
        return json.dumps({"recipe": {"size": self.size}, "options": options})


SCENES = (
    Scene("cervical-cancer", 40, size=256, seed="clusters"),
    Scene("cervical-cancer", 40, size=256, seed="cells", per_cell=True),
    Scene("cervical-cancer", 12),
    Scene("ovarian-tumor", 60, size=256, seed="scans"),
    Scene("ovarian-tumor", 60),
)
CREWS = (
    Scene("cervical-cancer", 60, size=256),
    Scene("cervical-cancer", 20),
    Scene("ovarian-tumor", 240, size=256),
    Scene("ovarian-tumor", 120),
)


def seed(which: str, raw: Path, out: Path) -> None:
    """The published algorithm."""
    picture_seeds.imports()
    measure.report(lambda: {"pairs": SEEDS[which](raw, out)})


def floor(source: str, raw: Path, out: Path, asked: str) -> None:
    """The least that any program must do that writes the pairs of these cases."""
    from imagemask import build as library

    sides.alone(source)
    job = sides.as_asked(source, raw, out, asked)
    cases = library.discover(job)

    def work() -> dict[str, float]:
        for folder in ("images", "masks"):
            (out / folder).mkdir(parents=True)
        for case in cases:
            image, mask = _taken_in((*case.images, *case.masks))
            _put_out(image, mask, out, f"{case.id}.png", job.recipe.size)
        return {"pairs": len(cases)}

    measure.report(work)


def _taken_in(paths: Sequence[Path]) -> tuple[Any, Any]:
    """The picture (BGR: the order costs nothing) and the mask (0 and 1) of a case, every file read once and hashed."""
    import hashlib

    import cv2
    import numpy as np

    pixels, contours = [], []
    for path in paths:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        if path.suffix != ".dat":
            pixels.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
        elif "_cyt" in path.name:
            contours.append(np.array(data.replace(b",", b" ").split(), np.float64).reshape(-1, 2))
    if not contours:  # of several annotations that of 0 and 1
        return pixels[0], next(one for one in pixels[1:] if one.ndim == 2)
    mask = np.zeros(pixels[0].shape[:2], np.uint8)
    for contour in contours:
        cv2.fillPoly(mask, [np.rint(contour).astype(np.int32)], 1)
    return pixels[0], mask


def _put_out(image: Any, mask: Any, out: Path, name: str, size: int | None) -> None:
    import numpy as np

    from imagemask import images, resample

    if size is not None:
        longer = max(mask.shape)
        height, width = (round(side * size / longer) for side in mask.shape)
        top, left = (size - height) // 2, (size - width) // 2
        framed = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
        for frame, one, kernel in zip(framed, (image, mask), (resample.resize, resample.resize_labels), strict=True):
            frame[top : top + height, left : left + width] = kernel(one, height, width)
        image, mask = framed
    measure.put(out / "images" / name, images.encode_png(image, level=images.IMAGE_LEVEL))
    measure.put(out / "masks" / name, images.encode_png(mask * np.uint8(255), level=images.MASK_LEVEL))


def compare(scene: Scene, folder: Path, rounds: int) -> None:
    """Print the lines of one scene."""
    raw, out = folder / "raw", folder / "out"
    WRITERS[scene.source](raw, scene.images)
    children: dict[str, tuple[object, ...]] = {"build": ("build", scene.source, raw, out, scene.asked)}
    if scene.seed:
        children["seed"] = ("seed", scene.seed, raw, out)
    if not scene.per_cell:  # what must be encoded once for all cells of an image is open to debate
        children["floor"] = ("floor", scene.source, raw, out, scene.asked)
    took = measure.in_turn(__file__, children, rounds=rounds, after=lambda: shutil.rmtree(out))
    print(scene.name)
    for side, rounds_of in took.items():
        _print_side(side, rounds_of)
    for text in _verdicts(took):
        print(text)


def _print_side(side: str, took: Sequence[Took]) -> None:
    pairs = mid(took, "pairs")
    each_pair, processor = (1000 * mid(took, name) / pairs for name in ("seconds", "processor"))
    apart = f"   {1000 * mid(took, 'worker') / pairs:7.2f} ms in the worker" if "worker" in took[0] else ""
    print(
        f"    {side:6}{mid(took):7.3f} s   {pairs:4.0f} pairs, each{each_pair:7.2f} ms, {processor:7.2f} ms busy{apart}"
    )


def _verdicts(took: dict[str, list[Took]]) -> Iterator[str]:
    if "seed" in took:
        what = "speed of a build against the seed's, a written pair"
        yield judged(what, ratio(_a_pair(took["seed"]), _a_pair(took["build"])), SEED)
    if "seed" in took and "floor" in took:
        yield line("speed of the floor against the seed's", ratio(_a_pair(took["seed"]), _a_pair(took["floor"])))
    if "floor" in took:
        what = "speed of the worker against the floor"
        yield judged(what, ratio(each(took["floor"]), each(took["build"], "worker")), FLOOR)
        busy = ratio(each(took["floor"], "processor"), each(took["build"], "busy"))
        yield line("the same in processor time, of all threads", busy)


def _a_pair(took: Sequence[Took]) -> list[float]:
    return [one["seconds"] / one["pairs"] for one in took]


def side_by_side(scene: Scene, folder: Path, rounds: int) -> None:
    """Print the lines of one worker against two."""
    raw, out = folder / "raw", folder / "out"
    WRITERS[scene.source](raw, scene.images)
    children = measure.crews(WORKERS, "crew", scene.source, raw, out, end=(scene.asked,))
    took = measure.in_turn(__file__, children, rounds=rounds, after=lambda: shutil.rmtree(out))
    print(scene.name)
    measure.print_crews(took, goal=SPEEDUP)


def main(rounds: int) -> None:
    """Print all comparisons."""
    print(f"{measure.machine()}; {rounds} rounds in turn, medians")
    for scene in SCENES:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            compare(scene, Path(folder), rounds)
    for scene in CREWS:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            side_by_side(scene, Path(folder), rounds)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build", source, raw, out, asked]:
            sides.build(source, Path(raw), Path(out), asked)
        case ["seed", which, raw, out]:
            seed(which, Path(raw), Path(out))
        case ["floor", source, raw, out, asked]:
            floor(source, Path(raw), Path(out), asked)
        case ["crew", source, raw, out, size, asked]:
            sides.crew(source, Path(raw), Path(out), size, asked)
        case given:
            main(int(given[0]) if given else ROUNDS)
