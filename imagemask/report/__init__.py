"""A dataset, or a run over one, on one page of HTML that needs no network.

The page holds what it shows: facts, splits, plots, the audit's verdicts, and a gallery of all pairs as thumbnails with
vector outlines. Full-size pictures it takes from the dataset that it lies in, or holds those that were embedded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import imagemask
from imagemask import audit, manifest, preview
from imagemask.errors import InputError, UsageError
from imagemask.files import write_atomic
from imagemask.report import distributions, gallery, run, statistics, verdict
from imagemask.report.gather import gather
from imagemask.report.page import render
from imagemask.report.run_folder import RECORD
from imagemask.report.thumbs import data_uri, thumbnails

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAME", "WORKER_BYTES", "is_run", "pictures", "write"]

NAME = "report.html"
"""What a report is called where nobody says otherwise; it lies in what it reports."""
WORKER_BYTES = 256 << 20
"""Memory that a worker takes with pictures of usual sizes."""
_SUFFIXES = (".html", ".htm")
_BARE: dict[str, Any] = {
    **dict.fromkeys(("facts", "headline", "pairs")),
    **dict.fromkeys(("before", "after", "verdicts", "unjudged", "findings", "blocks", "full"), ()),
    "about_audit": "",
    "version": imagemask.__version__,
    "digest": "",
    "unreadable": 0,
    "beside": False,
}
"""The page of a run of which the dataset is gone."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many more pairs are done, and of how many."""


def write(folder: Path, out: Path, *, embed: int = 0, workers: int = 1, progress: Progress | None = None) -> Path:
    """Write the page of the dataset or run in ``folder`` to ``out``; the same bytes for any number of ``workers``.

    ``embed`` pairs, evenly chosen, are held at full size. Raises UsageError where ``folder`` is neither, or ``out`` is
    no HTML by its name; InputError where a dataset cannot be read or holds no pair, or ``out`` cannot be written.
    """
    _require(folder, out)
    make = partial(_of_dataset, out=out, embed=embed, workers=workers, progress=progress or _silent)
    values = _of_run(folder, make) if is_run(folder) else make(folder, manifest.read(folder))
    write_atomic(out, render(_BARE | values).encode("utf-8"))
    return out


def pictures(folder: Path, out: Path) -> list[Path]:
    """Write the statistics and samples of the dataset or run in ``folder`` into the folder ``out``, as PNGs.

    Raises InputError where the dataset of a run is gone, and as ``statistics.write`` does.
    """
    dataset = run.dataset_of(folder) if is_run(folder) else folder
    if dataset is None:
        raise InputError(f"{folder}: its dataset is not where it was", remedy="Put it back, or leave --png out")
    return statistics.write(dataset, run.rows_of(folder) if is_run(folder) else manifest.read(dataset), out)


def is_run(folder: Path) -> bool:
    """Whether ``folder`` holds a run, as `train` makes it."""
    return (folder / RECORD).is_file()


def _require(folder: Path, out: Path) -> None:
    if not (is_run(folder) or (folder / manifest.MANIFEST).is_file()):
        what = "is neither a dataset of ours nor a run" if folder.exists() else "is not there"
        remedy = "Name the folder of a dataset (imagemask build NAME makes one) or of a run; imagemask audit takes any"
        raise UsageError(f"{folder}: {what}", remedy=remedy)
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{out}: a report is HTML", remedy="Give --out a name that ends in .html")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: there is no such folder", remedy="Make it, or give another --out")


def _silent(what: str, done: int, of: int) -> None:
    """No progress is asked for."""


def _of_run(folder: Path, make: Callable[[Path, pd.DataFrame], dict[str, Any]]) -> dict[str, Any]:
    """The values of a run's page: its own sections, then those of its dataset, which may be gone."""
    own = {"before": run.sections(folder), "eyebrow": "Run report", "heading": f"Run {folder.resolve().name}"}
    dataset = run.dataset_of(folder)
    if dataset is None:
        return own
    values = make(dataset, run.rows_of(folder))
    heading = f"{own['heading']} over {values['heading']}"
    return values | own | {"heading": heading, "about_audit": run.about_audit(folder)}


def _of_dataset(
    folder: Path, frame: pd.DataFrame, *, out: Path, embed: int, workers: int, progress: Progress
) -> dict[str, Any]:
    """The values of a dataset's page; ``frame`` is its manifest, of which the splits are shown."""
    if frame.empty:
        raise InputError(f"{folder}: holds no pair", remedy="Build it: imagemask build NAME")
    facts, found = gather(folder, frame), audit.audit(folder, workers=workers, progress=partial(progress, "audit"))
    keys = frame["key"].tolist()
    position = {value: at for at, (_, value) in enumerate(facts.labels)}
    made = thumbnails(folder, keys, position, workers=workers, progress=partial(progress, "thumbnails"))
    beside = out.parent.resolve() == folder.resolve()
    return {
        "facts": facts,
        "eyebrow": "Dataset report",
        "heading": facts.name,
        "headline": verdict.headline(found),
        "after": distributions.sections(folder, frame),
        "verdicts": found.verdicts,
        "unjudged": found.unjudged,
        "findings": verdict.groups(found, audit.CODES, frozenset(keys)),
        "pairs": _pairs(frame, found, beside=beside),
        "unreadable": sum(isinstance(one, str) for one in made),
        "blocks": gallery.blocks(made),
        "full": _full(folder, frame, embed),
        "digest": hashlib.sha256((folder / manifest.MANIFEST).read_bytes()).hexdigest(),
        "beside": beside,
    }


def _pairs(frame: pd.DataFrame, found: audit.AuditReport, *, beside: bool) -> Markup:
    flagged = verdict.flagged(found, frozenset(frame["key"]))
    titles = {code: one.title for code, one in audit.CODES.items()}
    return gallery.script_json(gallery.columns(frame, flagged, titles) | {"folder": "images/" if beside else None})


def _full(folder: Path, frame: pd.DataFrame, embed: int) -> Iterator[tuple[int, Markup]]:
    """Position and full-size image, as JSON, of the pairs that are to be embedded; one that is gone is left out."""
    for at in sorted(preview.choose(frame, embed).index) if embed else ():
        path = folder / "images" / f"{frame['key'][at]}.png"
        if path.is_file():
            yield int(at), gallery.script_json(data_uri(path.read_bytes(), "png"))
