"""``evaluate --raw``: the test patients' whole volumes, read again, empty slices included.

A set built without empty slices cannot show what a network finds where there is nothing. Here every slice of a volume
goes through the recipe's steps as ``build`` makes a plain pair of it, at the written size, and is predicted. Where the
dataset holds the slice, the pixels must be the very same: a raw folder that changed since is not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagemask import manifest, pixels, registry
from imagemask.cases import discover, relative
from imagemask.errors import CaseError, ImagemaskError, InputError, exhausted
from imagemask.learn import held_out, infer
from imagemask.learn.held_out import HeldOut
from imagemask.types import Case, Generator, Options, Recipe, Slice

_UNITS: Mapping[str, Callable[[Case], str]] = {
    "patient": lambda case: case.patient,
    "group": lambda case: case.group or case.patient,
    "case": lambda case: case.id,
}
_FALSE = ("false_slices", "false_pixels", "false_mm2")
_OTHER = "it is not the one that the dataset was built from"


@dataclass(slots=True)
class Volume:
    """What was found in a volume, all its slices pooled; ``case`` names it, ``unit`` who it belongs to.

    ``truth``, ``predicted`` and ``both`` are pixels of each foreground class. A false-positive slice is one whose truth
    is empty and whose prediction is not; ``false_pixels`` are the pixels found in those, ``false_mm2`` their area (nan
    where the spacing is not known).
    """

    case: str
    unit: str
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    both: NDArray[np.int64]
    slices: int = 0
    empty_slices: int = 0
    false_slices: int = 0
    false_pixels: int = 0
    false_mm2: float = 0.0

    def add(self, truth: NDArray[np.uint8], found: NDArray[np.uint8], spacing: tuple[float, float] | None) -> None:
        """Count a slice: class ids, HxW each."""
        size = len(self.truth) + 1
        table = np.bincount(truth.ravel().astype(np.int64) * size + found.ravel(), minlength=size * size)
        table = table.reshape(size, size)
        self.truth += table.sum(axis=1)[1:]
        self.predicted += table.sum(axis=0)[1:]
        self.both += np.diagonal(table)[1:]
        self.slices += 1
        if not truth.any():
            wrong = int(np.count_nonzero(found))
            self.empty_slices += 1
            self.false_slices += wrong > 0
            self.false_pixels += wrong
            area = spacing[0] * spacing[1] if spacing else np.nan
            self.false_mm2 += wrong * area if wrong else 0.0

    def merge(self, other: Volume) -> None:
        """Pool another volume with this one."""
        for name in (*("truth", "predicted", "both", "slices", "empty_slices"), *_FALSE):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def dice(self) -> float:
        """2 |T and P| / (|T| + |P|), the mean over the classes that either holds; 1 where neither holds any."""
        total = self.truth + self.predicted
        there = total > 0
        return float((2 * self.both[there] / total[there]).mean()) if there.any() else 1.0

    @property
    def error(self) -> float:
        """(|P| - |T|) / |T|, the mean over the classes that the truth holds; nan where it holds none."""
        there = self.truth > 0
        return float((self.predicted[there] / self.truth[there] - 1).mean()) if there.any() else float("nan")


@dataclass(frozen=True, slots=True)
class Unscored:
    """A case that was not scored: the file at fault, relative to the raw folder, where it is one; why; what to do."""

    case: str
    file: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of a set, by case, and the cases that could not be scored."""

    volumes: Sequence[Volume] = ()
    failures: Sequence[Unscored] = field(default_factory=tuple)


def score(held: HeldOut, raw: Path, model: Any, progress: Callable[[int, int], None] | None = None) -> Volumes:
    """Predict every slice of the cases of ``held`` below ``raw``, and count. ``progress(done, cases)`` as each ends.

    A case that cannot be read, is missing, or is not what the dataset was built from becomes a failure, and the rest is
    done. Raises InputError where ``raw`` holds no case of the source; UsageError where nobody can read the source.
    """
    recipe = Recipe.model_validate(dict(held.run.record.recipe))
    generator = registry.load(recipe.generator)
    options = generator.Options.model_validate(dict(recipe.options))
    require_folder(raw)
    cases = _cases_of(held, discover(generator, raw.absolute(), options))
    volumes: list[Volume] = []
    missing = sorted(set(held.cases) - {case.id for case in cases})
    failures = [
        Unscored(case, "", f"it is not in {raw}", "Give --raw the folder that it was built from") for case in missing
    ]
    for number, case in enumerate(cases, start=1):
        try:
            volumes.append(_volume(held, case, _Reader(held, generator, options, recipe), model))
        except CaseError as error:
            failures.append(_failure(case, error, raw.absolute()))
        if progress:
            progress(number, len(cases))
    return Volumes(_pooled(volumes), sorted(failures, key=lambda one: one.case))


