"""Pictures that have several annotations each: where they lie, which file is whose, and whether annotations agree.

For sources that keep images and annotations in folders of known names, below one folder or below one a set (``train``,
``test``). Files are paired by key, never by position.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import files
from imagemask.errors import CaseError, InputError, exhausted
from imagemask.names import split_of
from imagemask.types import Case

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imagemask.masks import Read

Place = tuple[str, str]
"""A picture: its key, and the set that its folders name ("": they name none)."""

_JPEG = frozenset({".jpg", ".jpeg"})
_LOOKED_FOR = 32  # the highest value of a mask up to which each is looked for
_EXTENSIONS = _JPEG | {".png", ".bmp", ".tif", ".tiff"}
_PART = re.compile(r"(.+Z)(?:-\d+)+(?:\.zip)?(?:\.unpacked)?", re.IGNORECASE)
"""What a folder is called that a drive has packed into several zips: ``OTU_2d-20220801T080000Z-001``."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The ``images`` and the ``masks`` of each picture, in order; and picture files in folders of ``other`` names."""

    images: Mapping[Place, list[Path]]
    masks: Mapping[Place, list[Path]]
    other: list[Path]

    def notes(self) -> tuple[str, ...]:
        """What is to be said of the picture files that are not read; nothing, where there are none."""
        if not self.other:
            return ()
        first = self.other[0].name
        return (f"Not read: {len(self.other)} picture files in other folders; the first is {first!a}.",)

    def named(self, listed: Iterable[str]) -> dict[str, Place]:
        """Every picture under a name of its own: its key; with its set, where several sets number theirs alike.

        Those of which only the image or a mask is there, or which are only ``listed``, by key, included.
        """
        places = {*self.images, *self.masks}
        places |= {(key, "") for key in {*listed} - {key for key, _ in places}}
        sets = Counter(key for key, _ in places)
        return {f"{split}+{key}" if split and sets[key] > 1 else key: (key, split) for key, split in sorted(places)}


@dataclass(frozen=True, slots=True)
class Outlined:
    """The masks of a picture, HxW, by kind, the one that counts first; the file of that one; and flags."""

    path: Path
    masks: Mapping[str, NDArray[np.integer[Any]]]
    flags: tuple[str, ...]

    def values(self, kind: str) -> set[int]:
        """The values of a mask; none where it is not there."""
        import numpy as np

        if kind not in self.masks:
            return set()
        mask = self.masks[kind]
        most = int(mask.max(initial=0))
        labelled = int(np.count_nonzero(mask))
        if most and np.count_nonzero(mask == most) == labelled:  # one class, as nearly always
            return {0, most} if labelled < mask.size else {most}
        if most > _LOOKED_FOR:
            return set(np.unique(mask).tolist())
        # Classes are few, and from 0: to look for each is many times as fast as to sort or to count a million pixels.
        return {value for value in range(most + 1) if (mask == value).any()}


def roots(raw: Path, name: re.Pattern[str], *, accepted: str) -> list[Path]:
    """The outermost folder called ``name`` below ``raw``, or ``raw`` itself.

    Several, where they are the parts of one that a drive has packed into zips. Raises InputError where there is none,
    or where there are several copies.
    """
    files.require_folder(raw, accepted=accepted)
    found = [raw] if name.fullmatch(raw.resolve().name) else sorted(_outermost(raw, name))
    if not found:
        raise files.unknown_layout(raw, accepted=accepted)
    if len({_whole(root) for root in found}) > 1:
        copies = ", ".join(str(root) for root in found)
        reason = f"{raw}: holds {len(found)} copies of the source: {copies}"
        raise InputError(reason, remedy="Name the folder of one of them with --raw")
    return found


def _outermost(raw: Path, name: re.Pattern[str]) -> Iterator[Path]:
    for here, folders, _ in os.walk(raw):  # what cannot be listed is reported by `files.walk`
        below = {folder: Path(here, folder) for folder in folders if not files.is_junk(folder)}
        mine = {folder: path for folder, path in below.items() if not os.path.islink(path)}
        yield from (path for folder, path in mine.items() if name.fullmatch(folder))
        folders[:] = [folder for folder in mine if not name.fullmatch(folder)]


def _whole(root: Path) -> Path:
    """What a folder is a part of: itself, but where its parent is one of several zips of a drive."""
    part = _PART.fullmatch(root.parent.name)
    return root.parent.with_name(part[1]) if part else root


