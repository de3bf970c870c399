"""Manifests of both kinds, checked by themselves, for CI: a source's (NAME.toml) and a dataset's (manifest.csv).

The codes are those of ``imagemask verify``: docs/verify.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from imagemask import registry, sources, verify
from imagemask.errors import FINDINGS, ImagemaskError, InputError, UsageError
from imagemask.manifest import MANIFEST
from imagemask.types import Source
from imagemask.verify.findings import Finding, annotation, found, in_order

UNKNOWN = "unknown"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/]+(/\S*)?")
_OTHER_TOML = ("pyproject.toml", "imagemask.toml")
"""No source manifests, though they may lie where one is looked for."""
_SAID_LATER = ("folder",)
"""Sources whose licence and citation come with the data: from the options of a build, or a file beside it."""


@dataclass(frozen=True, slots=True)
class DocumentsReport:
    """The manifests that were read, as they were named, and what is wrong with them."""

    documents: list[str]
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 5 where something was found."""
        return FINDINGS if self.findings else 0


def check_paths(paths: Sequence[Path] = ()) -> DocumentsReport:
    """Check the manifests at ``paths``, by extension: ``.toml`` a source's, ``.csv`` a dataset's; or a folder of them.

    Without paths: the source manifest of every registered generator, and every one that ships with the package. Raises
    InputError for a path that cannot be read, UsageError for one that is no manifest.
    """
    if not paths:
        return _registered()
    documents = [document for path in paths for document in _expand(path)]
    findings = [finding for document in documents for finding in _document(document)]
    return DocumentsReport([str(path) for path in documents], findings)


def annotate(report: DocumentsReport) -> list[str]:
    """The findings as GitHub workflow commands, at the files that were named."""
    return [annotation(finding, Path(finding.file)) for finding in report.findings]


def check_source(source: Source, *, file: str, stem: str) -> Iterator[Finding]:
    """What is wrong with a source manifest that can be read; ``stem`` is its file's name without the extension."""
    names = registry.names()
    if source.name != stem:
        yield found("IM104", f"the name is {source.name!r}, the file is {stem}.toml", file=file)
    if source.name not in names:
        yield found("IM103", f"there is no generator {source.name!r}, only {', '.join(names)}", file=file)
    for key, text in (("licence", source.licence), ("citation", source.citation)):
        if source.name not in _SAID_LATER and text.strip().casefold() in ("", UNKNOWN):
            yield found("IM102", f"{key} is {text!r}", file=file)
    for message in _wrong_values(source):
        yield found("IM101", message, file=file)
    for message in _contradictions(source):
        yield found("IM105", message, file=file)


def _wrong_values(source: Source) -> Iterator[str]:
    """Values that their keys can hold, and that mean nothing: no window, no address. (A key may be left empty.)"""
    from imagemask import pixels

    try:
        pixels.parse_windows(source.window)
    except UsageError as error:
        yield f"window: {error.reason}"
    archives = [(f"archives.{place}.url", archive.url) for place, archive in enumerate(source.archives)]
    for key, text in (("url", source.url), ("licence_url", source.licence_url), *archives):
        if text and not _ADDRESS.fullmatch(text):
            yield f"{key}: {text!r} is no address, such as https://example.org"


def _contradictions(source: Source) -> Iterator[str]:
    ids = source.expected.ids
    if repeated := _repeated(ids):
        yield f"expected.ids names {', '.join(repeated)} more than once"
    if ids and source.expected.cases is not None and len(ids) != source.expected.cases:
        yield f"expected.cases is {source.expected.cases}, expected.ids lists {len(ids)}"
    if both := sorted(set(ids) & set(source.excluded)):
        yield f"{', '.join(both)} is expected and excluded"
    if repeated := _repeated(archive.name for archive in source.archives):
        yield f"archives names {', '.join(repeated)} more than once"
    if repeated := _repeated(source.labels.values()):
        yield f"two labels are called {', '.join(repeated)}"
    if 0 in source.labels:
        yield "label 0 is the background: only foreground labels are named"


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, number in Counter(names).items() if number > 1)


def _registered() -> DocumentsReport:
    documents: list[str] = []
    findings: list[Finding] = []
    shipped = [file.name for file in resources.files(sources.BUILT_IN).iterdir() if file.name.endswith(".toml")]
    stems = {name.removesuffix(".toml") for name in shipped}
    for name in sorted({*stems, *registry.names()}):
        documents.append(f"{name}.toml")
        try:
            source = sources.load(name) if name in stems else registry.source(name)
        except ImagemaskError as error:
            code = "IM101" if name in stems else "IM106"
            place = f"{sources.BUILT_IN}/{documents[-1]}"
            findings.append(found(code, error.reason.removeprefix(f"{place}: "), file=documents[-1]))
        else:
            findings += check_source(source, file=documents[-1], stem=name)
    return DocumentsReport(documents, findings)


def _expand(path: Path) -> list[Path]:
    """The manifests that ``path`` means: itself, or those in a folder."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file", remedy="Name a NAME.toml, a manifest.csv, or their folder")
    if path.is_dir():
        manifests = [path / MANIFEST] if (path / MANIFEST).is_file() else sorted(path.glob(f"*/{MANIFEST}"))
        inside = manifests or sorted(one for one in path.glob("*.toml") if one.name not in _OTHER_TOML)
        if not inside:
            raise UsageError(f"{path}: holds neither a {MANIFEST} nor a source manifest", remedy="Name the file itself")
        return inside
    if path.suffix not in (".toml", ".csv"):
        raise UsageError(
            f"{path}: is no manifest by its extension", remedy="Source manifests end in .toml, datasets' in .csv"
        )
    return [path]


def _document(path: Path) -> list[Finding]:
    if path.suffix == ".csv":
        return [Finding(one.code, one.line, str(path), one.message, one.remedy) for one in verify.check_manifest(path)]
    try:
        source = sources.read(path)
    except InputError as error:
        return [found("IM101", error.reason.removeprefix(f"{path}: "), file=str(path))]
    return in_order(check_source(source, file=str(path), stem=path.stem))
