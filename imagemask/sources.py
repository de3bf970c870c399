"""Source manifests: reads and validates ``NAME.toml``. The only module to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

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
    return parse(file.read_text(encoding="utf-8"), place=f"{package}/{name}.toml")


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


def _findings(error: ValidationError) -> str:
    return "; ".join(f"{_dotted(one['loc'])}: {one['msg']}" for one in error.errors())


def _dotted(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)
