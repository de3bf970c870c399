"""How often the codes of the audit that have no threshold are wrong, and how often they are found.

Run with ``python benchmarks/audit_rows.py REAL`` where REAL holds the published pairs (pancreas, cervical-cancer,
lung-tumor). These are arranged as trees split by patient, and built as datasets of ours from there; phantoms of all
sources are built, split, and laid out as trees of foreign layouts. Codes are AU001 to AU006, AU101 to AU106, AU110,
AU111, AU114, AU115, AU401 and AU402.

Printed is a Markdown table: in how many pairs as they are a code is found that should not be (of AU401: in how many
splits); and of defects injected into copies of them (audit_row_defects), how many are found by a finding that names
their very files. What should be found in pairs as they are is told here, from SHA-256 of the pixels as Pillow decodes
them, and from the rows as they were written. Exits with 1 where a code that is no advice is wrong in more than one
pair in a hundred of a set, or where a code is not found.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from audit_row_defects import OF_ROWS, TURNED, Way
from audit_work import Data, Row, Work, files, grouped, phantoms, real, smaller, used

from imagemask import audit
from imagemask.types import SPLITS

CODES = sorted({code for code, *_ in OF_ROWS})
OF_FOLDERS = ("AU002", "AU003", "AU004", "AU005", "AU006")
OF_OURS = ("AU102", "AU103", "AU105")
NEED_PATIENTS = ("AU005", "AU101", "AU111", "AU114")
ROUNDS = {"both": 1, "ours": 2, "folder": 1}  # of up to five defects at a time

# ---- what should be found --------------------------------------------------------------------------------------------


def expected(data: Data, *, known: bool) -> dict[str, set[str]]:
    """Code: the files (of AU401: splits) that it is right about in a data set as it is."""
    rows = [row | {"patient": row["patient"].casefold() if known else ""} for row in used(data, data.rows)]
    right: dict[str, set[str]] = defaultdict(set)
    right["AU005"] = files([row for row in rows if not row["patient"]]) if known and not data.ours else set()
    for code, column in (("AU101", "patient"), ("AU102", "group"), ("AU103", "case"), ("AU104", "origin")):
        if data.ours or column in ("patient", "origin"):
            for some in grouped(rows, column).values():
                right[code] |= files(some) if len({row["split"] for row in some}) > 1 else set()
    right["AU105"] = files([row for row in rows if row["shipped"] not in ("", row["split"])])
    right["AU106"] = files([row for row in rows if row["variant"] and row["split"] in SPLITS[1:]])
    plain = {row["origin"] for row in data.rows if not row["variant"]}
    every = [row | {"patient": row["patient"] if known else ""} for row in data.rows]
    for some in grouped([row for row in every if not (row["variant"] and row["origin"] in plain)], "digest").values():
        if len(some) > 1:
            right[of_copies(data, some)] |= files(some)
    right["AU401"] = set(too_small([row for row in rows if not row["variant"]], ours=data.ours))
    return right


def of_copies(data: Data, rows: list[Row]) -> str:
    """What equal pictures are called."""
    if len({row["split"] for row in rows}) > 1:
        return "AU110"
    patients = {row["patient"].casefold() for row in rows}
    if len(patients - {""}) > 1:
        return "AU111"
    one = patients != {""} and len(patients) == 1
    return "AU114" if one or (data.ours and len({row["group"] or row["case"] for row in rows}) == 1) else "AU115"


def too_small(rows: list[Row], *, ours: bool) -> Iterator[str]:
    """The splits that hold less than a twentieth, or fewer than five patients (groups, cases)."""
    columns = ("patient", "group", "case") if ours else ("patient",)
    level = next((name for name in columns if sum(row[name] != "" for row in rows) >= 0.9 * len(rows)), "")
    for name in SPLITS:
        here = [row for row in rows if row["split"] == name]
        if len(here) < 0.05 * len(rows) or (level and len({row[level] for row in here} - {""}) < 5):
            yield name


# ---- counting --------------------------------------------------------------------------------------------------------

Findings = list[tuple[str, set[str]]]
"""Code and files of each; of AU401 what it says of a split."""


def found(data: Data, folder: Path, *, known: bool) -> Findings:
    report = audit.audit(folder, patient=data.patient if known else None)
    words = re.compile(r"\w+ holds \d+ images?")
    return [
        (one.code, set(one.files) or {said[0] if (said := words.match(one.message)) else one.message})
        for one in report.findings
    ]


def names(findings: Findings, code: str) -> set[str]:
    return set().union(*(files for one, files in findings if one == code))


def judged(code: str, data: Data) -> bool:
    return code not in (OF_FOLDERS if data.ours else OF_OURS)


def as_they_are(data: Data) -> dict[str, tuple[int, int, int]]:
    """By code: in how many pairs it is wrong, right, and missing; patients known or not, whichever is worse."""
    counts = dict.fromkeys(CODES, (0, 0, 0))
    for known in (True,) if data.ours else (True, False):
        right, findings = expected(data, known=known), found(data, data.folder, known=known)
        for code in CODES:
            said = names(findings, code)
            said = {re.search("train|valid|test", one)[0] for one in said} if code == "AU401" else said
            parts = said - right[code], said & right[code], right[code] - said
            counts[code] = tuple(map(max, counts[code], map(len, parts)))
    return counts


def clean(sets: list[Data], failed: list[str], rightly: list[str]) -> dict[str, str]:
    """Two cells a code; what is wrong or missing goes to ``failed``, what is there to ``rightly``, in words."""
    seen = {data.name: as_they_are(data) for data in sets}
    cells = {}
    for code in CODES:
        parts = []
        for real_ones in (True, False):
            here = [data for data in sets if data.real == real_ones and judged(code, data)]
            totals = [len(SPLITS) if code == "AU401" else len(data.rows) for data in here]
            counts = [seen[data.name][code] for data in here]
            parts.append(f"{sum(wrong for wrong, _, _ in counts)} of {sum(totals):,}")
            for data, (wrong, right, missing), total in zip(here, counts, totals, strict=True):
                if right:
                    rightly.append(f"- {code}, rightly: {right} of {total}, {data.name}")
                if missing or (wrong > 0.01 * total and audit.CODES[code].severity != "advice"):
                    failed.append(f"- {code}, {data.name}: wrong in {wrong}, missing in {missing} of {total}")
        cells[code] = " | ".join(parts)
    return cells


def injected_nothing(data: Data, *, known: bool) -> Findings:
    with tempfile.TemporaryDirectory(dir=data.folder.parent) as folder:
        return found(data, Work(data, Path(folder), 0).folder, known=known)


def injected(data: Data, way: Way, before: dict[bool, Findings], turn: int) -> tuple[int, int, int]:
    """Of one draw: defects found, of how many, and files beside them that the code is said of and was not before."""
    code, _, what, spoil = way
    seed = zlib.crc32(f"{data.name} {code} {what}".encode()) + turn
    known = data.ours or code in NEED_PATIENTS or "patients" in what or (code != "AU115" and seed % 2 == 0)
    with tempfile.TemporaryDirectory(dir=data.folder.parent) as folder:
        work = Work(data, Path(folder), seed)
        wanted = [some for some in spoil(work) if some]
        if not wanted:
            return 0, 0, 0
        work.save()
        findings = found(data, work.folder, known=known)
    called = TURNED.get(code, code) if "turned" in what else code
    hits = sum(any(some <= files for one, files in findings if one == called) for some in wanted)
    beside = names(findings, called) - set().union(*wanted) - names(before[known], called)
    return hits, len(wanted), len(beside)


def recalled(sets: list[Data], cells: dict[str, str], failed: list[str]) -> Iterator[str]:
    """A row of the table for each way in which a code can come about."""
    before = {data.name: {known: injected_nothing(data, known=known) for known in (True, False)} for data in sets}
    for code, ways in groupby(OF_ROWS, lambda way: way[0]):
        first = f"{code} {audit.CODES[code].title} | {cells[code]} |"
        for way in ways:
            _, on, what, _ = way
            counts = np.zeros(3, int)
            for data in (data for data in sets if on == "both" or (on == "ours") == data.ours):
                some = np.sum([injected(data, way, before[data.name], turn) for turn in range(ROUNDS[on])], axis=0)
                counts += some
                if some[0] < some[1] or some[2]:
                    failed.append(f"- {code} {what}, {data.name}: found {some[0]} of {some[1]}, {some[2]} beside")
            yield f"| {first} {what} | {counts[0] / max(counts[1], 1):.0%} of {counts[1]} |"
            first = "| | |"


def main(home: Path) -> int:
    """Print the table; 1 where a code is wrong or not found."""
    begin = time.perf_counter()
    failed, rightly = list[str](), list[str]()
    with tempfile.TemporaryDirectory() as name:
        sets = [*real(home, Path(name, "real")), *phantoms(Path(name, "phantom"))]
        cells = clean(sets, failed, rightly)
        print("| code | wrong, real | wrong, phantom | defect | found |\n|---|---|---|---|---|")
        for row in recalled([smaller(data) for data in sets], cells, failed):
            print(row, flush=True)
    pairs = [sum(len(data.rows) for data in sets if data.real == kind) for kind in (True, False)]
    took = f"{time.perf_counter() - begin:.0f} s, {time.process_time():.0f} s of a processor in this process"
    print("", *rightly, *(failed or ["- all as it should be"]), "", sep="\n")
    print(f"{len(sets)} data sets, {pairs[0]:,} real pairs and {pairs[1]:,} of phantoms; {took}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
