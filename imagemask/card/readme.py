"""README.md of a dataset: front matter for the Hugging Face Hub, then what a person must know before using it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imagemask import manifest
from imagemask.card import licences
from imagemask.card.columns import COLUMNS, OF_THE_SOURCE
from imagemask.card.facts import UNKNOWN, Facts, Part
from imagemask.card.markup import code, prose, scalar, table
from imagemask.card.recipe import texts, words
from imagemask.names import counted

NAME = "README.md"
MARK = (
    "# Written by imagemask from manifest.csv, dataset.json, quarantine.csv and split.csv, and again when they change."
)
_KEEP = "# Remove these two lines to keep a README.md of your own: it is then never overwritten."
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LISTED = 20  # cases or sizes that a card names one by one; the files name all
_NOT_ASSIGNED = "(none)"
_LOAD = """\
```python
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

folder = Path(".")  # of this README.md
manifest = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
for row in manifest.itertuples():  # choose with row.split, row.patient, row.variant
    image = np.asarray(Image.open(folder / "images" / f"{row.key}.png"))
    mask = np.asarray(Image.open(folder / "masks" / f"{row.key}.png"))
    assert mask.shape == (int(row.height), int(row.width)) == image.shape[:2]
```"""
_LOAD_HUB = """\
```python
from datasets import Dataset, Image

pairs = Dataset.from_pandas(manifest)  # as it was read above: load_dataset would make 7 of the patient 007
for kind in ("images", "masks"):
    files = [str(folder / kind / f"{key}.png") for key in manifest["key"]]
    pairs = pairs.add_column(kind, files).cast_column(kind, Image())
```"""
_CHECK = """\
```python
import hashlib


def digest(image, mask):
    state = hashlib.sha256()
    for array in (image, mask):
        state.update(f"{array.shape}{array.dtype.str}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


assert digest(image, mask) == row.digest
```"""


def text(facts: Facts) -> str:
    """The whole README.md. Equal facts give equal text."""
    parts = (
        _front_matter(facts),
        _heading(facts),
        _licence(facts),
        _recipe(facts),
        _labels(facts),
        _counts(facts),
        _splits(facts),
        _problems(facts),
        _loading(facts),
        _verifying(),
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _front_matter(facts: Facts) -> list[str]:
    source = facts.mapping("source")
    licence = licences.front_matter(facts.text("source", "licence"), facts.text("source", "licence_url"))
    tags = ["medical", "medical-imaging", "segmentation", *(["ct"] if facts.items("recipe", "window") else ())]
    pairs = facts.whole.pairs
    lines = ["---", MARK, _KEEP, *(f"{key}: {scalar(value)}" for key, value in licence)]
    lines += ["task_categories:", "- image-segmentation", "tags:", *(f"- {tag}" for tag in tags)]
    lines += ["size_categories:", f"- {next((name for above, name in _SIZES if pairs < above), 'n>10M')}"]
    lines += [f"pretty_name: {scalar(str(source.get('title') or facts.text('name')))}", "configs:"]
    return [*lines, *_config(), "---"]


def _config() -> list[str]:
    """How the Hub shows it: the manifest alone, for one program reads all configurations of a dataset.

    What is not given a split it calls "train", which would put test pairs into it; and a patient called NA is somebody.
    """
    lines = ["- config_name: manifest", "  default: true", "  keep_default_na: false"]
    return [*lines, "  data_files:", "  - split: pairs", f"    path: {scalar(manifest.MANIFEST)}"]


def _heading(facts: Facts) -> list[str]:
    name, whole = facts.text("name"), facts.whole
    of = f"of {counted(whole.patients, 'patient')} " if whole.patients else ""
    labels = ", ".join(prose(str(label.get("name", ""))) for label in facts.labels)
    said = f"{counted(whole.pairs, 'pair')} {of}({counted(whole.cases, 'case')}): an 8-bit PNG image, and its mask"
    url = facts.text("source", "url")
    return [
        f"# {prose(facts.text('source', 'title', default=name))}",
        "",
        f"{said}{f' of {labels}' if labels else ''}.",
        f"Made by imagemask from the source {code(name)}{f' ({prose(url)})' if url else ''}. Not for clinical use.",
    ]


def _licence(facts: Facts) -> list[str]:
    licence, url = facts.text("source", "licence", default=UNKNOWN), facts.text("source", "licence_url")
    return [
        "## Licence and citation",
        "",
        f"Licence of the source, to which what is made from it is subject: **{prose(licence)}**{_link(url)}.",
        "Whoever publishes results cites:",
        "",
        f"> {prose(facts.text('source', 'citation', default=UNKNOWN))}",
    ]


def _link(url: str) -> str:
    return f" ({prose(url)})" if url else ""


def _recipe(facts: Facts) -> list[str]:
    recipe = facts.mapping("recipe")
    rows = [
        *words(recipe, code=code, prose=prose),
        *((f"option {code(name)}", code(_said(value))) for name, value in facts.mapping("recipe", "options").items()),
        ("pixel format", facts.number("format")),
        *((f"version of {code(name)}", code(str(value))) for name, value in facts.mapping("versions").items()),
    ]
    said = "Slices are upright: the patient's left is on the viewer's right, anterior is up."
    return [
        "## How it was made",
        "",
        "Image and mask went through one kernel with one set of parameters, never one without the other;",
        "equal source files, recipe and versions give equal pixels." + (f" {said}" if recipe.get("window") else ""),
        "",
        *table(("", "recipe"), rows),
    ]


def _labels(facts: Facts) -> list[str]:
    rows: list[Sequence[object]] = [("background", "", 0, 0, "")]
    for number, label in enumerate(facts.labels, start=1):
        values = (str(label.get(key, "")) for key in ("source_value", "mask_value"))
        rows.append((prose(str(label.get("name", ""))), *values, number, facts.classes.get(str(number), 0)))
    return [
        "## Labels",
        "",
        "A mask is an 8-bit PNG of one channel, and holds these values and no others.",
        "",
        *table(("label", "value in the source", "value in a mask", "class id", "pairs with it"), rows),
    ]


def _counts(facts: Facts) -> list[str]:
    counts, whole = facts.mapping("counts"), facts.whole
    parts = [f"{_count(counts, name)} {name}" for name in ("built", "quarantined", "excluded")]
    sizes = [f"{size} ({count})" for size, count in facts.sizes[:_LISTED]]
    rest = len(facts.sizes) - len(sizes)
    others = f", and {counted(rest, 'other size')}" if rest else ""
    rows = [
        ("cases", f"{_count(counts, 'discovered')} discovered = {' + '.join(parts)}"),
        ("patients", whole.patients or "none known"),
        ("pairs", f"{whole.pairs}, {whole.foreground} of them with foreground, {whole.copies} augmented copies"),
        ("slices", f"{_count(counts, 'slices_read')} read, {_count(counts, 'slices_empty')} dropped as empty"),
        ("pixels", f"{', '.join(sizes)}{others} (height x width, pairs)"),
    ]
    if facts.variants:
        rows.append(("copies", ", ".join(f"{code(name)} {count}" for name, count in facts.variants.items())))
    return ["## Counts", "", *table(("", "how many"), rows)]


def _splits(facts: Facts) -> list[str]:
    if [part.name for part in facts.parts] == [""]:
        return ["## Splits", "", "Not split yet: `imagemask split` assigns whole patients to train, valid and test."]
    header = ("split", "patients", "cases", "pairs", "of them copies", "with foreground")
    return ["## Splits", "", _how_split(facts), "", *table(header, map(_split, facts.parts))]


def _split(part: Part) -> tuple[object, ...]:
    name = code(part.name) or _NOT_ASSIGNED
    return name, part.patients, part.cases, part.pairs, part.copies, part.foreground


def _how_split(facts: Facts) -> str:
    if not facts.kept_whole:
        return "The split is the source's own."
    unit = {"case": "image (the column `case`)", "group": "group (the column `group`)"}.get(facts.kept_whole, "patient")
    folds = f" Drawn as {facts.folds} folds: the column `fold`." if facts.folds else ""
    warning = ""
    if facts.kept_whole == "case":
        warning = " Pictures of one patient may be in several splits: scores over it may be too good."
    said = f"No {unit} is in two splits, and every copy is where its original is; `split.csv` lists who is where."
    return said + folds + warning


def _problems(facts: Facts) -> list[str]:
    lines = [f"- {prose(note)}" for note in texts(facts.mapping("source").get("notes"))]
    if facts.strangers:
        lines.append(
            f"- {counted(facts.strangers, 'case')} without a known patient: they may be of one who is elsewhere."
        )
    loose = next((part.pairs for part in facts.parts if not part.name), 0)
    if loose and len(facts.parts) > 1:
        lines.append(f"- {counted(loose, 'pair')} in no split.")
    if why := facts.text("source", "by_image"):
        lines.append(f"- A split by image is refused: {prose(why)}")
    lines += [f"- {code(flag)} was noted for {counted(n, 'slice')}." for flag, n in facts.mapping("flags").items()]
    lines += _quarantined(facts.quarantine)
    excluded = list(facts.mapping("excluded").items())
    lines += [f"- Excluded, {code(case)}: {prose(str(why))}" for case, why in excluded[:_LISTED]]
    if len(excluded) > _LISTED:
        lines.append(f"- Excluded, {len(excluded) - _LISTED} more: `dataset.json` lists all.")
    return ["## Known problems", "", *(lines or ["None was noted."])]


def _quarantined(rows: Iterable[Mapping[str, str]]) -> list[str]:
    by_code: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        by_code.setdefault(row.get("code", ""), []).append(row)
    lines = []
    for fault, cases in sorted(by_code.items()):
        named = ", ".join(code(row.get("case", "")) for row in cases[:_LISTED])
        more = f" and {len(cases) - _LISTED} more" if len(cases) > _LISTED else ""
        of = f"of {code(cases[0].get('case', ''))}: " if len(cases) > 1 else ""
        lines.append(
            f"- Not built, {code(fault)}, {counted(len(cases), 'case')}: {named}{more}; {of}{_reason(cases[0])}"
        )
    return (
        [*lines, "- `quarantine.csv` has the reason and the remedy of each case that was not built."] if lines else []
    )


def _reason(row: Mapping[str, str]) -> str:
    return f"{prose(row.get('reason', UNKNOWN))}."


def _loading(facts: Facts) -> list[str]:
    rows = [(code(name), COLUMNS.get(name, OF_THE_SOURCE)[1]) for name in facts.columns]
    return [
        "## How to load it",
        "",
        "`manifest.csv` has a row a pair; the pair of a row is `images/KEY.png` and `masks/KEY.png`. Pair by key, not",
        "by position. After `imagemask split` the same files lie in `train/`, `valid/` and `test/` too, the copies in",
        "`train/` only, unless asked for everywhere.",
        "",
        _LOAD,
        "",
        "With the library `datasets` of Hugging Face:",
        "",
        _LOAD_HUB,
        "",
        "`croissant.json` says the same to programs that read Croissant 1.0: its record set `pairs` joins rows and",
        "pictures.",
        "",
        *table(("column", "what it says"), rows),
    ]


def _verifying() -> list[str]:
    return [
        "## How to verify it",
        "",
        "`imagemask verify` in this folder holds every file against its row: sizes, values, digests, splits, counts.",
        "Without imagemask: `croissant.json` has the SHA-256 of the tables, a row that of its decoded pixels. After",
        "the lines above:",
        "",
        _CHECK,
    ]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _count(counts: Mapping[str, Any], name: str) -> str:
    return prose(str(counts.get(name, UNKNOWN)))
