"""What an audit says: a code with its severity, the files it is about, and in words what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "advice")
"""error: a result over this dataset would be wrong; warning: suspicious, look at it; advice: worth knowing."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means: a short ``title``, ``why`` it matters, what to do (``remedy``)."""

    severity: str
    title: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen. ``files`` are POSIX paths relative to the audited folder, all that it is about;

    ``lines`` are their rows in manifest.csv, in the same order; empty where there is no manifest.
    """

    code: str
    severity: str
    message: str
    files: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()


def found(
    codes: Mapping[str, Code], code: str, message: str, *, files: Sequence[str] = (), lines: Sequence[int] = ()
) -> Finding:
    """A finding with the severity that ``codes`` gives its code."""
    return Finding(code, codes[code].severity, message, tuple(files), tuple(lines))
