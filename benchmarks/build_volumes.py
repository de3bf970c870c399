"""How fast CT volumes become image/mask pairs: against the seed's algorithm, the floor, and two workers.

Run with ``python benchmarks/build_volumes.py [ROUNDS]`` (5). Three sides work on the same files, each in a fresh
process, in turn, and only their work is timed, not their imports:

* ``build``: discover, read, check, window, write, commit and merge one case; ``worker`` is the part of it that a
  worker does, from being handed the case to its fragment.
* ``seed``: the published algorithm without its augmentation (``seeds.py``), which writes JPEG.
* ``floor``: what cannot be left out: read, hash and decompress every file to its end (of a series: decode the slices
  that are written), encode the same pairs as PNG in the same way, and write them. The pairs are at hand already:
  it need not even window.

A sample of what it prints is in docs/benchmarks.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ct
import measure
import seeds
import sides as ours
from ct import Scene
from measure import Took, each, judged, mid, ratio

ROUNDS = 5
SCENES = (
    Scene("lung-tumor", 26),
    Scene("lung-tumor", 240),
    Scene("lung-tumor", 26, axes="PSR"),
    Scene("pancreas", 26),
)
SMALL, CASES, WORKERS = Scene("lung-tumor", 7, slices=60), 24, 2
SEED, FLOOR, SPEEDUP, MEMORY = 3.0, 0.85, 1.7, 1.3


def seed(source: str, raw: Path, out: Path) -> None:
    """The published algorithm."""
    seeds.imports()
    measure.report(lambda: {"lung-tumor": seeds.lung, "pancreas": seeds.pancreas}[source](raw, out))


def floor(raw: Path, built: Path, out: Path) -> None:
    """The least that any program must do that writes the pairs of ``built``."""
    from imagemask import images, pool

    pool.settle()
    pairs = [
        (out / path.relative_to(built), images.read_png(path), level)
        for folder, level in (("images", images.IMAGE_LEVEL), ("masks", images.MASK_LEVEL))
        for path in sorted((built / folder).iterdir())
    ]
    inputs = sorted(path for path in raw.rglob("*") if path.is_file())
    kept = {int(path.stem.rpartition("-")[2]) for path, *_ in pairs}

    def work() -> None:
        for path in inputs:
            _take_in(path, kept)
        for folder in ("images", "masks"):
            (out / folder).mkdir(parents=True)
        for path, pixels, level in pairs:
            measure.put(path, images.encode_png(pixels, level=level))

    measure.report(work)


def _take_in(path: Path, kept: set[int]) -> None:
    """Hash a file, and decompress it, or decode its pixels where its slice is written. Nothing is kept."""
    import numpy as np
    from isal import igzip

    from imagemask import files

    files.sha256(path)
    if path.suffix == ".gz":
        piece = bytearray(1 << 19)
        with igzip.open(path) as file:
            while file._buffer.readinto(piece):
                pass
    elif int(path.stem.removeprefix("1-")) - 1 in kept:
        np.fromfile(path, np.int16, offset=path.stat().st_size - 2 * ct.SIDE * ct.SIDE)


def compare(scene: Scene, folder: Path, rounds: int) -> None:
    """Print the lines of one scene."""
    raw, built, out = folder / "raw", folder / "built", folder / "out"
    scene.write(raw)
    measure.once(__file__, ("build", scene.source, raw, built))
    sides = {
        "seed": ("seed", scene.source, raw, out),
        "build": ("build", scene.source, raw, out),
        "floor": ("floor", raw, built, out),
    }
    if scene.axes != "LAS":  # the seed takes any third axis for the slices
        del sides["seed"]
    took = measure.in_turn(__file__, sides, rounds=rounds, after=lambda: shutil.rmtree(out))
    print(f"{scene.name} ({scene.mib:.0f} MiB)")
    for side, rounds_of in took.items():
        _print_side(side, rounds_of)
    ours = took["build"]
    if "seed" in took:
        print(_against_seed(scene, ratio(each(took["seed"]), each(ours))))
    print(judged("speed of the worker against the floor", ratio(each(took["floor"]), each(ours, "worker")), FLOOR))
    print(judged("peak memory against the uncompressed case", mid(ours, "memory") / scene.mib, MEMORY, least=False))


def _print_side(side: str, took: Sequence[Took]) -> None:
    apart = f"   {mid(took, 'worker'):6.3f} s in the worker" if "worker" in took[0] else ""
    seconds, memory, process = (mid(took, name) for name in ("seconds", "memory", "process"))
    print(f"    {side:6}{seconds:7.3f} s   {memory:6.0f} MiB   {process:5.2f} s a process{apart}")


def _against_seed(scene: Scene, ratio: float) -> str:
    what = "speed of a build against the seed's algorithm"
    return judged(what, ratio, SEED) if scene.outlined < scene.slices else measure.line(what, ratio)


def side_by_side(folder: Path, rounds: int) -> None:
    """Print the lines of one worker against two."""
    raw, out = folder / "raw", folder / "out"
    ct.lungs(raw, cases=CASES, scene=SMALL)
    sides = measure.crews(WORKERS, "crew", raw, out)
    took = measure.in_turn(__file__, sides, rounds=rounds, after=lambda: shutil.rmtree(out))
    print(f"{CASES} cases of {SMALL.slices} slices, {SMALL.outlined} of them outlined")
    measure.print_crews(took, goal=SPEEDUP)


def main(rounds: int) -> None:
    """Print all comparisons."""
    print(f"{measure.machine()}; {rounds} rounds in turn, medians")
    for scene in SCENES:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            compare(scene, Path(folder), rounds)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        side_by_side(Path(folder), rounds)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build", source, raw, out]:
            ours.build(source, Path(raw), Path(out))
        case ["seed", source, raw, out]:
            seed(source, Path(raw), Path(out))
        case ["floor", raw, built, out]:
            floor(Path(raw), Path(built), Path(out))
        case ["crew", raw, out, size]:
            ours.crew(SMALL.source, Path(raw), Path(out), size)
        case given:
            main(int(given[0]) if given else ROUNDS)