def require_folder(raw: Path) -> None:
    """Raises InputError where there is no such folder."""
    if not raw.is_dir():
        raise InputError(
            f"{raw}: is not a folder", remedy="Give --raw the folder that the dataset was built from, unpacked"
        )


def _cases_of(held: HeldOut, cases: Sequence[Case]) -> list[Case]:
    """The cases that belong to whom the set holds, those without a single pair included; excluded ones are not."""
    excluded = held.data.document.get("excluded", {})
    members, of = set(held.rows[held.kept_whole]), _UNITS[held.kept_whole]
    cases = [case for case in cases if case.id not in excluded]
    # Under a split of its source's own, a case without a pair has no row that would say where it belongs.
    return [case for case in cases if of(case) in members or (held.kept_whole == "case" and case.split == held.split)]


def _volume(held: HeldOut, case: Case, reader: _Reader, model: Any) -> Volume:
    found = Volume(case.id, case.patient or case.group or case.id, *np.zeros((3, len(held.data.labels)), np.int64))
    pictures = ((piece, np.asarray(piece.image, np.uint8)) for piece in reader.slices(case))
    for piece, probabilities in held_out.at_own_size(held.run, model, pictures):
        labels = infer.decide(probabilities, held.run.threshold)
        found.add(piece.mask.astype(np.uint8, copy=False), labels, piece.spacing)
    return found


def _failure(case: Case, error: CaseError, raw: Path) -> Unscored:
    file = relative(error.file, raw) if error.file else ""
    return Unscored(case.id, file, error.reason.replace(f"{raw}/", ""), error.remedy)


def _pooled(volumes: list[Volume]) -> list[Volume]:
    """Volumes as they are; single pictures pooled by who they belong to, as slices that somebody cut out."""
    if any(one.slices > 1 for one in volumes):
        return volumes
    pooled: dict[str, Volume] = {}
    for one in volumes:
        if one.unit in pooled:
            pooled[one.unit].merge(one)
        else:
            one.case = one.unit
            pooled[one.unit] = one
    return list(pooled.values())


class _Reader:
    """Reads cases as ``build`` did, and holds what it reads against the dataset."""

    def __init__(self, held: HeldOut, generator: Generator, options: Options, recipe: Recipe) -> None:
        self.generator, self.options, self.recipe = generator, options, recipe
        labels = held.data.document["labels"]
        self.names = {int(label["source_value"]): str(label["name"]) for label in labels}
        self.written = manifest.mask_values(self.names)
        self.windows = [pixels.parse_window(text) for text in recipe.window]
        self.background = held.run.record.background
        rows = held.rows
        self.digests = {
            (case, index): digest
            for case, index, digest in zip(rows["case"], rows["slice"], rows["digest"], strict=True)
        }

    def slices(self, case: Case) -> Iterator[Slice]:
        """Every slice of ``case``: image uint8 and class ids, at the written size. Raises CaseError."""
        due = {index for of, index in self.digests if of == case.id}
        for piece in self._read(case):
            made = self._plain(piece)
            wanted = self.digests.get((case.id, piece.index))
            due.discard(piece.index)
            if wanted is not None and wanted != self._digest(made):
                raise _changed(f"slice {piece.index} has other pixels")
            yield made
        if due:
            raise _changed(f"slice {min(due)} is missing")

    def _read(self, case: Case) -> Iterator[Slice]:
        """What the generator reads. A library fed with damaged bytes raises almost anything: it is the case's fault."""
        try:
            yield from self.generator.read(case, self.options)
        except ImagemaskError:
            raise
        except Exception as error:
            if exhausted(error):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise CaseError("unexpected_error", reason, remedy="Fetch the file again") from error

    def _plain(self, piece: Slice) -> Slice:
        made = pixels.window(pixels.labels(piece, self.names), self.windows)
        if self.recipe.size is not None:
            made, _ = pixels.fit(made, self.recipe.size, stretch=self.recipe.stretch, background=self.background)
        # Slices wait for the network, and the generator may use its arrays again. A window makes a new one.
        image = made.image if self.windows else np.array(made.image)
        return replace(made, image=image, mask=np.array(made.mask))

    def _digest(self, made: Slice) -> str:
        image = np.ascontiguousarray(made.image, dtype=np.uint8)
        return manifest.digest(image, pixels.to_mask(made.mask, self.written))


def _changed(what: str) -> CaseError:
    return CaseError("changed_while_read", f"{what}: {_OTHER}", remedy="Give --raw the folder that it was built from")
