"""How often each code of the audit about pictures and masks is wrong, and how often it is right.

Run with ``python benchmarks/audit_codes.py REAL`` where REAL holds the published pairs (pancreas, cervical-cancer,
lung-tumor, esophageal-cancer, volumes). Phantoms of all sources are built in a temporary folder. Printed is a
Markdown table: of pairs as they are, in how many a code is found; of pairs with an injected defect, in how many.

A defect of single pairs is injected into every tenth pair, ten times over, so that each pair has it once among nine
that do not. A defect of a whole data set (shifted masks, no window) is injected into all of it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from audit_defects import MISPLACED, OF_PAIRS, Defect
from measure import command

from imagemask import images
from imagemask.audit import pictures
from imagemask.audit.tree import Tree, open_tree

PATIENTS = {
    "pancreas": r"(PANCREAS_\d+)",
    "lung-tumor": r"^(\d+)_",
    "cervical-cancer": r"_(\d+)\.",
}
PHANTOMS: dict[str, tuple[str, ...]] = {
    "lung-tumor": ("--flip", "h", "--rotate", "5", "--keep-empty"),
    "pancreas": ("--flip", "h", "--rotate", "5", "--keep-empty"),
    "cervical-cancer": ("--per-cell",),
    "ovarian-tumor": ("--size", "128"),
    "esophageal-cancer": ("--keep-empty",),
    "folder": ("--flip", "h"),
}
NEEDED = {"folder": ("--patient", r"(P\d+)", "--licence", "CC0-1.0", "--citation", "a phantom")}
WINDOWS = ("lung", "mediastinum", "soft-tissue", "pancreas", "bone")
HU = "0:255"  # what the seeds' generators do: no window, and whatever does not fit into a byte is cut off
SEED = 7
"""Of the phantoms. Thresholds were set on those of seed 0; the real pairs are the same that they were set on."""
ROUNDS = 10
DIRECTIONS, DRAWN, DRAWN_PATIENTS = 4, 5, 20
"""Of a set: directions in which all masks are moved, data sets drawn for each, patients of one."""

TRUE = {
    ("pancreas", "AU302"): "its masks are JPEG",
    ("cervical-cancer", "AU302"): "its masks are JPEG",
    ("pancreas", "AU202"): "its images are HU cut off at 0 and 255",
    ("lung-tumor", "AU202"): "its images are HU cut off at 0 and 255",
    ("ovarian-tumor phantom", "AU208"): "one of its images is grey, the others are RGB",
    ("ovarian-tumor phantom --size 128", "AU208"): "one of its images is grey, the others are RGB",
}
"""Findings on pairs as they are that are right."""


@dataclass
class Pairs:
    """A data set: its tree, its pairs decoded, and what was measured of them as they are."""

    name: str
    tree: Tree
    pairs: list[tuple[np.ndarray, np.ndarray | None]]
    clean: pd.DataFrame
    masks: bool = True  # False: its masks are those of another set here, and are not counted twice

    def sharp(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The pairs with masks of 0 and 255: what JPEG did to them is no defect of ours."""
        for image, mask in self.pairs:
            yield image, np.where(mask > mask.max(initial=0) // 2, 255, 0).astype(np.uint8)


# ---- the pairs -------------------------------------------------------------------------------------------------------


def opened(name: str, folder: Path, patient: str | None = None) -> Pairs:
    tree, _ = open_tree(folder, patient)
    return of_tree(name, tree)


def of_tree(name: str, tree: Tree) -> Pairs:
    paths = zip(tree.frame["image"], tree.frame["mask"], strict=True)
    pairs = [
        (images.read_image(tree.folder / image), images.read_mask(tree.folder / mask) if mask else None)
        for image, mask in paths
    ]
    return Pairs(name, tree, pairs, measured(pairs, tree.values))


def measured(pairs: list[tuple[np.ndarray, np.ndarray | None]], values: tuple[int, ...] | None) -> pd.DataFrame:
    return pd.DataFrame([pictures.measure(image, mask, values) for image, mask in pairs], dtype=np.float64)


def real(folder: Path) -> Iterator[Pairs]:
    for name, patient in PATIENTS.items():
        yield opened(name, folder / name, patient)
    frames = [folder / "esophageal-cancer" / f"{name}.png" for name in (1, 7)]
    tree = Tree(folder / "esophageal-cancer", frame_of([(path.name, "") for path in frames]), None, manifest=False)
    yield of_tree("esophageal-cancer", tree)


def frame_of(files: list[tuple[str, str]]) -> pd.DataFrame:
    blank = {"split": "", "patient": "", "group": "", "case": "", "variant": "", "category": ""}
    rows = [{"key": image, "image": image, "mask": mask, "slice": -1, "line": 0, **blank} for image, mask in files]
    return pd.DataFrame(rows)


def phantoms(folder: Path) -> Iterator[Pairs]:
    for name, options in PHANTOMS.items():
        command("phantom", name, "--seed", SEED, cwd=folder)
        for given in ((), options):
            said = " ".join((name, "phantom", *given))
            needed = NEEDED.get(name, ())
            command("build", name, "--workers", 1, "--out", folder / said, *needed, *given, cwd=folder)
            yield opened(said, folder / said)


def windowed(folder: Path, raws: dict[str, Path], windows: tuple[str, ...]) -> Iterator[Pairs]:
    """CT through windows, of phantoms and of the real volumes."""
    for said, raw in raws.items():
        for window in windows:
            name, out = said.split()[0], folder / f"{said} {window}".replace(":", "-")
            command("build", name, "--raw", raw, "--window", window, "--out", out, "--workers", 1, cwd=folder)
            yield replace(opened(f"{said} {window}", out), masks=False)


# ---- counting --------------------------------------------------------------------------------------------------------


def codes(tree: Tree, frame: pd.DataFrame) -> dict[str, set[str]]:
    """Code: the images or masks it is about, one a pair."""
    of: dict[str, set[str]] = {}
    for finding in pictures.findings(tree, frame):
        of.setdefault(finding.code, set()).update(Path(file).stem for file in finding.files)
    return of


def recall(one: Pairs, code: str, defect: Defect, folder: Path) -> tuple[int, int]:
    """Pairs with the defect in which the code was found, of how many."""
    random = np.random.default_rng(0)
    sharp = list(one.sharp())
    broken = [defect(image, mask, random) for image, mask in sharp]
    changed = [not same(pair, other) for pair, other in zip(sharp, broken, strict=True)]
    values = (255,) if code == "AU303" else None
    before, after = measured(sharp, values), measured(broken, values)
    tree = Tree(folder / "none", one.tree.frame, values, manifest=False)
    stems = [Path(file).stem for file in one.tree.frame["image"]]
    found = total = 0
    for turn in range(ROUNDS):
        rows = [row for row in range(turn, len(stems), ROUNDS) if changed[row]]
        frame = before.copy()
        frame.iloc[rows] = after.iloc[rows]
        if code == "AU302":
            tree = on_disk(one.tree, broken, rows, folder)
        seen = codes(tree, frame).get(code, set())
        found += sum(stems[row] in seen for row in rows)
        total += len(rows)
    return found, total


def same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def on_disk(tree: Tree, broken: list[tuple[np.ndarray, np.ndarray]], rows: list[int], folder: Path) -> Tree:
    """The tree with the masks of ``rows`` as JPEG, whatever they are called, and the others as PNG."""
    frame = tree.frame.assign(mask=[f"{Path(image).stem}.png" for image in tree.frame["image"]])
    for row, name in enumerate(frame["mask"]):
        encoded = cv2.imencode(".jpg" if row in rows else ".png", broken[row][1])[1]
        (folder / name).write_bytes(encoded.tobytes())
    return Tree(folder, frame, None, manifest=False)


def as_they_are(sets: list[Pairs]) -> tuple[dict[str, str], list[str], set[str]]:
    """A cell a code: in how many pairs as they are it was found, real and phantom, but where that is right; what was
    found where; and the codes that are above 1 % in one set.
    """
    counts = {one.name: {code: len(files) for code, files in codes(one.tree, one.clean).items()} for one in sets}
    cells: dict[str, str] = {}
    notes: list[str] = []
    above: set[str] = set()
    for code in pictures.CODES:
        judged = [one for one in sets if one.masks or code < "AU3"]
        wrong = {one.name: counts[one.name].get(code, 0) for one in judged if (one.name, code) not in TRUE}
        by_kind = {
            kind: [one for one in judged if one.name in wrong and ("phantom" in one.name) == kind]
            for kind in (False, True)
        }
        cells[code] = " | ".join(
            f"{sum(wrong[one.name] for one in some)} of {sum(len(one.pairs) for one in some)}"
            for some in by_kind.values()
        )
        seen = [one for one in judged if counts[one.name].get(code)]
        said = [
            f"{one.name} {counts[one.name][code]} of {len(one.pairs)}"
            + (f" ({TRUE[one.name, code]})" if (one.name, code) in TRUE else "")
            for one in seen
        ]
        notes += [f"- {code}: {', '.join(said)}."] if said else []
        above |= {code} if any(wrong.get(one.name, 0) > 0.01 * len(one.pairs) for one in seen) else set()
    return cells, notes, above


def misplaced(one: Pairs, defect: Defect | None) -> tuple[int, int]:
    """Verdicts over data sets drawn from this one: patients drawn, all masks with the defect in one direction."""
    sharp = list(one.sharp())
    tree = Tree(one.tree.folder, one.tree.frame, None, manifest=False)
    names = tree.frame["patient"].where(tree.frame["patient"] != "", tree.frame["case"]).to_numpy(str)
    known, found = sorted(set(names)), 0
    for direction in range(DIRECTIONS):
        broken = [defect(*pair, np.random.default_rng(direction)) if defect else pair for pair in sharp]
        frame = measured(broken, None)
        random = np.random.default_rng(direction)
        for _ in range(DRAWN):
            chosen = random.choice(known, min(DRAWN_PATIENTS, len(known)), replace=False)
            rows = np.flatnonzero(np.isin(names, chosen))
            part = Tree(tree.folder, tree.frame.iloc[rows].reset_index(drop=True), None, manifest=False)
            found += "AU305" in codes(part, frame.iloc[rows].reset_index(drop=True))
    return found, DIRECTIONS * DRAWN


def share(found: int, total: int) -> str:
    return f"{found / total:.0%} of {total}" if total else "-"


def main(folder: Path) -> None:
    """Print the tables."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        sets = [*real(folder), *phantoms(temporary)]
        raws = {
            "lung-tumor CT": folder / "volumes" / "lung-tumor",
            "pancreas CT": folder / "volumes" / "pancreas",
            "lung-tumor phantom": temporary / "raw" / "lung-tumor",
            "pancreas phantom": temporary / "raw" / "pancreas",
        }
        sets += windowed(temporary, raws, WINDOWS)
        clipped = list(windowed(temporary, raws, (HU,)))
        plain = {*PATIENTS, *(f"{name} phantom" for name in PHANTOMS)}
        several = [one for one in sets if one.name in plain and len(one.pairs) >= ROUNDS]
        scratch = temporary / "scratch"
        scratch.mkdir()
        cells, notes, above = as_they_are(sets)
        print("| code | severity | real pairs | phantom pairs | defects |\n|---|---|---|---|---|")
        for code, said in pictures.CODES.items():
            parts = list(defects(code, several, clipped, sets, scratch))
            print(f"| {code} | {said.severity} | {cells[code]} | {'; '.join(parts)} |", flush=True)
        print("", *notes, "", sep="\n")
        print_misplaced(several)
    strict = sorted(code for code in above if pictures.CODES[code].severity != "advice")
    print(f"\nAbove 1 % and not advice: {', '.join(strict) or 'none'}. {time.perf_counter() - begin:.0f} s")


def defects(code: str, several: list[Pairs], clipped: list[Pairs], sets: list[Pairs], scratch: Path) -> Iterator[str]:
    """What to say of each defect of a code: in how many pairs it was found, and the set where it was found least."""
    if code == "AU202":
        for one in [*clipped, *(one for one in sets if (one.name, code) in TRUE)]:
            yield f"{one.name}: {share(len(codes(one.tree, one.clean).get(code, ())), len(one.pairs))}"
        return
    for what, defect in OF_PAIRS.get(code, {}).items():
        by = {one.name: recall(one, code, defect, scratch) for one in several}
        found, total = map(sum, zip(*by.values(), strict=True))
        low = [f"{name} {share(*counts)}" for name, counts in by.items() if counts[0] < 0.9 * counts[1]]
        yield f"{what}: {share(found, total)}" + (f" ({', '.join(low)})" if low else "")


def print_misplaced(several: list[Pairs]) -> None:
    """AU305, set by set."""
    print("| AU305 | " + " | ".join(one.name for one in several) + " |\n" + "|---" * (len(several) + 1) + "|")
    for what, defect in {"as they are": None, **MISPLACED}.items():
        cells = [share(*misplaced(one, defect)) for one in several]
        print(f"| {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
