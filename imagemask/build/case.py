"""One case, in a worker: hash its files, read it, write its pairs, commit its fragment. Returns counts, no arrays."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagemask import files, manifest, pool, registry
from imagemask.build import fragments
from imagemask.build.fragments import Fragment
from imagemask.cases import inputs, relative
from imagemask.errors import CaseError, InputError, UsageError, exhausted
from imagemask.types import Case, Recipe, Row, Slice, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imagemask.augment import Variant

T = TypeVar("T")
R = TypeVar("R")

IMAGES, MASKS = "images", "masks"
_AT_ONCE = 2
"""Pairs handed over to be digested: one by one costs a hundredth of a build, and more fall out of the cache."""
_SMALL = 1 << 19
"""Bytes that are hashed in the time that a thread needs to start and to end."""
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
    box: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]
    digest: str = ""
    """Where it had to be known, to compare variants."""


@dataclass(slots=True)
class Begun:
    """What has been written of a case so far: rows, bytes of image and mask files, and digests, some of them still due.

    Digests are computed beside what is done next.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    _pairs: list[Pair] = field(default_factory=list)
    _due: list[Future[list[str]]] = field(default_factory=list)

    def add(self, row: Row, pair: Pair, beside: Executor) -> None:
        """Note a pair that will be written."""
        self.rows.append(manifest.record(row))
        self._pairs.append(pair)
        if len(self._pairs) == _AT_ONCE or not self._due:  # a picture has no second pair to wait for
            self._hand_over(beside)

    def digests(self, beside: Executor) -> list[str]:
        """The digest of each row's pair."""
        if self._pairs:
            self._hand_over(beside)
        return [digest for due in self._due for digest in due.result()]

    def _hand_over(self, beside: Executor) -> None:
        size = sum(pair.image.nbytes + pair.mask.nbytes for pair in self._pairs)
        self._due.append(_begin(beside, size, _digests, self._pairs))
        self._pairs = []


def _digests(pairs: Sequence[Pair]) -> list[str]:
    return [pair.digest or manifest.digest(pair.image, pair.mask) for pair in pairs]


def run(job: Job, case: Case, fail_fast: bool = False) -> Done:
    """Build ``case``, unless a fragment with its key says that this was done.

    A CaseError becomes a quarantine fragment; with ``fail_fast`` an InputError. An InputError (the output cannot be
    written) goes through: it is not the case's fault.
    """
    earlier, begun = fragments.read(job.dataset, case.id), Begun()
    try:
        with pool.beside(2) as beside:
            names, stamps = inputs(case, job.raw), _stamps(case)
            # Beside reading and writing: hashing, decompressing and encoding all leave the interpreter to others. Two
            # threads, so that digests of pixels do not wait, and their pixels pile up, behind the hash of a large file.
            hashing = _begin(beside, sum(size for size, _ in stamps), _hash, names)
            if earlier and _is_done(job, case, earlier, hashing.result):
                return _done(earlier, resumed=True)
            fragments.forget(job.dataset, case.id)
            fragment = _build(job, case, begun, beside)
            fragment = _sealed(job, case, fragment, hashing.result(), begun.digests(beside))
        _require_unchanged(case, stamps)
    except (InputError, UsageError):
        raise
    except Exception as error:
        fault = _fault(case, error)
        if fail_fast:
            raise InputError(f"{case.id}: {fault.reason} [{fault.code}]", remedy=fault.remedy) from error
        fragments.forget(job.dataset, case.id)
        remove_pictures(job.dataset, earlier)
        remove_pictures(job.dataset, Fragment(case.id, "", "built", rows=begun.rows))
        fragment = fragments.quarantined(case, fault, raw=job.raw)
    fragments.write(job.dataset, fragment)
    return _done(fragment)


def _begin(beside: Executor, size: int, call: Callable[[T], R], given: T) -> Future[R]:
    """``call(given)``, which hashes so many bytes: ``beside`` what is next, or at once where threads gain nothing."""
    return (beside if size >= _SMALL else pool.InProcess()).submit(call, given)


