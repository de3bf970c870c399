"""The contract of a generator, for ours and for third parties'.

A test module of your own needs no more than this (and pytest)::

    from imagemask import testing

    test_contract = testing.contract("my-source")

It runs each of CHECKS, which take the registered name and an empty folder. A check raises AssertionError, or the
ImagemaskError that a user would see, and says what is wrong. The source needs a ``phantom``: the contract is about what
a generator does with files, so there must be files. docs/plug-in.md is a worked example.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagemask import build, cases, check, files, phantoms, pool, registry
from imagemask.build import How
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.names import some
from imagemask.testing.differences import against, pictures, same, same_cases, same_pixels, tree
from imagemask.testing.sound import require_labels, require_picklable, require_sound, require_sound_slice, require_word
from imagemask.types import PHANTOM, Case, Slice, Source, WritesPhantom, from_options

if TYPE_CHECKING:
    from imagemask.testing.differences import Pixels

R = TypeVar("R")

_SIZE = {"patients": 6, "size": 64, "slices": 10, "seed": 7}


def contract(name: str) -> Callable[..., None]:
    """The contract of source ``name`` as a test for pytest, with an id for each check. Needs pytest."""
    import pytest

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_contract(check: Callable[[str, Path], None], tmp_path: Path) -> None:
        check(name, tmp_path)

    return test_contract


def name_of(check: Callable[..., None]) -> str:
    """The name of a check, for a test's id."""
    return check.__name__


def declares_itself(name: str, _folder: Path) -> None:
    """The module, its source manifest and its options agree with each other, and each option has help."""
    generator, source = registry.load(name), registry.source(name)
    assert source.name == name, f"it is registered as {name}, and its source manifest is called {source.name}"
    assert name == generator.SOURCE, f"it is registered as {name}, and SOURCE is {generator.SOURCE}"
    assert (generator.__doc__ or "").strip(), f"the module of {name} has no docstring"
    assert min(source.labels) > 0, f"the source manifest declares the label {min(source.labels)}; 0 is the background"
    options = _options(name)
    kept = from_options(generator.Options, options.model_dump(mode="json"))  # as a dataset keeps them
    assert kept == options, f"options change when they are written down and read: {options} becomes {kept}"


def refuses_what_is_not_its_source(name: str, folder: Path) -> None:
    """An empty folder, one that holds something else and one that is not there are an InputError, not a crash."""
    generator, options = registry.load(name), _options(name)
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("No scan.\n")
    for raw in ("empty", "other", "absent"):
        try:
            found = cases.discover(generator, folder / raw, options)
        except (InputError, UsageError):
            continue
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AssertionError(f"discover of a folder that is {raw} raises {said}, not an InputError") from error
        raise AssertionError(f"discover finds {some([case.id for case in found])} in a folder that is {raw}")


def writes_a_deterministic_phantom(name: str, folder: Path) -> None:
    """Equal arguments give equal bytes, in another process too, another seed others; the marker says what it holds."""
    first = phantom(name, folder / "a")
    same(tree(first), tree(phantom(name, folder / "b")), "the same seed gives another phantom")
    same(tree(first), tree(_elsewhere(phantom, name, folder / "c")), "another process writes another phantom")
    assert tree(first) != tree(phantom(name, folder / "d", seed=8)), "another seed gives the same phantom"
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["a", "b", "c", "d"], f"the phantom writes beside its folder: {some(left)}"
    assert (first / PHANTOM).is_file(), f"there is no {PHANTOM}: end with imagemask.phantoms.finish"
    marker = json.loads((first / PHANTOM).read_text())
    assert marker["source"] == name, f"{PHANTOM} is of {marker['source']}"
    assert marker["faults"] == {}, f"{PHANTOM} lists faults that nobody asked for: {marker['faults']}"


