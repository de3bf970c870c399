"""Is a dataset sound? Leaks, copies, broken pictures, misplaced masks, uneven splits; ours or a foreign folder.

The codes (``CODES``) are documented in docs/audit.md:

* AU001 to AU006: reading: pictures, pairs, patients, what was passed over (``tree``, ``looks``).
* AU101 to AU106: leaks (``leaks``); AU110 to AU119: copies (``copies``).
* AU201 on: images; AU301 on: masks (``pictures``).
* AU401 on: how the splits compare (``balance``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imagemask.audit import balance, copies, leaks, looks, pictures, tree
from imagemask.audit.findings import SEVERITIES, Code, Finding
from imagemask.audit.tree import Tree, open_tree
from imagemask.errors import FINDINGS
from imagemask.types import SPLITS

__all__ = ["CODES", "SEVERITIES", "AuditReport", "Code", "Finding", "Tree", "audit", "open_tree"]

CODES: dict[str, Code] = {
    code: one for part in (tree, leaks, copies, pictures, balance) for code, one in sorted(part.CODES.items())
}
_AREAS = (("AU11", "Copies"), ("AU2", "Images"), ("AU3", "Masks"))
"""What has no verdict of its own: the codes of an area, and its name."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, what is wrong with it, and what it comes to in words.

    ``splits`` counts the pairs of each split that there is; ``unjudged`` says what could not be judged, and why;
    ``verdicts`` hold a plain sentence an area.
    """

    folder: str
    pairs: int
    patients: int
    splits: dict[str, int]
    unjudged: tuple[str, ...]
    findings: list[Finding]
    verdicts: tuple[str, ...]

    def exit_code(self, fail_on: str = "warning") -> int:
        """5 where there is a finding of the severity ``fail_on`` (error, warning) or a worse one, else 0."""
        failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        return FINDINGS if any(one.severity in failing for one in self.findings) else 0


def audit(
    folder: Path,
    *,
    patient: str | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Audit a dataset, or any folder of images and masks; the same report for any number of ``workers``.

    ``patient`` is for a folder without manifest: see ``tree.open_tree``. ``progress`` is called with the number of
    pairs that a task has ended, and that of all. Raises UsageError and InputError as ``open_tree`` does.
    """
    opened, wrong = open_tree(folder, patient)
    step = None if progress is None else partial(_step, progress, len(opened.frame))
    seen = looks.look(opened, workers=workers, progress=step)
    findings = [*wrong, *seen.findings, *leaks.findings(opened)]
    findings += copies.findings(opened, seen.fingerprints, partial(looks.decode, opened))
    findings += pictures.findings(opened, seen.measures)
    compared = balance.compare(opened, seen.measures)
    findings += compared.findings
    who, where = opened.frame["patient"], opened.frame["split"].value_counts()
    return AuditReport(
        folder=str(folder),
        pairs=len(opened.frame),
        patients=int(who[who != ""].nunique()),
        splits={name: int(where[name]) for name in SPLITS if name in where.index},
        unjudged=(*leaks.unjudged(opened), *looks.unjudged(seen), *compared.unjudged),
        findings=in_order(findings),
        verdicts=(*leaks.verdicts(opened), *_verdicts(findings, seen), *compared.verdicts),
    )


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by code, then by their first line or file."""
    return sorted(findings, key=lambda one: (one.code, one.lines[:1], one.files[:1], one.message, one.files))


def _step(progress: Callable[[int, int], None], total: int, ended: int) -> None:
    progress(ended, total)


def _verdicts(findings: Iterable[Finding], seen: looks.Looks) -> Iterator[str]:
    """A sentence for each area that has none of its own, and of which anything could be seen."""
    findings = list(findings)
    for (begin, area), measure in zip(_AREAS, ("height", "height", "mask_height"), strict=True):
        if not seen.measures[measure].notna().any():
            continue
        here = [one for one in findings if one.code.startswith(begin)]
        counts = Counter(one.severity for one in here)
        said = ", ".join(said_of(counts[severity], severity) for severity in SEVERITIES if counts[severity])
        yield f"{area}: {said} ({', '.join(sorted({one.code for one in here}))})." if here else f"{area}: no findings."


def said_of(number: int, severity: str) -> str:
    """So many findings of a severity, in words: ``1 error``, ``3 warnings``, ``2 of advice``."""
    return f"{number} of advice" if severity == "advice" else f"{number} {severity}{'s' * (number != 1)}"
