"""What can be wrong with a dataset or a manifest: a stable code each, what it means, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imagemask.manifest import MANIFEST


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means, in one line, and its remedy, as a sentence."""

    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``line`` counts from 1, the header's, in the manifest.csv (or the TOML) at fault.

    ``file`` is the file at fault: relative to the dataset, or as it was given where a manifest was named by its path.
    """

    code: str
    line: int | None
    file: str
    message: str
    remedy: str


_RESTORE = "Restore manifest.csv from a backup, or run `imagemask merge` to write it again from the fragments"
_REBUILD = "Build again: what is missing, or of another length than it was written with, is written anew"
_REMAKE = "Remove the file of its case in fragments/ and build again: all pairs of the case are written anew"
_EITHER = f"Run `imagemask merge`, which writes the row again. If that does not help: {_REMAKE[0].lower()}{_REMAKE[1:]}"
_RESPLIT = "Run `imagemask split` again"
_MERGE = "Run `imagemask merge` to write it again from the fragments"
_TOML = "docs/manifests.md lists the keys of a source manifest"

CODES = {
    "IM001": Code("manifest.csv is not a table: UTF-8, LF, one header, as many cells in every row", _RESTORE),
    "IM002": Code("a column of manifest.csv is missing, repeated or out of order", _RESTORE),
    "IM003": Code("a cell of manifest.csv does not hold what its column holds", _RESTORE),
    "IM004": Code("a key is not CASE-SLICE[~VARIANT] of its own row", _RESTORE),
    "IM005": Code("a key stands in two rows, or two keys differ by case only", _RESTORE),
    "IM006": Code("the rows are not sorted by key", _RESTORE),
    "IM007": Code("a split is none of train, valid, test, or a fold is not a number", _RESPLIT),
    "IM008": Code("a patient, group or case stands in several splits", _RESPLIT),
    "IM009": Code("a pair has no split although others have one", _RESPLIT),
    "IM010": Code("split.csv is damaged, or manifest.csv does not agree with it", _RESPLIT),
    "IM011": Code("a row belongs to another dataset than dataset.json names", _RESTORE),
    "IM012": Code("the image or the mask of a row is missing", _REBUILD),
    "IM013": Code(
        "a file in images/ or masks/ has no row", "Remove it; `imagemask merge` removes what no fragment names"
    ),
    "IM014": Code("a picture cannot be read as a PNG", _REMAKE),
    "IM015": Code("a picture has another size than its row", _REMAKE),
    "IM016": Code("an image is not 8-bit with one or three channels, or a mask not 8-bit with one", _REMAKE),
    "IM017": Code("a mask holds a value that dataset.json does not declare", _REMAKE),
    "IM018": Code("a mask has another number of foreground pixels than its row", _EITHER),
    "IM019": Code("a mask holds other classes than its row", _EITHER),
    "IM020": Code("the pixels of a pair are not those that were built", _EITHER),
    "IM021": Code("dataset.json is missing or does not hold what it must", _MERGE),
    "IM022": Code("a count of dataset.json is not that of manifest.csv, or the counts contradict each other", _MERGE),
    "IM023": Code("quarantine.csv is missing, damaged, or lists other cases than dataset.json counts", _MERGE),
    "IM024": Code("train/, valid/ and test/ are not those of this manifest.csv", _RESPLIT),
    "IM025": Code(
        "manifest.csv holds no pair", "Run `imagemask merge`, or build again, with --keep-empty if every mask is empty"
    ),
    "IM026": Code(
        "README.md or croissant.json of ours is missing, or is not what this dataset gives",
        "Run `imagemask merge`, or `imagemask split` again: both write it anew. A file without our mark is left alone",
    ),
    "IM027": Code(
        "nobody is left in a set or fold of split.csv: its units have no pair",
        "Build them again, or draw anew: `imagemask split --resplit`. Where others came, `imagemask split` places them",
    ),
    "IM101": Code("a source manifest is not TOML, or a key of it is wrong", _TOML),
    "IM102": Code(
        "a source manifest names no licence or no citation", "State both: they are written into every dataset"
    ),
    "IM103": Code("a source manifest has no generator", "Add generators/NAME.py, or register a plug-in of that name"),
    "IM104": Code("a source manifest's file is not named after it", "Call the file NAME.toml"),
    "IM105": Code("what a source manifest expects contradicts itself", "Make cases, ids, excluded and archives agree"),
    "IM106": Code("a generator has no usable source manifest", "Put NAME.toml beside its module"),
}


class Report(Protocol):
    """Whatever holds findings."""

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, in order."""


def found(code: str, message: str, *, file: str = MANIFEST, line: int | None = None) -> Finding:
    """A finding with the remedy of its code."""
    return Finding(code, line, file, message, CODES[code].remedy)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by line, those of the dataset as a whole first; the same order for any number of workers."""
    return sorted(findings, key=lambda one: (one.line or 0, one.code, one.file, one.message))


def annotate(report: Report, manifest_path: Path) -> list[str]:
    """The findings as GitHub workflow commands, which show them at the line of the manifest in a pull request.

    The form and its escapes are those of the runner's documentation, "Workflow commands: setting an error message".
    """
    return [
        annotation(one, manifest_path if one.line is not None else manifest_path.parent / one.file)
        for one in report.findings
    ]


def annotation(finding: Finding, path: Path) -> str:
    """One finding as a GitHub workflow command on ``path``."""
    text = finding.message if finding.file in (path.as_posix(), path.name) else f"{finding.file}: {finding.message}"
    return command("error", path, f"{text}. {finding.remedy}", line=finding.line, title=finding.code)


def command(kind: str, path: Path, text: str, *, line: int | None, title: str) -> str:
    """A GitHub workflow command: ``kind`` is error, warning or notice; ``line`` None stands for the whole file.

    ``path`` is relative to the current folder, or absolute; the command names it from the repository's root.
    """
    place = f"file={_property(_in_repository(path).as_posix())}" + (f",line={line}" if line is not None else "")
    return f"::{kind} {place},title={_property(title)}::{_data(text)}"


def _in_repository(path: Path) -> Path:
    """``path`` from the root of the workflow's workspace, else of the git repository, else from the current folder:
    from the first of them that it lies in; absolute where it lies in none.
    """
    here = Path.cwd()
    whole = Path(os.path.normpath(here / path))  # no link is followed: git has the link, not what it leads to
    repository = [folder for folder in (here, *here.parents) if (folder / ".git").exists()]
    workspace = os.environ.get("GITHUB_WORKSPACE")
    for root in (*([Path(workspace).resolve()] if workspace else []), *repository[:1], here):
        if whole.is_relative_to(root):
            return whole.relative_to(root)
    return whole


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