def discovers_cases(name: str, folder: Path) -> None:
    """Sorted, unique, picklable cases of existing files below the raw folder, the same each time and everywhere."""
    raw = phantom(name, folder / "raw")
    source, found = _source(name, raw), discover(name, raw)
    ids = [case.id for case in found]
    assert ids, "discover finds no case in the phantom"
    assert ids == sorted(ids), f"cases are not sorted by id: {some(ids)}"
    for reason in cases.problems(found):
        raise AssertionError(f"cases cannot be written side by side: {reason}")
    same_cases(found, discover(name, raw), "discover finds other cases the second time")
    require_picklable(found)
    same_cases(found, _elsewhere(discover, name, raw), "discover finds other cases in another process")
    moved = phantom(name, folder / "moved")
    same_cases(
        [_relative(case, raw) for case in found],
        [_relative(case, moved) for case in discover(name, moved)],
        "discover finds other cases when the source lies elsewhere",
    )
    for case in found:
        require_sound(case, raw, source)


def passes_over_junk(name: str, folder: Path) -> None:
    """What operating systems leave in folders (``._*``, ``.DS_Store``, ``__MACOSX``) changes no case and no pixel."""
    raw = phantom(name, folder / "raw")
    found = discover(name, raw)
    before = _read_all(name, raw, found)
    _litter(raw)
    same_cases(found, discover(name, raw), "junk changes what discover finds")
    same_pixels(before, _read_all(name, raw, found), "junk changes what read yields")


def reads_slices(name: str, folder: Path) -> None:
    """Slices in order, image and mask of one size, declared labels only; the same ones again from the case's files."""
    raw = phantom(name, folder / "raw")
    before, found = tree(raw), discover(name, raw)
    first = _read_all(name, raw, found)
    require_labels(first, _source(name, raw))
    same_pixels(first, _read_all(name, raw, found[::-1]), "read yields something else the second time")
    same(before, tree(raw), "reading changes the source")
    listed = {path for case in found for path in (*case.images, *case.masks)}
    for path in set(files.walk(raw).files) - listed:
        path.unlink()  # a build hashes the listed files, and tells by them whether a case must be built again
    unlisted = "read needs files that Case.images and Case.masks do not list"
    try:
        again = _read_all(name, raw, found)
    except Exception as error:
        raise AssertionError(f"{unlisted}: {error}") from error
    same_pixels(first, again, unlisted)


def passes_its_check(name: str, folder: Path) -> None:
    """``imagemask check`` finds the phantom complete: all that its marker counts, and nothing else."""
    report = check.check(name, phantom(name, folder / "raw"))
    assert not report.stopped, f"a build would stop: {report.stopped}"
    refused = [f"{one.case}: {one.reason} [{one.code}]" for one in report.quarantined]
    assert not refused, f"healthy cases would be quarantined: {some(refused)}"
    assert report.phantom, f"there is no {PHANTOM}: end with imagemask.phantoms.finish"
    assert not report.missing, f"{PHANTOM} lists cases that are not discovered: {some(report.missing)}"
    assert not report.extra, f"{PHANTOM} does not list {some(report.extra)}"
    assert report.found == report.expected, f"found are {report.found}, {PHANTOM} says {report.expected}"


def builds_the_same_bytes_however_it_runs(name: str, folder: Path) -> None:
    """One process or two, in shards or at once, at once or resumed: one tree."""
    raw = phantom(name, folder / "raw")
    whole, shards = folder / "whole", folder / "shards"
    built = run(name, raw, whole, How(workers=1))
    assert built.merged is not None, "the build was not merged"
    counts = built.merged.counts
    assert counts.discovered == counts.built + counts.quarantined + counts.excluded, f"cases are lost: {counts}"
    assert counts.slices_read == counts.slices_kept + counts.slices_empty, f"slices are lost: {counts}"
    refused = [f"{case}: {note.reason} [{note.code}]" for case, note in built.merged.quarantined]
    assert not refused, f"healthy cases are quarantined: {some(refused)}"
    expected = tree(whole)
    resumed = run(name, raw, whole, How(workers=1)).resumed
    assert resumed == counts.built, f"run again, {counts.built - resumed} cases were built anew"
    same(expected, tree(whole), "run again, the build differs")
    for number in (2, 1):
        run(name, raw, shards, How(workers=2, shard=(number, 2)))
    build.merge(shards)
    same(expected, tree(shards), "two workers and two shards build something else than one process")


