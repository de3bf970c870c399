"""How many pairs of 512x512 ``verify`` checks in a second, on one core and on two.

Run with ``python benchmarks/verify_pairs.py [ROUNDS]`` (5). The dataset is built of phantoms with noise, every slice
outlined: 960 pairs. Each round is a fresh process; imports are not timed, starting the second worker is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ct
import measure
from ct import Scene
from measure import judged, mid

ROUNDS, CASES = 5, 4
SCENE = Scene("lung-tumor", 240)
PAIRS_A_SECOND = 250.0


def build(raw: Path, out: Path) -> None:
    """The dataset that is verified."""
    from imagemask import build as library

    job = library.prepare("lung-tumor", raw=raw, out=out, recipe={}, options={})
    measure.report(lambda: library.run(job, library.How(), started=_ignore, progress=_ignore) and None)


def check(dataset: Path, workers: int, *, fast: bool) -> None:
    """One process that verifies."""
    import pandas as pd  # noqa: F401

    from imagemask import images, pool, split, verify  # noqa: F401

    def work() -> None:
        report = verify.verify(dataset, workers=workers, fast=fast)
        assert report.pairs == CASES * SCENE.slices
        assert not report.findings

    measure.report(work)


def _ignore(_: object) -> None:
    """Take no notice of progress."""


def main(rounds: int) -> None:
    """Print a line a way."""
    print(f"{measure.machine()}; {rounds} rounds in turn, medians")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        raw, dataset = Path(folder, "raw"), Path(folder, "dataset")
        ct.lungs(raw, cases=CASES, scene=SCENE, bodies=2)
        measure.once(__file__, ("build", raw, dataset))
        sides = {
            "one core": ("check", dataset, 1),
            "two cores": ("check", dataset, 2),
            "one core, --fast": ("fast", dataset, 1),
        }
        took = measure.in_turn(__file__, sides, rounds=rounds)
    pairs = CASES * SCENE.slices
    for side, one in took.items():
        seconds, memory = mid(one), mid(one, "memory")
        print(f"    {side:18}{seconds:7.3f} s   {pairs / seconds:8.0f} pairs/s   {memory:5.0f} MiB")
    print(judged("pairs per second on one core", pairs / mid(took["one core"]), PAIRS_A_SECOND, unit=""))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build", raw, out]:
            build(Path(raw), Path(out))
        case ["check" | "fast" as how, dataset, workers]:
            check(Path(dataset), int(workers), fast=how == "fast")
        case given:
            main(int(given[0]) if given else ROUNDS)
