"""croissant.json of a dataset: its files, columns, pictures and splits for machines, as Croissant 1.0 has it.

The format: "Croissant Format Specification 1.0", mlcommons.org. ``pairs`` has the columns of manifest.csv and both
pictures. mlcroissant joins no more than two sources in one record set, so the pictures are joined to one another first
(``masks``, then ``images``), by the key in their file names, and then to the rows. ``datePublished`` is left out: equal
builds give equal bytes, whenever they run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imagemask import files, manifest
from imagemask.card import licences
from imagemask.card.columns import COLUMNS, OF_THE_SOURCE, TEXT
from imagemask.card.facts import UNKNOWN, Facts
from imagemask.types import SPLITS

NAME = "croissant.json"
MARK = '"sdPublisher": "imagemask"'
"""Who wrote this description of the data (schema.org/sdPublisher); a file without it is not ours."""
_VERSION = "http://mlcommons.org/croissant/1.0"
_FILES = (
    (manifest.MANIFEST, "text/csv", "One row a pair: everything that is known about it."),
    (manifest.DATASET, "application/json", "Recipe, source, labels and mask values, counts, versions."),
    (manifest.QUARANTINE, "text/csv", "Cases that could not be built: file, reason, remedy."),
    (manifest.SPLIT, "text/csv", "What the split kept whole, and where it is."),
)
_KINDS = {"image": "images", "mask": "masks"}
_SPLIT_TYPES = dict(zip(SPLITS, ("cr:TrainingSplit", "cr:ValidationSplit", "cr:TestSplit"), strict=True))
_PREFIXES = {
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "wd": "https://www.wikidata.org/wiki/",
}
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **_PREFIXES,
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}


def text(dataset: Path, facts: Facts) -> str:
    """The whole croissant.json of the folder ``dataset``, whose tables are hashed."""
    source = facts.mapping("source")
    listed = [_file(dataset / name, kind, said) for name, kind, said in _FILES if (dataset / name).is_file()]
    document = {
        "@context": dict(sorted(_CONTEXT.items())),
        "@type": "sc:Dataset",
        "name": facts.text("name", default=UNKNOWN),
        "description": _description(facts),
        "conformsTo": _VERSION,
        "sdPublisher": "imagemask",
        "citeAs": facts.text("source", "citation", default=UNKNOWN),
        "license": licences.page(
            facts.text("source", "licence", default=UNKNOWN), str(source.get("licence_url") or "")
        ),
        **({"url": url} if (url := facts.text("source", "url")) else {}),
        "version": _version(facts, listed[0]["sha256"]),
        "keywords": ["medical imaging", "image segmentation", *_names(facts)],
        "distribution": [*listed, *(_file_set(folder) for folder in _KINDS.values())],
        "recordSet": [*_pictures(), _pairs(facts), *_splits(facts)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _names(facts: Facts) -> list[str]:
    return [name for label in facts.labels if (name := str(label.get("name", "")))]


def _description(facts: Facts) -> str:
    whole = facts.whole
    of = f" of {whole.patients} patients" if whole.patients else ""
    title = facts.text("source", "title", default=facts.text("name"))
    return f"{whole.pairs} pairs{of}, an image and its mask each, 8-bit PNG, made by imagemask from: {title}"


def _version(facts: Facts, sha256: str) -> str:
    """The pixel format, and as build metadata (semver.org, 10) which manifest: another one is another dataset."""
    return f"{facts.number('format')}.0.0+{sha256[:12]}"


def _file(path: Path, kind: str, said: str) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": said,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": files.sha256(path),
    }


def _file_set(folder: str) -> dict[str, str]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{folder}-files",
        "name": f"{folder}-files",
        "description": f"{folder}/KEY.png of every row of manifest.csv.",
        "encodingFormat": "image/png",
        "includes": f"{folder}/*.png",
    }


def _pictures() -> list[dict[str, Any]]:
    """The masks by key; and the images by key, each with its mask."""
    masks = _record_set("masks", "The masks, by key.", [_key("masks"), _content("masks", "mask")])
    mask = _field("images/mask", "sc:ImageObject", "The mask of the same key.", {"field": {"@id": "masks/mask"}})
    key = _key("images") | {"references": {"field": {"@id": "masks/key"}}}
    images = _record_set("images", "The images, by key, each with its mask.", [key, _content("images", "image"), mask])
    return [masks, images]


def _key(folder: str) -> dict[str, Any]:
    # mlcroissant applies it once more to what it came to, where the field is joined: a key alone must match, too.
    named = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^(.+?)(?:\.png)?$"}}
    return _field(f"{folder}/key", TEXT, "The file's name.", {"fileSet": {"@id": f"{folder}-files"}, **named})


def _content(folder: str, kind: str) -> dict[str, Any]:
    where = {"fileSet": {"@id": f"{folder}-files"}, "extract": {"fileProperty": "content"}}
    return _field(f"{folder}/{kind}", "sc:ImageObject", f"The {kind}'s pixels.", where)


def _pairs(facts: Facts) -> dict[str, Any]:
    """A field a column, and both pictures; a column of the source that is called like one of them keeps its name."""
    columns = [_column(name) for name in facts.columns]
    named = {field["@id"]: field for field in columns}
    named["pairs/key"]["references"] = {"field": {"@id": "images/key"}}
    if _assigned(facts):
        named["pairs/split"]["references"] = {"field": {"@id": "splits/name"}}
    for kind, folder in _KINDS.items():
        name = f"pairs/{kind}" if f"pairs/{kind}" not in named else f"pairs/{kind}_pixels"
        columns.append(_field(name, "sc:ImageObject", f"{folder}/KEY.png.", {"field": {"@id": f"images/{kind}"}}))
    return _record_set("pairs", "The rows of manifest.csv, each with its image and its mask.", columns)


def _column(name: str) -> dict[str, Any]:
    kind, said = COLUMNS.get(name, OF_THE_SOURCE)
    where = {"fileObject": {"@id": manifest.MANIFEST}, "extract": {"column": name}}
    return _field(f"pairs/{quote(name, safe='')}", kind, said, where)


def _splits(facts: Facts) -> list[dict[str, Any]]:
    """The splits that rows are in, as Croissant has them: what each one is for, by a name that all tools know."""
    assigned = _assigned(facts)
    if not assigned:
        return []
    fields = [
        _field("splits/name", TEXT, "The split, as in the column split."),
        _field("splits/url", ["sc:URL", "wd:Q3985153"], "What it is for."),
    ]
    data = [{"splits/name": name, "splits/url": _SPLIT_TYPES[name]} for name in assigned]
    return [_record_set("splits", "The splits.", fields) | {"dataType": "cr:Split", "data": data}]


def _assigned(facts: Facts) -> list[str]:
    return [part.name for part in facts.parts if part.name in _SPLIT_TYPES]


def _record_set(name: str, said: str, fields: Iterable[dict[str, Any]]) -> dict[str, Any]:
    listed = list(fields)
    key = {"@id": listed[0]["@id"]}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": said, "key": key, "field": listed}


def _field(name: str, kind: str | list[str], said: str, source: dict[str, Any] | None = None) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": name, "name": name, "description": said, "dataType": kind}
    return field | ({"source": source} if source else {})
