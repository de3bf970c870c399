"""The generators there are: the built-in modules, and modules that other distributions register.

A third party registers a module under the entry-point group ``imagemask.generators``; its ``NAME.toml`` lies beside it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import cast

from imagemask import sources
from imagemask.errors import InputError, UsageError
from imagemask.types import Generator, Options, Source

BUILT_IN = "imagemask.generators"
ENTRY_POINTS = "imagemask.generators"


def names() -> list[str]:
    """The registered names, sorted. Imports no generator."""
    return sorted({*_built_in(), *_plug_ins()})


def load(name: str) -> Generator:
    """The generator module called ``name``.

    Raises UsageError for a name that nobody registered, InputError for a module that breaks the protocol.
    """
    module = _module(name)
    missing = [part for part in ("SOURCE", "Options", "discover", "read") if not hasattr(module, part)]
    if missing:
        raise InputError(
            f"generator {name} ({module.__name__}) lacks {', '.join(missing)}",
            remedy="CONTRIBUTING.md says what a generator is",
        )
    if not issubclass(module.Options, Options):
        raise InputError(f"generator {name}: Options does not derive from imagemask.types.Options")
    return cast(Generator, module)


def source(name: str) -> Source:
    """The source manifest of the generator called ``name``, from the package that its module lies in."""
    if name in _built_in():
        return sources.load(name)
    module = _module(name)
    return sources.load(module.SOURCE, package=module.__package__ or module.__name__)


def _module(name: str) -> ModuleType:
    built_in, plug_ins = _built_in(), _plug_ins()
    if name in built_in:
        return importlib.import_module(f"{BUILT_IN}.{built_in[name]}")
    if name in plug_ins:
        return cast(ModuleType, plug_ins[name].load())
    near = difflib.get_close_matches(name, [*built_in, *plug_ins], n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names())}"
    raise UsageError(f"there is no source called {name!r}", remedy=hint)


def _built_in() -> dict[str, str]:
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
