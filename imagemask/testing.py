"""The contract of a generator, for ours and for third parties'.

In a test module of your own::

    import pytest
    from imagemask import testing

    @pytest.mark.parametrize("check", testing.CHECKS, ids=testing.name_of)
    def test_contract(check, tmp_path):
        check("my-source", tmp_path)

Each check takes the registered name and an empty folder, and raises AssertionError. The source needs a ``phantom``: the
contract is about what a generator does with files, so there must be files.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagemask import build, files, registry
from imagemask.build import How
from imagemask.types import PHANTOM, Case, WritesPhantom

_SIZE = {"patients": 6, "size": 64, "slices": 10, "seed": 7}


def name_of(check: Callable[..., None]) -> str:
    """The name of a check, for a test's id."""
    return check.__name__


def declares_itself(name: str, _folder: Path) -> None:
    """The module, its source manifest and its options agree with each other, and each option has help."""
    generator, source = registry.load(name), registry.source(name)
    assert source.name == name, f"the source manifest is called {source.name}"
    assert name == generator.SOURCE, f"SOURCE is {generator.SOURCE}"
    for option, field in generator.Options.model_fields.items():
        assert field.description, f"the option {option} has no description"
        assert not field.is_required(), f"the option {option} has no default"
    assert generator.__doc__, "the module has no docstring"


def writes_a_deterministic_phantom(name: str, folder: Path) -> None:
    """Equal arguments give equal bytes; the marker file says what a check expects."""
    first, second = phantom(name, folder / "a"), phantom(name, folder / "b")
    assert _tree(first) == _tree(second)
    marker = json.loads((first / PHANTOM).read_text())
    assert marker["source"] == name
    assert marker["faults"] == {}


def discovers_cases(name: str, folder: Path) -> None:
    """Sorted, unique, picklable cases of existing files below the raw folder, the same ones each time."""
    raw = phantom(name, folder / "raw")
    cases = discover(name, raw)
    ids = [case.id for case in cases]
    assert ids, "no case in the phantom"
    assert ids == sorted(set(ids)), "cases are not sorted, or not unique"
    assert discover(name, raw) == cases
    assert pickle.loads(pickle.dumps(cases)) == cases  # noqa: S301  our own bytes
    for case in cases:
        for path in (*case.images, *case.masks):
            assert path.is_file(), f"{path} is not a file"
            assert path.is_relative_to(raw), f"{path} lies outside the raw folder"
            assert not files.is_junk(path.name), f"{path} is junk"


def reads_slices(name: str, folder: Path) -> None:
    """Slices in order, image and mask of one size, declared labels only, and the same pixels when read again."""
    import numpy as np

    raw = phantom(name, folder / "raw")
    generator, options, source = registry.load(name), _options(name), _source(name, raw)
    foreground = 0
    for case in discover(name, raw):
        if case.id in source.excluded:
            continue
        first = [
            (one.index, np.asarray(one.image).copy(), one.mask.copy(), one.spacing)
            for one in generator.read(case, options)
        ]
        again = [(one.index, np.asarray(one.image), one.mask) for one in generator.read(case, options)]
        indices = [index for index, *_ in first]
        assert indices == sorted(set(indices)), f"{case.id}: slices are not in order"
        for (_, image, mask, spacing), (_, image_again, mask_again) in zip(first, again, strict=True):
            assert image.shape[:2] == mask.shape
            assert set(np.unique(mask).tolist()) <= {0, *source.labels}, f"{case.id}: undeclared labels"
            assert spacing is None or min(spacing) > 0
            assert np.array_equal(image, image_again), f"{case.id}: another image the second time"
            assert np.array_equal(mask, mask_again), f"{case.id}: another mask the second time"
            foreground += int(mask.any())
    assert foreground, "not one slice has foreground"


def builds_the_same_bytes_however_it_runs(name: str, folder: Path) -> None:
    """One process or two, in shards or at once, at once or resumed: one tree."""
    raw = phantom(name, folder / "raw")
    whole, shards = folder / "whole", folder / "shards"
    built = run(name, raw, whole, How(workers=1))
    assert built.merged is not None
    counts = built.merged.counts
    assert counts.discovered == counts.built + counts.quarantined + counts.excluded
    assert counts.slices_read == counts.slices_kept + counts.slices_empty
    assert counts.quarantined == 0, built.merged.quarantined
    expected = _tree(whole)
    assert run(name, raw, whole, How(workers=1)).resumed == counts.built
    assert _tree(whole) == expected
    for number in (2, 1):
        run(name, raw, shards, How(workers=2, shard=(number, 2)))
    build.merge(shards)
    assert _tree(shards) == expected


def quarantines_exactly_the_faults(name: str, folder: Path) -> None:
    """Each injected fault is quarantined under its code; healthy cases are built as if the others were not there."""
    healthy, faulty = phantom(name, folder / "healthy"), phantom(name, folder / "faulty", faults=True)
    clean, mixed = folder / "clean", folder / "mixed"
    run(name, healthy, clean, How(workers=1))
    merged = run(name, faulty, mixed, How(workers=1)).merged
    assert merged is not None
    expected = json.loads((faulty / PHANTOM).read_text())["faults"]
    assert expected, "the phantom's faults are none"
    assert {case: note.code for case, note in merged.quarantined} == expected
    for case, note in merged.quarantined:
        assert note.reason, f"{case}: the quarantine record lacks a reason"
        assert note.remedy, f"{case}: the quarantine record lacks a remedy"
    pictures = {path: digest for path, digest in _tree(clean).items() if path.startswith(("images/", "masks/"))}
    assert pictures == {path: digest for path, digest in _tree(mixed).items() if path.startswith(("images/", "masks/"))}


CHECKS = (
    declares_itself,
    writes_a_deterministic_phantom,
    discovers_cases,
    reads_slices,
    builds_the_same_bytes_however_it_runs,
    quarantines_exactly_the_faults,
)


def phantom(name: str, raw: Path, *, faults: bool = False, **size: int) -> Path:
    """Write the phantom of source ``name`` to ``raw``, small unless told otherwise; ``raw``."""
    generator = registry.load(name)
    assert isinstance(generator, WritesPhantom), f"{name} has no phantom"
    generator.phantom(raw, faults=faults, **{**_SIZE, **size})
    return raw


def discover(name: str, raw: Path) -> list[Case]:
    """The cases that the generator ``name`` finds below ``raw`` with its default options."""
    return list(registry.load(name).discover(raw, _options(name)))


def run(name: str, raw: Path, dataset: Path, how: How, **recipe: Any) -> build.Built:
    """Build source ``name``; ``recipe`` holds fields of Recipe, and ``options``."""
    options = recipe.pop("options", {})
    job = build.prepare(name, raw=raw, out=dataset, recipe=recipe, options=options)
    return build.run(job, how, started=_ignore, progress=_ignore)


def _source(name: str, raw: Path) -> Any:
    return build.prepare(name, raw=raw, out=raw.parent / "unused", recipe={}, options={}).source


def _options(name: str) -> Any:
    return registry.load(name).Options()


def _tree(folder: Path) -> dict[str, str]:
    """Relative path: SHA-256, of every file but the locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}


def _ignore(_: object) -> None:
    """Take no notice of progress."""
