"""How often the audit's comparison of splits (AU403, AU404, AU405) is wrong, and how often it is right.

Run with ``python benchmarks/audit_splits.py [REAL]`` where REAL holds the published pairs (pancreas, cervical-cancer).
Printed is a Markdown table: of splits that ``imagemask split`` would draw, by one seed after another, in how many a
code is found; and in how many once the test set was altered: brighter, with larger lesions or with fewer, or of a
category of its own.

The pairs are looked at once, and whole patients (groups where there are none) are drawn again and again. Made-up data
sets have patients whose lesions differ, larger ones in more slices: what a split that balances slices might favour.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from imagemask.audit import balance, looks, measures
from imagemask.audit.tree import COLUMNS, Tree, open_tree
from imagemask.split.balance import balance as draw
from imagemask.types import SPLITS

REAL = {"pancreas": r"(PANCREAS_\d+)", "cervical-cancer": r"_(\d+)\."}
PHANTOMS = ("lung-tumor", "pancreas", "cervical-cancer", "ovarian-tumor", "esophageal-cancer", "folder")
CODES = ("AU403", "AU404", "AU405")
DRAWS, MADE_UP, ALTERED = 200, 1200, 50

Pairs = tuple[Tree, pd.DataFrame]


def brighter(pairs: Pairs, test: np.ndarray, by: float) -> None:
    pairs[1].loc[test, list(measures.BLOCKS)] += by


def larger(pairs: Pairs, test: np.ndarray, by: float) -> None:
    pairs[1].loc[test, "foreground"] *= by


def emptied(pairs: Pairs, test: np.ndarray, by: float) -> None:
    pairs[1].loc[test & (np.random.default_rng(0).random(len(test)) < by), "foreground"] = 0


def renamed(pairs: Pairs, test: np.ndarray, by: str) -> None:
    pairs[0].frame.loc[:, "category"] = pairs[0].frame["category"].where(lambda told: told != "", "one")
    pairs[0].frame.loc[test, "category"] = by


ALTERATIONS: dict[str, tuple[str, Callable[[Pairs, np.ndarray, Any], None], Any]] = {
    "test set 20 grey levels brighter": ("AU405", brighter, 20),
    "test set 40 grey levels brighter": ("AU405", brighter, 40),
    "its lesions twice as large": ("AU404", larger, 2),
    "its lesions four times as large": ("AU404", larger, 4),
    "no lesion in half of its images": ("AU403", emptied, 0.5),
    "all of a category of its own": ("AU403", renamed, "another"),
}


def made_up(seed: int) -> Pairs:
    random = np.random.default_rng(seed)
    rows, seen = [], []
    for patient in range(int(random.integers(12, 80))):
        size, bright, contrast = random.normal(), random.normal(90, 15), 20 * math.exp(random.normal(0, 0.25))
        category = f"c{random.integers(4)}"
        for index in range(max(1, round(math.exp(size / 2) * 8 + random.normal()))):
            rows.append({"patient": f"p{patient:03d}", "slice": index, "category": category, "line": 0})
            lesion = math.exp(size - 6 + random.normal(0, 0.3)) if random.random() < 0.7 else 0.0
            blocks = bright + random.normal(0, 3) + random.normal(0, contrast, 16)
            seen.append({"foreground": lesion, **dict(zip(measures.BLOCKS, blocks, strict=True))})
    frame = pd.DataFrame([dict.fromkeys(COLUMNS, "") | row for row in rows])
    return Tree(Path(), frame, None, manifest=False), pd.DataFrame(seen)


def looked_at(folder: Path, patient: str | None = None) -> Pairs:
    tree, _ = open_tree(folder, patient)
    return tree, looks.look(tree).measures


def drawn(pairs: Pairs, seed: int) -> Pairs:
    """The pairs in a split that ``imagemask split`` would draw."""
    tree, seen = pairs
    level = "patient" if (tree.frame["patient"] != "").all() else "group"
    units = tree.frame[level]
    names = sorted(units.unique())
    weights = np.stack(
        [units.value_counts()[names], units[seen["foreground"] > 0].value_counts().reindex(names, fill_value=0)]
    )
    bins = draw(weights.T, (0.7, 0.15, 0.15), settled=np.full(len(names), -1), names=names, seed=seed)
    where = dict(zip(names, (SPLITS[place] for place in bins), strict=True))
    return replace(tree, frame=tree.frame.assign(split=units.map(where))), seen


def found(pairs: Pairs) -> set[str]:
    return {one.code for one in balance.compare(*pairs).findings}


def wrong(splits: Iterator[Pairs]) -> tuple[int, Counter[str]]:
    counts: Counter[str] = Counter()
    total = 0
    for one in splits:
        counts.update(found(one))
        total += 1
    return total, counts


def right(pairs: Pairs) -> Iterator[str]:
    """Of each alteration, the share of splits in which its code is found."""
    for code, alter, by in ALTERATIONS.values():
        hits = 0
        for seed in range(ALTERED):
            tree, seen = drawn(pairs, seed)
            altered = replace(tree, frame=tree.frame.copy()), seen.copy()
            alter(altered, (tree.frame["split"] == "test").to_numpy(), by)
            hits += code in found(altered)
        yield f"{hits / ALTERED:.0%}"


def sets(folder: Path, real: Path | None) -> Iterator[tuple[str, Pairs]]:
    for name in PHANTOMS:
        given = ("--patient", "(P[0-9]+)") if name == "folder" else ()
        for words in (("phantom", name), ("build", name, "--workers", "1", *given)):
            subprocess.run([sys.executable, "-m", "imagemask", *words], cwd=folder, check=True, capture_output=True)
        yield f"{name} phantom", looked_at(folder / "datasets" / name)
    for name, patient in REAL.items() if real else ():
        yield f"{name}, real", looked_at(real / name, patient)


def main() -> None:
    out = sys.stdout.write
    out(f"| data set | patients | {' | '.join(CODES)} | {' | '.join(ALTERATIONS)} |\n")
    out("|---|---|" + "---|" * (len(CODES) + len(ALTERATIONS)) + "\n")
    total, counts = wrong(drawn(made_up(seed), seed) for seed in range(MADE_UP))
    shares = [f"{counts[code] / total:.1%}" for code in CODES] + [""] * len(ALTERATIONS)
    out(f"| {total} made up | 12 to 79 | {' | '.join(shares)} |\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, pairs in sets(Path(folder), Path(sys.argv[1]) if len(sys.argv) > 1 else None):
            total, counts = wrong(drawn(pairs, seed) for seed in range(DRAWS))
            units = max(pairs[0].frame[level].nunique() for level in ("patient", "group"))
            shares = [f"{counts[code] / total:.1%}" for code in CODES]
            out(f"| {name} | {units} | {' | '.join([*shares, *right(pairs)])} |\n")


if __name__ == "__main__":
    main()
