"""The generators there are: the built-in modules, and modules that other distributions register.

A third party registers a module under the entry-point group ``imagemask.generators``; its ``NAME.toml`` lies beside it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from imagemask import sources
from imagemask.errors import ImagemaskError, InputError, UsageError
from imagemask.types import Generator, Options, Source

BUILT_IN = "imagemask.generators"
ENTRY_POINTS = "imagemask.generators"
RESERVED = frozenset(
    {"raw", "out", "workers", "shard", "replace", "fail_fast", "dry_run", "json", "as_json", "help", "h"}
    | {"size", "stretch", "window", "crop", "crops", "keep_empty", "drop_empty", "flip", "flips", "rotate", "rotations"}
    | {"combine", "allow_checksum_mismatch"}
)
"""What the commands call their own options: no field of a generator's Options may take such a name."""

_GUIDE = "CONTRIBUTING.md says what a generator is"


@dataclass(frozen=True, slots=True)
class Kind:
    """What an option takes: values of ``base`` (bool, int, float or str), one of ``choices`` where there are any.

    ``many``: it may be given more than once.
    """

    base: type[Any]
    choices: tuple[str, ...] = ()
    many: bool = False


def names() -> list[str]:
    """The registered names, sorted. Imports no generator."""
    return sorted({*_built_in(), *_plug_ins()})


@cache
def load(name: str) -> Generator:
    """The generator module called ``name``: the same from then on, for a worker asks for every case.

    Raises UsageError for a name that nobody registered, InputError for a module that cannot be imported, that breaks
    the protocol, or whose Options cannot become options of a command.
    """
    module = _module(name)
    missing = [part for part in ("SOURCE", "Options", "discover", "read") if not hasattr(module, part)]
    if missing:
        raise InputError(f"generator {name} ({module.__name__}) lacks {', '.join(missing)}", remedy=_GUIDE)
    if not (isinstance(module.Options, type) and issubclass(module.Options, Options)):
        raise InputError(
            f"generator {name}: Options does not derive from imagemask.types.Options",
            remedy="Write class Options(imagemask.types.Options)",
        )
    for reason in _misfits(module.Options):
        raise InputError(f"generator {name} ({module.__name__}): {reason}", remedy=_GUIDE)
    return cast(Generator, module)


def source(name: str) -> Source:
    """The source manifest of the generator called ``name``, from the package or folder that its module lies in.

    Raises as ``load`` does, and InputError where there is no such manifest, or a wrong one.
    """
    if name in _built_in():
        return sources.load(name)
    module = cast(ModuleType, load(name))
    wanted: str = module.SOURCE
    package = module.__name__ if hasattr(module, "__path__") else module.__package__
    if package:
        return sources.load(wanted, package=package)
    path = Path(module.__file__ or "").with_name(f"{wanted}.toml")  # the module is no package, and lies in none
    if not path.is_file():
        raise InputError(f"no source manifest {path.name} beside {module.__name__}", remedy="A generator ships one")
    return sources.read(path)


def described() -> tuple[list[Source], list[ImagemaskError]]:
    """The source manifests of all registered generators, by name; and why those of some plug-ins cannot be had."""
    found: list[Source] = []
    broken: list[ImagemaskError] = []
    for name in names():
        try:
            found.append(source(name))
        except InputError as error:
            broken.append(error)
    return found, broken


def kind_of(annotation: Any) -> Kind | None:
    """What the option of a field of this type takes; None for a type that no option has.

    That is bool, int, float, str, a Literal of texts, each of these but bool also ``| None``, or a tuple of any number.
    """
    optional = get_origin(annotation) in (Union, UnionType)
    if optional:
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return None if len(parts) > 1 or parts[0] is bool or get_origin(parts[0]) is tuple else kind_of(parts[0])
    if get_origin(annotation) is tuple:
        inner, *rest = get_args(annotation)
        one = kind_of(inner) if rest == [...] and inner is not bool and get_origin(inner) is not tuple else None
        return Kind(one.base, one.choices, many=True) if one else None
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return Kind(str, choices) if all(isinstance(choice, str) for choice in choices) else None
    return Kind(annotation) if annotation in (bool, int, float, str) else None


def _misfits(options: type[Options]) -> Iterator[str]:
    """Why fields of ``options`` cannot become options of a command."""
    for name, field in options.model_fields.items():
        if name in RESERVED:
            yield f"the option {name} is called as an option that every source has"
        elif not field.description:
            yield f"the option {name} has no description"
        elif field.is_required():
            yield f"the option {name} has no default"
        elif kind_of(field.annotation) is None:
            yield f"the option {name} is of a type that no option has: {field.annotation}"


def _module(name: str) -> ModuleType:
    built_in = _built_in()
    if name in built_in:  # first: plug-ins are looked up in every distribution
        return importlib.import_module(f"{BUILT_IN}.{built_in[name]}")
    plug_ins = _plug_ins()
    if name in plug_ins:
        return _plug_in(plug_ins[name])
    near = difflib.get_close_matches(name, [*built_in, *plug_ins], n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names())}"
    raise UsageError(f"there is no source called {name!r}", remedy=hint)


def _plug_in(point: EntryPoint) -> ModuleType:
    """The module of an entry point. Raises InputError for whatever its import raises: it is not our code."""
    try:
        return cast(ModuleType, point.load())
    except Exception as error:
        owner = point.dist.name if point.dist else point.module.partition(".")[0]
        raise InputError(
            f"generator {point.name} ({point.value}, of {owner}) cannot be imported: {type(error).__name__}: {error}",
            remedy=f"Repair or uninstall {owner}",
        ) from error


@cache
def _built_in() -> Mapping[str, str]:
    package = importlib.import_module(BUILT_IN)
    return {
        module.name.replace("_", "-"): module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg
    }


def _plug_ins() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found or point.name in _built_in():
            raise InputError(
                f"two generators are called {point.name!r}: one is {point.value}",
                remedy=f"Uninstall one; `pip show` the distribution of {point.value.split(':')[0]}",
            )
        found[point.name] = point
    return found
