"""Source manifests: reads and validates ``NAME.toml``. The only module to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagemask import files
from imagemask.errors import InputError
from imagemask.types import Source

BUILT_IN = "imagemask.manifests"
_FACTS = frozenset({"title", "url", "licence", "licence_url", "citation", "notes", "labels", "window", "background"})


def load(name: str, package: str = BUILT_IN) -> Source:
    """The manifest ``NAME.toml`` that ships inside ``package``.

    Raises InputError where it is missing or wrong.
    """
    file = resources.files(package).joinpath(f"{name}.toml")
    if not file.is_file():
        raise InputError(
            f"no source manifest {name}.toml in {package}", remedy="A generator ships one beside its module"
        )
    place = f"{package}/{name}.toml"
    try:
        return parse(file.read_text(encoding="utf-8"), place=place)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is not UTF-8: {error}", remedy="Save it as UTF-8") from error


def read(path: Path) -> Source:
    """The manifest at ``path``. Raises InputError with file, key and reason where it is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return parse(text, place=str(path))


def parse(text: str, *, place: str) -> Source:
    """The manifest in ``text``; ``place`` is what an error calls it."""
    try:
        return Source.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place}: not TOML: {error}") from error
    except ValidationError as error:
        raise InputError(f"{place}: {_findings(error)}", remedy="docs/manifests.md lists the keys") from error


def facts(path: Path, source: Source) -> dict[str, Any]:
    """What a small TOML file beside the data says of it: fields of a source manifest, validated; {} without the file.

    ``source`` stands in for what the file leaves out. Raises InputError for a key or a value that it cannot hold.
    """
    if files.is_special(path):  # to open a pipe is to wait for ever
        raise InputError(f"{path}: is a pipe, a socket or a device", remedy="Put a file in its place, or remove it")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # not UTF-8 or not TOML
        raise InputError(f"{path}: cannot be read: {error}", remedy="Correct it, or remove it") from error
    unknown = sorted(told.keys() - _FACTS)
    if unknown:
        raise InputError(
            f"{path}: unknown keys {', '.join(unknown)}", remedy=f"It may hold {', '.join(sorted(_FACTS))}"
        )
    whole = amended(source, told, place=str(path))
    return {key: getattr(whole, key) for key in told}


def amended(source: Source, told: Mapping[str, Any], *, place: str) -> Source:
    """``source`` with other values of some fields; ``place`` is what an error calls them. Raises InputError."""
    try:
        return Source.model_validate(source.model_dump() | dict(told))
    except ValidationError as error:
        raise InputError(f"{place}: {_findings(error)}", remedy="docs/manifests.md lists the keys") from error


def relabelled(source: Source, value: int, *, place: str) -> Source:
    """``source``, which has one class, with ``value`` for it: a copy may have been stored with 255 for 1.

    Raises as ``amended``.
    """
    (name,) = source.labels.values()
    return amended(source, {"labels": {value: name}}, place=place)


def parse_labels(text: str) -> tuple[dict[int, str], bool]:
    """``1=tumour,2=cyst`` as {value: name}, and whether masks hold these very values.

    A single name without a value, ``tumour``, names the foreground of masks of two values: ({1: name}, False). Raises
    ValueError for anything else, for the value 0 (the background), and for a value or a name that is given twice.
    """
    parts = [[half.strip() for half in part.split("=")] for part in text.split(",")]
    if parts == [[name] for name in parts[0]] and parts[0][0]:
        return {1: parts[0][0]}, False
    labels: dict[int, str] = {}
    for part in parts:
        if len(part) != 2 or not part[0].isdecimal() or not part[1]:
            raise ValueError(f"{'='.join(part)!r} is not VALUE=NAME, as in 1=tumour,2=cyst")
        value, name = int(part[0]), part[1]
        if not 0 < value <= 65535 or value in labels or name in labels.values():
            raise ValueError(f"{value}={name}: values are 1 to 65535, and no value and no name stands twice")
        labels[value] = name
    return labels, True


def _findings(error: ValidationError) -> str:
    return "; ".join(f"{_dotted(one['loc'])}: {one['msg']}" for one in error.errors())


def _dotted(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)