def _hash(names: Mapping[Path, str]) -> dict[str, str]:
    return {name: files.sha256(path) for path, name in names.items()}


def is_done(job: Job, case: Case) -> bool:
    """Whether ``run`` would find ``case`` done: its files are read, to see whether they are still the same."""
    earlier = fragments.read(job.dataset, case.id)
    try:
        return earlier is not None and _is_done(job, case, earlier, lambda: _hash(inputs(case, job.raw)))
    except (OSError, CaseError):  # a file that cannot be read, or named: building it will say so
        return False


def _is_done(job: Job, case: Case, earlier: Fragment, hashes: Callable[[], dict[str, str]]) -> bool:
    """Whether an earlier run has built ``case`` from these very files, and all that it wrote is there."""
    if earlier.outcome != "built" or not _pictures_are_whole(job.dataset, earlier):
        return False
    return earlier.key == _key(job, case, hashes())


def _sealed(job: Job, case: Case, fragment: Fragment, hashes: Mapping[str, str], digests: Sequence[str]) -> Fragment:
    """``fragment`` with its key, and in each row the hash of its source file and the digest of its pixels."""
    for row, digest in zip(fragment.rows, digests, strict=True):
        row["digest"] = digest
        row["source_sha256"] = hashes.get(row["source"], "")
    return replace(fragment, key=_key(job, case, hashes))


def _key(job: Job, case: Case, hashes: Mapping[str, str]) -> str:
    return fragments.key(fragments.plan_key(job.recipe, job.source), case, hashes)