def quarantines_exactly_the_faults(name: str, folder: Path) -> None:
    """Each injected fault is quarantined under its code; healthy cases are built as if the others were not there."""
    healthy, faulty = phantom(name, folder / "healthy"), phantom(name, folder / "faulty", faults=True)
    clean, mixed = folder / "clean", folder / "mixed"
    run(name, healthy, clean, How(workers=1))
    merged = run(name, faulty, mixed, How(workers=1)).merged
    assert merged is not None, "the build was not merged"
    expected = json.loads((faulty / PHANTOM).read_text())["faults"]
    assert expected, f"the phantom has no faults: {PHANTOM} lists none"
    codes = {case: note.code for case, note in merged.quarantined}
    same(expected, codes, "not quarantined under the expected codes", tell=against)
    for case, note in merged.quarantined:
        require_word(case, "code", note.code)
        assert note.reason, f"{case}: the quarantine record lacks a reason"
        assert note.remedy, f"{case}: the quarantine record lacks a remedy"
    same(pictures(clean), pictures(mixed), "with broken cases beside them, healthy ones are built differently")
    foreseen = {one.case: one.code for one in check.check(name, faulty).quarantined}
    built = {case: codes.get(case) for case in foreseen}
    same(built, foreseen, "imagemask check says something else than a build", tell=against)


CHECKS = (
    declares_itself,
    refuses_what_is_not_its_source,
    writes_a_deterministic_phantom,
    discovers_cases,
    passes_over_junk,
    reads_slices,
    passes_its_check,
    builds_the_same_bytes_however_it_runs,
    quarantines_exactly_the_faults,
)


def phantom(name: str, raw: Path, *, faults: bool = False, **size: int) -> Path:
    """Write the phantom of source ``name`` to ``raw``, small unless told otherwise; ``raw``."""
    generator = registry.load(name)
    assert isinstance(generator, WritesPhantom), f"{name} has no phantom: the contract needs files to work with"
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


def _source(name: str, raw: Path) -> Source:
    return build.prepare(name, raw=raw, out=raw.parent / "unused", recipe={}, options={}).source


def _options(name: str) -> Any:
    return registry.load(name).Options()


def _elsewhere(call: Callable[..., R], *arguments: Any) -> R:
    """What ``call`` returns in another process, where texts have other hashes, so that sets have another order."""
    with pool.processes(1) as executor:
        return executor.submit(call, *arguments).result()


def _relative(case: Case, raw: Path) -> Case:
    images, masks = (
        tuple(path.relative_to(raw) if path.is_relative_to(raw) else path for path in paths)
        for paths in (case.images, case.masks)
    )
    return replace(case, images=images, masks=masks)


def _litter(raw: Path) -> None:
    """Leave what macOS, Windows and a NAS leave beside, above and for each file."""
    twin = phantoms.apple_double()
    for path in files.walk(raw).files:
        place = path.relative_to(raw)
        litter = {
            path.with_name(f"._{path.name}"): twin,
            path.with_name(".DS_Store"): b"\0\0\0\1Bud1",
            path.with_name("Thumbs.db"): b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            path.parent / "@eaDir" / path.name / f"SYNOPHOTO_THUMB{path.suffix}": path.read_bytes(),
            raw / "__MACOSX" / place.with_name(f"._{path.name}"): twin,
        }
        for where, data in litter.items():
            if not where.exists():
                where.parent.mkdir(parents=True, exist_ok=True)
                where.write_bytes(data)


def _read_all(name: str, raw: Path, found: Iterable[Case]) -> dict[str, dict[int, Pixels]]:
    """The slices of each case that is not excluded, by its id, in the order of ``found``."""
    excluded = _source(name, raw).excluded
    return {case.id: _read(name, case) for case in found if case.id not in excluded}


def _read(name: str, case: Case) -> dict[int, Pixels]:
    """Copies of the pixels of a case, by index."""
    import numpy as np

    held: list[tuple[Slice, Pixels]] = []
    try:
        pieces = registry.load(name).read(case, _options(name))
        held.extend((one, (np.array(one.image), np.array(one.mask))) for one in pieces)
    except CaseError as error:
        raise AssertionError(f"{case.id}: a healthy case cannot be read: {error} [{error.code}]") from error
    indices = [one.index for one, _ in held]
    assert indices == sorted(set(indices)), f"{case.id}: slices are not in order, or there twice: {some(indices)}"
    for one, pixels in held:
        require_sound_slice(case, one, pixels)
    return {one.index: pixels for one, pixels in held}


def _ignore(_: object) -> None:
    """Take no notice of progress."""
