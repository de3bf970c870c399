"""How long a merge, a split and laying out take on a large manifest, and the memory at their peak.

Run with ``python benchmarks/split_manifest.py [ROWS]`` (1,000,000). Each task runs in a process of its own, over a
manifest of 50 rows a patient whose hashes all differ, as those of DICOM slices do: the worst case for memory.
"""

import hashlib
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 1_000_000
ROWS_A_PATIENT = 50
LAID_OUT = 20_000  # pairs


def make(dataset: Path, rows: int) -> None:
    """A dataset folder as a build leaves it before it merges, without pictures: the plan, and a fragment a patient."""
    from imagemask import registry
    from imagemask.build import fragments
    from imagemask.types import Recipe

    for folder in ("images", "masks", fragments.FOLDER):
        (dataset / folder).mkdir(parents=True)
    cases = [f"patient_{number:06d}" for number in range(rows // ROWS_A_PATIENT)]
    recipe = Recipe(generator="lung-tumor", name="bench")
    fragments.write_plan(dataset, fragments.Plan(recipe, registry.source("lung-tumor"), tuple(cases)))
    for number, case in enumerate(cases):
        lines = [_row(case, index, number * index % 7 * 11) for index in range(ROWS_A_PATIENT)]
        counts = {"read": len(lines), "kept": len(lines)}
        fragments.write(dataset, fragments.Fragment(case, "", "built", lines, [(1, 1)] * len(lines), **counts))


def _row(case: str, index: int, foreground: int) -> dict[str, object]:
    from imagemask import manifest
    from imagemask.types import Row

    key = f"{case}-{index:04d}"
    file, pair = (hashlib.sha256(f"{key}/{which}".encode()).hexdigest() for which in "ab")
    row = Row(
        key=key,
        dataset="bench",
        patient=case,
        group=case,
        case=case,
        slice=index,
        variant="",
        split="",
        fold="",
        category="",
        flags="",
        height=512,
        width=512,
        spacing_y=0.78125,
        spacing_x=0.78125,
        source_height=512,
        source_width=512,
        box="0 0 512 512",
        pad="0 0 0 0",
        foreground=foreground,
        classes="1" if foreground else "",
        source=f"{case}/1.2.840/{index:06d}.dcm",
        source_sha256=file,
        digest=pair,
    )
    return manifest.record(row)


def split(dataset: Path) -> None:
    """The command, laying out apart: read, draw, write split.csv and manifest.csv, stamp."""
    from imagemask.split import Request, split

    split(dataset, Request(layout="none", resplit=True))


def split_again(dataset: Path) -> None:
    """The command where nothing is left to do."""
    from imagemask.split import Request, split

    split(dataset, Request())


def merge(dataset: Path) -> None:
    """The command: read every fragment, apply split.csv where there is one, write manifest.csv and dataset.json."""
    from imagemask import build

    build.merge(dataset)


def lay_out(dataset: Path) -> None:
    """The three folders, of hard links, for a dataset that is split: two links a pair."""
    from imagemask import manifest
    from imagemask import split as splits

    splits.lay_out(dataset, manifest.read(dataset), "link", "train")


def measure(task: str, dataset: Path) -> dict[str, float]:
    """Seconds and peak memory of a task, in a process of its own, the imports timed apart."""
    done = subprocess.run([sys.executable, __file__, task, str(dataset)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _measured(task: str, dataset: Path) -> None:
    for module in ("pandas", "imagemask.split", "imagemask.build"):
        importlib.import_module(module)
    begin = time.perf_counter()
    globals()[task](dataset)
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))


def main(rows: int) -> None:
    """Print a line a task."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        make(large, rows)
        for task in ("merge", "split", "split_again", "merge"):
            took = measure(task, large)
            print(f"{task:12} {rows:>9,} rows   {took['seconds']:6.2f} s   {took['gb']:5.2f} GB at the peak")
        make(small, LAID_OUT)
        for kind in ("images", "masks"):
            for number in range(LAID_OUT):
                patient, index = divmod(number, ROWS_A_PATIENT)
                (small / kind / f"patient_{patient:06d}-{index:04d}.png").touch()
        measure("merge", small)
        measure("split", small)
        took = measure("lay_out", small)
        links = 2 * LAID_OUT
        print(f"{'lay_out':12} {links:>9,} links  {took['seconds']:6.2f} s   {links / took['seconds']:,.0f} links/s")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _measured(sys.argv[1], Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else ROWS)