def _fault(case: Case, error: Exception) -> CaseError:
    """Any exception as what is wrong with the case. Raises InputError where it is the machine that is at its end.

    A picture library, and a generator that somebody else wrote, have many ways to fail on a damaged file, and one bad
    file must not end a build.
    """
    if lacks := exhausted(error):
        remedy = "Give fewer --workers and run again: what is done is kept"
        raise InputError(f"{case.id}: {lacks}", remedy=remedy) from error
    if isinstance(error, CaseError):
        return error
    if isinstance(error, OSError):
        return _unreadable(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
    file = case.images[0] if case.images else None
    return CaseError(
        "unexpected_error", reason, file=file, remedy="If the file is sound, this is a bug: please report it"
    )


def _unreadable(error: OSError) -> CaseError:
    file = Path(error.filename) if isinstance(error.filename, str) else None
    reason = f"{file.name if file else 'a file'} cannot be read: {error.strerror or error}"
    return CaseError("unreadable_file", reason, file=file, remedy="Check its permissions, or fetch it again")


def _build(job: Job, case: Case, begun: Begun, beside: Executor) -> Fragment:
    import numpy as np

    generator = registry.load(job.recipe.generator)
    options = generator.Options.model_validate(dict(job.recipe.options))
    flags: Counter[str] = Counter()
    read = kept = empty = 0
    last = -1
    for piece in generator.read(case, options):
        if piece.index <= last:
            raise CaseError("slice_order", f"slice {piece.index} comes after slice {last}", remedy="Mend the generator")
        last, read = piece.index, read + 1
        # Most slices of a volume are empty, and all that they cost beyond being read is this look: not by any(), which
        # takes ten times as long where a slice lies backwards in memory.
        wanted = job.recipe.keep_empty or np.count_nonzero(piece.mask) > 0
        written = list(pairs(piece, job.source, job.recipe)) if wanted else []
        for pair in written:
            row = _row(job, case, piece, pair)
            _require_short(row.key)
            begun.add(row, pair, beside)  # before it is written, so that what fails is removed
            begun.sizes.append(_write(job.dataset, row.key, pair))
        kept += bool(written)
        empty += not written
        noted = chain.from_iterable(pair.flags for pair in written)
        flags.update({*case.flags, *piece.flags, *noted, *(_lost(piece, written) if wanted else ())})
    return Fragment(
        case=case.id,
        key="",
        outcome="built",
        rows=begun.rows,
        sizes=begun.sizes,
        read=read,
        kept=kept,
        empty=empty,
        flags=dict(sorted(flags.items())),
        patient=case.patient,
        group=case.group or case.patient,
    )


def pairs(piece: Slice, source: Source, recipe: Recipe) -> Iterator[Pair]:
    """The pairs that a slice is written as: plain first, then each variant that differs from those before it.

    Without ``keep_empty`` a pair with an empty mask is left out. Raises CaseError (an undeclared label, a crop that
    leaves nothing).
    """
    from imagemask import augment, pixels

    piece = pixels.labels(piece, source.labels)
    piece = pixels.window(piece, [pixels.parse_window(text) for text in recipe.window])
    seen: set[str] = set()
    variants = augment.variants(recipe)
    for variant in variants:
        pair = _render(piece, variant, source, recipe)
        if not (recipe.keep_empty or any(pair.counts[1:])):
            continue
        if len(variants) > 1:  # a single one equals no other
            pair = replace(pair, digest=manifest.digest(pair.image, pair.mask))
            if pair.digest in seen:
                continue
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
    if not recipe.window and np.may_share_memory(image, np.asarray(piece.image)):
        image = image.copy()  # it is the generator's own, which may be used again before the digest is made
    mask = pixels.to_mask(view.mask, manifest.mask_values(source.labels))
    foreground = _counted(view.mask, len(source.labels))
    counts = (view.mask.size - sum(foreground), *foreground)  # np.bincount would make 64-bit integers of every pixel
    return Pair(variant.name, image, mask, counts, box, pad, view.spacing, view.flags)


def _counted(mask: NDArray[np.integer[Any]], classes: int) -> list[int]:
    """Pixels of each class id, from 1."""
    import numpy as np

    if classes == 1:
        return [int(np.count_nonzero(mask))]
    return [int(np.count_nonzero(mask == number)) for number in range(1, classes + 1)]


def _require_short(key: str) -> None:
    if len(key.encode()) > _LONGEST_KEY:
        reason = f"{key} is longer than {_LONGEST_KEY} bytes"
        raise CaseError("name_too_long", reason, remedy="Rename the source file", stage="write")


def _write(dataset: Path, key: str, pair: Pair) -> tuple[int, int]:
    """Write a pair under its final names; the bytes of image and mask."""
    from imagemask import images

    image = images.encode_png(pair.image, level=images.IMAGE_LEVEL)
    mask = images.encode_png(pair.mask, level=images.MASK_LEVEL)
    files.write_atomic(dataset / f"{IMAGES}/{key}.png", image)
    files.write_atomic(dataset / f"{MASKS}/{key}.png", mask)
    return len(image), len(mask)


def _row(job: Job, case: Case, piece: Slice, pair: Pair) -> Row:
    flags = {*case.flags, *pair.flags, *_lost(piece, [pair])}
    spacing = pair.spacing or (None, None)
    return Row(
        key=manifest.key_of(case.id, piece.index, pair.variant),
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
        source=relative(piece.source or case.images[0], job.raw),
        source_sha256="",  # it and the digest are known when the fragment is sealed
        digest="",
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


def _pictures_are_whole(dataset: Path, fragment: Fragment) -> bool:
    """Whether each picture is there with the size that it was written with: a power cut leaves short ones."""
    if len(fragment.sizes) != len(fragment.rows):
        return False
    try:
        return all(
            (dataset / folder / f"{row['key']}.png").stat().st_size == size
            for row, sizes in zip(fragment.rows, fragment.sizes, strict=True)
            for folder, size in zip((IMAGES, MASKS), sizes, strict=True)
        )
    except OSError:
        return False


def remove_pictures(dataset: Path, fragment: Fragment | None) -> None:
    """Remove what ``fragment`` names, as far as it is there."""
    for row in fragment.rows if fragment else ():
        for folder in (IMAGES, MASKS):
            (dataset / folder / f"{row['key']}.png").unlink(missing_ok=True)


def _done(fragment: Fragment, *, resumed: bool = False) -> Done:
    return Done(fragment.case, fragment.outcome, len(fragment.rows), fragment.read, resumed)
