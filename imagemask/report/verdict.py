"""The audit's findings as a page shows them: by code, the gravest first, with links into the gallery."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagemask.audit import SEVERITIES, AuditReport, Code, Finding

SHOWN = 20
"""Files, and findings, that a page lists of each code."""
_PAIR = re.compile(r"(?:^|/)(?:images|masks)/([^/]+)\.png$")


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding: what was seen, ``files`` with the key of their pair ("" where the gallery has none), and how many
    ``more`` there are.
    """

    message: str
    files: tuple[tuple[str, str], ...]
    more: int


@dataclass(frozen=True, slots=True)
class Group:
    """All findings of a code: ``count``, the first of them, and whether the gallery can be filtered by the code."""

    code: str
    severity: str
    title: str
    why: str
    remedy: str
    count: int
    shown: tuple[Shown, ...]
    in_gallery: bool


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict at a glance. ``tone`` is good, warn or bad."""

    tone: str
    title: str
    text: str


def headline(report: AuditReport) -> Headline:
    """Whether the dataset is sound, or how many things to look at, in one line and one sentence."""
    codes = {
        severity: len({one.code for one in report.findings if one.severity == severity}) for severity in SEVERITIES
    }
    grave = codes["error"] + codes["warning"]
    remarks = f" {_number(codes['advice'], 'remark')} for your information." if codes["advice"] else ""
    if not grave:
        text = f"The audit looked at {_number(report.pairs, 'pair')}.{remarks}"
        if report.unjudged:
            return Headline("warn", "No errors, no warnings, as far as could be judged", text)
        return Headline("good", "Sound: no errors, no warnings", text)
    counted = [_number(codes[severity], severity) for severity in ("error", "warning") if codes[severity]]
    text = f"The audit of {_number(report.pairs, 'pair')} found {' and '.join(counted)}.{remarks}"
    if codes["error"]:
        return Headline("bad", f"Not sound: {_things(grave)} to look at before it is used", text)
    return Headline("warn", f"Look at {_things(grave)}", text)


def groups(report: AuditReport, codes: Mapping[str, Code], keys: Collection[str]) -> list[Group]:
    """The findings by code, errors first; ``keys`` are the pairs of the gallery."""
    found: dict[str, list[Finding]] = {}
    for one in report.findings:
        found.setdefault(one.code, []).append(one)
    ordered = sorted(found.items(), key=lambda item: (SEVERITIES.index(item[1][0].severity), item[0]))
    return [_group(code, findings, codes.get(code), keys) for code, findings in ordered]


def flagged(report: AuditReport, keys: Collection[str]) -> dict[str, set[str]]:
    """Key of a pair: the codes of the findings that name one of its files."""
    found: dict[str, set[str]] = {}
    for one in report.findings:
        for key in filter(None, (key_of(file, keys) for file in one.files)):
            found.setdefault(key, set()).add(one.code)
    return found


def key_of(file: str, keys: Collection[str]) -> str:
    """The key of the pair that a file of the dataset belongs to; "" where it is none of ``keys``."""
    match = _PAIR.search(file)
    return match[1] if match and match[1] in keys else ""


def _group(code: str, findings: Sequence[Finding], known: Code | None, keys: Collection[str]) -> Group:
    return Group(
        code=code,
        severity=findings[0].severity,
        title=known.title if known else findings[0].message,
        why=known.why if known else "",
        remedy=known.remedy if known else "",
        count=len(findings),
        shown=tuple(_shown(findings, keys)),
        in_gallery=any(key_of(file, keys) for one in findings for file in one.files),
    )


def _shown(findings: Sequence[Finding], keys: Collection[str]) -> Iterator[Shown]:
    """The first findings; their files share SHOWN places, one at least each."""
    first = findings[:SHOWN]
    places = max(1, SHOWN // len(first))
    for one in first:
        files = tuple((file, key_of(file, keys)) for file in one.files[:places])
        yield Shown(one.message, files, len(one.files) - len(files))


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count} things"
