"""Images and masks told apart by words in the names of their folders, where nobody has published how they lie.

``layouts`` knows the layouts that are about; this takes less for certain. A picture is a mask if the innermost folder
that says anything contains ``mask``, ``label`` (not ``unlabeled``), ``annotation``, ``gt``, ``roi`` or ``seg``
(``test mask``, ``EEC_train_labels``), or if its own name ends so (``7_mask.png``, ``7-gt.png``); every other picture is
an image. Pairs are made by place (the folders, without such words) and stem, never by position; a folder of masks whose
place has no images goes with the one folder that holds the very same stems, or most of them: a file may be missing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from imagemask.layouts import PICTURES, Pair, common_folders
from imagemask.names import Key, split_of_folder, split_of_words

_MASK = re.compile(
    r"masks?|(?<!un)label(?!l?ed)s?|annotations?|segmentations?|ground[-_ ]?truths?|(?<![a-z])(?:gt|roi|seg)s?(?![a-z])"
)
_IMAGE = re.compile(r"(?<![a-z])(?:images?|imgs?|frames?|pictures?)(?![a-z])")
_ENDING = re.compile(r"(?<=.)[-_ ](?:masks?|labels?|gts?|annotations?)$", re.IGNORECASE)
_EDGES = " -_."


@dataclass(frozen=True, slots=True)
class _Item:
    path: Path
    place: Key
    stem: str
    is_mask: bool

    @property
    def folded(self) -> str:
        return self.stem.casefold()


def pairs(raw: Path, paths: Iterable[Path], *, suffix: str | None = None) -> tuple[Pair, ...]:
    """The pictures among ``paths``, files below ``raw``, as pairs sorted by key: place, then stem.

    A pair may lack its image or its mask, or have several, for stems are equal regardless of case. ``suffix`` is what
    the stem of a mask ends in, in place of the usual endings. Folders that all keys share are left out of them, down to
    one that names a split, if only in a word (``EEC_test_dataset``) that no folder further in gainsays.
    """
    ending = _ENDING if suffix is None else re.compile(f"(?<=.){re.escape(suffix)}$", re.IGNORECASE)
    items = list(_items(raw, sorted(path for path in paths if path.suffix.casefold() in PICTURES), ending))
    stems = {is_mask: _stems(item for item in items if item.is_mask == is_mask) for is_mask in (False, True)}
    homes = {place: _home(place, stems[True], stems[False]) for place in stems[True]}
    found: dict[Key, tuple[list[_Item], list[_Item]]] = {}
    for item in items:
        place = homes[item.place] if item.is_mask else item.place
        found.setdefault((*place, item.folded), ([], []))[item.is_mask].append(item)
    keys = {(*key[:-1], (images or masks)[0].stem): (images, masks) for key, (images, masks) in found.items()}
    shared = _shared(keys)
    return tuple(
        Pair(key[shared:], tuple(one.path for one in images), tuple(one.path for one in masks))
        for key, (images, masks) in sorted(keys.items())
    )


def _items(raw: Path, paths: list[Path], ending: re.Pattern[str]) -> Iterator[_Item]:
    folders = [tuple(part.casefold() for part in path.relative_to(raw).parts[:-1]) for path in paths]
    # What all share says nothing of a role: "EEC images and masks/". The last folder of a lone one may.
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    shared = min(len(list(alike)), min(map(len, folders), default=0) - 1)
    for path, parts in zip(paths, folders, strict=True):
        stem = unicodedata.normalize("NFC", path.stem)
        bare = ending.sub("", stem)
        is_mask = bare != stem or _says_mask(parts[max(0, shared) :])
        yield _Item(path, tuple(filter(None, map(_without_role, parts))), bare, is_mask)


def _shared(keys: Iterable[Key]) -> int:
    """How many leading folders all keys share that say nothing, not even one split in a word of theirs."""
    folders = [key[:-1] for key in keys]
    shared = common_folders((*parts, "") for parts in folders)
    if not shared or any(split_of_words(parts[shared:]) for parts in folders):
        return shared
    said = [{*map(split_of_folder, re.split(r"[-_. ]+", part))} - {""} for part in folders[0][:shared]]
    return max((place for place, splits in enumerate(said) if len(splits) == 1), default=shared)


def _says_mask(parts: Key) -> bool:
    """Whether the innermost folder that says what it holds says masks."""
    for part in reversed(parts):
        if _MASK.search(part) or _IMAGE.search(part):
            return _MASK.search(part) is not None
    return False


def _without_role(part: str) -> str:
    return unicodedata.normalize("NFC", _IMAGE.sub("", _MASK.sub("", part))).strip(_EDGES)


def _stems(items: Iterable[_Item]) -> dict[Key, set[str]]:
    found: dict[Key, set[str]] = {}
    for item in items:
        found.setdefault(item.place, set()).add(item.folded)
    return found


def _home(place: Key, masks: Mapping[Key, set[str]], images: Mapping[Key, set[str]]) -> Key:
    """Where the images of a folder of masks are: at its place, or, if that has none, where the very same stems are.

    Where no folder has the very same, the only one that shares more than half of all stems, its own and these, has lost
    a file, or these have. A smaller part of a folder is never taken: any folder of numbers holds ``1.png``.
    """
    if place in images:
        return place
    ours, free = masks[place], {other: stems for other, stems in images.items() if other not in masks}
    same = [other for other, stems in free.items() if stems == ours]
    same = same or [other for other, stems in free.items() if 2 * len(stems & ours) > len(stems | ours)]
    return same[0] if len(same) == 1 else place