def find(
    folders: Iterable[Path], *, images: re.Pattern[str], masks: re.Pattern[str], key: Callable[[Path], str]
) -> Tree:
    """The pictures below ``folders``. What a file is, the name of the folder that it lies in says, in full.

    Where ``masks`` has groups, a file in a folder that ``like`` matches counts among the other files if the folder
    beside it that ``main`` matches holds one of its stem: ``label/1.PNG`` counts before ``smooth_label/1.PNG``.
    """
    tree = Tree(defaultdict(list), defaultdict(list), [])
    for root in folders:
        for path in files.walk(root).files:
            if path.suffix.casefold() not in _EXTENSIONS:
                continue
            role = next((kind for kind in (images, masks) if kind.fullmatch(path.parent.name)), None)
            if role is None:
                tree.other.append(path)
            else:
                group = tree.images if role is images else tree.masks
                group[key(path), split_of(path.relative_to(root))].append(path)
    for paths in tree.masks.values():
        passed_over = _beside(paths, masks)
        tree.other.extend(passed_over)
        paths[:] = [path for path in paths if path not in passed_over]
    return tree


def _beside(paths: Sequence[Path], masks: re.Pattern[str]) -> list[Path]:
    """Those ``paths`` that lie in a folder of the group ``like`` beside one of ``main`` that has the stem, too."""
    if len(paths) < 2:
        return []
    kinds = {path: match.lastgroup for path in paths if (match := masks.fullmatch(path.parent.name))}
    places = {path: (path.parent.parent, path.stem.casefold()) for path in paths}
    main = {places[path] for path, kind in kinds.items() if kind == "main"}
    return [path for path, kind in kinds.items() if kind == "like" and places[path] in main]


def require_both(case: Case, *, remedy: str) -> None:
    """Raise CaseError where a picture has no image, or no mask; or neither, and only lists name it."""
    if not case.images and not case.masks:
        name = Path("images", case.extra.get("name", case.id))
        raise CaseError("listed_missing", f"the lists name {name.name}, which is not there", file=name, remedy=remedy)
    if not case.images or not case.masks:
        lacks, has = ("mask", case.images[0]) if case.images else ("image", case.masks[0])
        raise CaseError(f"missing_{lacks}", f"{has.name} has no {lacks}", file=has, remedy=remedy)


def by_kind(kind_of: Mapping[Path, str], kinds: Iterable[str]) -> dict[str, list[Path]]:
    """Annotations by what they are, in the order of ``kinds``: those kinds that are there, and no others."""
    found = {kind: [path for path, its in kind_of.items() if its == kind] for kind in kinds}
    return {kind: paths for kind, paths in found.items() if paths}


def read_masks(found: Mapping[str, Sequence[Path]], reader: Callable[[str, Path], Read]) -> Outlined:
    """The annotations of one picture: the first in ``found``, by kind, counts, and the others are held against it.

    ``reader`` is given a kind and a file. ``masks_differ`` notes that one has other foreground, or another size;
    ``annotation_unreadable`` that one cannot be read, which does no harm to the first. Raises CaseError where the first
    cannot be read.
    """
    import numpy as np

    read: dict[str, NDArray[np.integer[Any]]] = {}
    first, *others = found
    path, twins = one_of(found[first])
    mask, noted = reader(first, path)
    read[first] = mask
    flags, inside = [*twins, *noted], mask > 0
    for kind in others:
        try:
            other, _ = reader(kind, one_of(found[kind])[0])
        except CaseError as error:
            if exhausted(error):
                raise
            flags.append("annotation_unreadable")
            continue
        read[kind] = other
        its = other > 0
        if its.shape != inside.shape or np.not_equal(its, inside, out=its).any():
            flags.append("masks_differ")
    return Outlined(path, read, tuple(dict.fromkeys(flags)))


def read_image(paths: Sequence[Path], mask_path: Path, mask: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The one image that ``paths`` are, of the size of its mask, as ``masks.image_of`` reads it; and flags.

    ``name_misleads`` notes that it is called .jpg and is no JPEG, or the other way round; ``several_frames`` that the
    file holds more pictures, of which the first counts.
    """
    from imagemask import images, masks

    path, twins = one_of(paths)
    picture = images.read(path)
    image, turned = masks.like_its_mask(picture, path, mask_path, mask)
    flags = [*twins, *turned]
    if (picture.kind == "JPEG") != (path.suffix.casefold() in _JPEG):
        flags.append("name_misleads")
    if (picture.frames or images.frame_count(path)) > 1:
        flags.append("several_frames")
    return image, tuple(flags)


def one_of(paths: Sequence[Path]) -> tuple[Path, tuple[str, ...]]:
    """The one file that ``paths`` are; the flag ``twin_dropped`` where the same bytes are there several times.

    Raises CaseError ``duplicate_stem`` where they differ.
    """
    if len(paths) > 1 and len({files.sha256(path) for path in paths}) > 1:
        shared = os.path.commonpath([path.parent for path in paths])  # X.PNG and X.PNG would not tell which
        reason = f"{' and '.join(path.relative_to(shared).as_posix() for path in paths)} are one picture, and differ"
        remedy = "Find out which of them is right, and remove the other"
        raise CaseError("duplicate_stem", reason, file=paths[0], remedy=remedy)
    return paths[0], ("twin_dropped",) if len(paths) > 1 else ()
