"""One case, in a worker: hash its files, read it, write its pairs, commit its fragment. Returns counts, no arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import files, manifest, registry
from imagemask.build import fragments
from imagemask.build.fragments import Fragment
from imagemask.errors import CaseError, ImagemaskError, InputError
from imagemask.types import Case, Recipe, Row, Slice, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imagemask.augment import Variant

IMAGES, MASKS = "images", "masks"
_LONGEST_KEY = 200  # bytes: a file system takes 255, and a temporary name is longer


@dataclass(frozen=True, slots=True)
class Job:
    """A build, resolved: what is written (``recipe``, ``source``), from where and to where.

    ``notes`` is what the generator says of this very folder beyond its source manifest (``folder``: what it guessed).
    """

    raw: Path
    dataset: Path
    source: Source
    recipe: Recipe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How a case ended, for the process that counts: ``resumed`` where an earlier run had done it."""

    case: str
    outcome: fragments.Outcome
    pairs: int
    slices: int
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Pixels as they are written, and where they come from in the source slice."""

    variant: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    counts: tuple[int, ...]
    """Pixels of each class id, the background first."""
    digest: str
    box: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]


def run(job: Job, case: Case, fail_fast: bool = False) -> Done:
    """Build ``case``, unless a fragment with its key says that this was done.

    A CaseError becomes a quarantine fragment; with ``fail_fast`` an InputError. An InputError (the output cannot be
    written) goes through: it is not the case's fault.
    """
    key = ""
    try:
        _require_names(case, job.raw)
        stamps = _stamps(case)
        inputs = {path: files.sha256(path) for path in (*case.images, *case.masks)}
        named = {fragments.relative(path, job.raw): value for path, value in inputs.items()}
        key = fragments.key(fragments.plan_key(job.recipe, job.source), case, named)
        earlier = fragments.read(job.dataset, case.id)
        if earlier and earlier.key == key and earlier.outcome == "built" and _pictures_exist(job.dataset, earlier):
            return _done(earlier, resumed=True)
        fragments.forget(job.dataset, case.id)
        fragment = replace(_build(job, case, inputs), key=key)
        _require_unchanged(case, stamps)
    except CaseError as error:
        fragment = _quarantine(job, case, error, key=key, fail_fast=fail_fast)
    except OSError as error:
        fragment = _quarantine(job, case, _unreadable(error), key=key, fail_fast=fail_fast)
    fragments.write(job.dataset, fragment)
    return _done(fragment)


def _quarantine(job: Job, case: Case, error: CaseError, *, key: str, fail_fast: bool) -> Fragment:
    if fail_fast:
        raise InputError(f"{case.id}: {error.reason} [{error.code}]", remedy=error.remedy) from error
    fragments.forget(job.dataset, case.id)
    return fragments.quarantined(case, error, raw=job.raw, key=key)


def _unreadable(error: OSError) -> CaseError:
    file = Path(error.filename) if isinstance(error.filename, str) else None
    reason = f"{file.name if file else 'a file'} cannot be read: {error.strerror or error}"
    return CaseError("unreadable_file", reason, file=file, remedy="Check its permissions, or fetch it again")


def _build(job: Job, case: Case, inputs: Mapping[Path, str]) -> Fragment:
    rows: list[dict[str, Any]] = []
    flags: Counter[str] = Counter()
    read = kept = empty = 0
    for piece in _read(job, case):
        read += 1
        # Most slices of a volume are empty, and all that they cost beyond being read is this look.
        wanted = job.recipe.keep_empty or bool(piece.mask.any())
        written = list(pairs(piece, job.source, job.recipe)) if wanted else []
        rows += [_write(job, case, piece, pair, inputs) for pair in written]
        kept += bool(written)
        empty += not written
        noted = chain.from_iterable(pair.flags for pair in written)
        flags.update({*case.flags, *piece.flags, *noted, *(_lost(piece, written) if wanted else ())})
    return Fragment(
        case=case.id,
        key="",
        outcome="built",
        rows=rows,
        read=read,
        kept=kept,
        empty=empty,
        flags=dict(sorted(flags.items())),
    )


def _read(job: Job, case: Case) -> Iterator[Slice]:
    """The slices of a case; whatever a reader raises that is not ours is a CaseError that names it.

    A picture library has many ways to fail on a damaged file, and one bad file must not end a build.
    """
    generator = registry.load(job.recipe.generator)
    options = generator.Options.model_validate(dict(job.recipe.options))
    try:
        yield from generator.read(case, options)
    except (ImagemaskError, OSError):
        raise
    except MemoryError as error:
        raise InputError(f"{case.id}: out of memory", remedy="Give fewer --workers and run again") from error
    except Exception as error:
        file = case.images[0] if case.images else None
        raise CaseError(
            "unexpected_error",
            f"{type(error).__name__}: {error}",
            file=file,
            remedy="--fail-fast shows where it happened",
        ) from error


def pairs(piece: Slice, source: Source, recipe: Recipe) -> Iterator[Pair]:
    """The pairs that a slice is written as: plain first, then each variant that differs from those before it.

    Without ``keep_empty`` a pair with an empty mask is left out. Raises CaseError (an undeclared label, a crop that
    leaves nothing).
    """
    from imagemask import augment, pixels

    piece = pixels.labels(piece, source.labels)
    piece = pixels.window(piece, [pixels.parse_window(text) for text in recipe.window])
    seen: set[str] = set()
    for variant in augment.variants(recipe):
        pair = _render(piece, variant, source, recipe)
        if pair.digest not in seen and (recipe.keep_empty or any(pair.counts[1:])):
            seen.add(pair.digest)
            yield pair


def _render(piece: Slice, variant: Variant, source: Source, recipe: Recipe) -> Pair:
    import numpy as np

    from imagemask import augment, pixels

    height, width = piece.mask.shape
    box = (variant.crop, variant.crop, height - variant.crop, width - variant.crop)
    pad = (0, 0, 0, 0)
    view = pixels.crop(piece, variant.crop) if variant.crop else piece
    if recipe.size is not None:
        view, pad = pixels.fit(view, recipe.size, stretch=recipe.stretch, background=source.background)
    elif variant.crop:
        view = pixels.resize(view, height, width)
    view = augment.apply(view, variant, background=source.background)
    image = np.ascontiguousarray(view.image, dtype=np.uint8)
    mask = pixels.to_mask(view.mask, manifest.mask_values(source.labels))
    foreground = [int(np.count_nonzero(view.mask == number)) for number in range(1, len(source.labels) + 1)]
    counts = (view.mask.size - sum(foreground), *foreground)  # np.bincount would make 64-bit integers of every pixel
    return Pair(variant.name, image, mask, counts, manifest.digest(image, mask), box, pad, view.spacing, view.flags)


def _write(job: Job, case: Case, piece: Slice, pair: Pair, inputs: Mapping[Path, str]) -> dict[str, Any]:
    """Write a pair under its final names, and say in a row of the manifest what it is."""
    from imagemask import images

    key = f"{case.id}-{piece.index:04d}" + (f"~{pair.variant}" if pair.variant else "")
    if len(key.encode()) > _LONGEST_KEY:
        reason = f"{key} is longer than {_LONGEST_KEY} bytes"
        raise CaseError("name_too_long", reason, remedy="Rename the source file", stage="write")
    files.write_atomic(job.dataset / IMAGES / f"{key}.png", images.encode_png(pair.image, level=images.IMAGE_LEVEL))
    files.write_atomic(job.dataset / MASKS / f"{key}.png", images.encode_png(pair.mask, level=images.MASK_LEVEL))
    return manifest.record(_row(job, case, piece, pair, key=key, inputs=inputs))


def _row(job: Job, case: Case, piece: Slice, pair: Pair, *, key: str, inputs: Mapping[Path, str]) -> Row:
    file = piece.source or case.images[0]
    flags = {*case.flags, *pair.flags, *_lost(piece, [pair])}
    spacing = pair.spacing or (None, None)
    return Row(
        key=key,
        dataset=job.recipe.name,
        patient=case.patient,
        group=case.group or case.patient,
        case=case.id,
        slice=piece.index,
        variant=pair.variant,
        split=case.split,
        fold="",
        category=case.category,
        flags=" ".join(sorted(flags)),
        height=pair.mask.shape[0],
        width=pair.mask.shape[1],
        spacing_y=spacing[0],
        spacing_x=spacing[1],
        source_height=piece.mask.shape[0],
        source_width=piece.mask.shape[1],
        box=" ".join(map(str, pair.box)),
        pad=" ".join(map(str, pair.pad)),
        foreground=sum(pair.counts[1:]),
        classes=" ".join(str(value) for value, count in enumerate(pair.counts) if value and count),
        source=fragments.relative(file, job.raw),
        source_sha256=inputs.get(file, ""),
        digest=pair.digest,
        extra={column: case.extra.get(column, "") for column in job.source.columns},
    )


def _lost(piece: Slice, written: Sequence[Pair]) -> list[str]:
    """A flag where a slice has labelled pixels and what was written has none: in shrinking, the background won."""
    lost = not any(any(pair.counts[1:]) for pair in written) and bool(piece.mask.any())
    return ["foreground_lost"] if lost else []


def _stamps(case: Case) -> list[tuple[int, int]]:
    """Size and time of change of every file: a cheap sign that one changed while it was read."""
    found = [path.stat() for path in (*case.images, *case.masks)]
    return [(one.st_size, one.st_mtime_ns) for one in found]


def _require_unchanged(case: Case, stamps: list[tuple[int, int]]) -> None:
    for path, before, now in zip((*case.images, *case.masks), stamps, _stamps(case), strict=True):
        if now != before:
            reason = f"{path.name} changed while it was read"
            raise CaseError("changed_while_read", reason, file=path, remedy="Run again when it rests")


def _require_names(case: Case, raw: Path) -> None:
    """Raises CaseError where the name of a file is not text, as some systems allow: no table could hold it."""
    for path in (*case.images, *case.masks):
        written = fragments.relative(path, raw)
        if not path.as_posix().endswith(written):  # it was escaped
            reason = f"the name {written} is not UTF-8"
            raise CaseError("undecodable_name", reason, file=path, remedy="Rename the file")


def _pictures_exist(dataset: Path, fragment: Fragment) -> bool:
    return all(
        (dataset / folder / f"{row['key']}.png").is_file() for row in fragment.rows for folder in (IMAGES, MASKS)
    )


def _done(fragment: Fragment, *, resumed: bool = False) -> Done:
    return Done(fragment.case, fragment.outcome, len(fragment.rows), fragment.read, resumed)
