"""Trees of picture files: which are images, which are masks, and which of them belong together.

Pairs are made by key, never by position. A key is the folders that are not named after a role (``images``, ``masks``),
then the stem without what tells image and mask apart. What was guessed is said in ``Layout.notes``; a tree that can be
read in two ways is an error, not a choice. Known: ``images/`` with ``masks/`` and their like at any depth, above or
below train, valid and test; images above their ``masks/``; nnU-Net's raw format with 2D pictures; masks beside their
images (``*_mask.png``, CHASE_DB1's ``*_1stHO.png``); DRIVE's ``1st_manual/``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from imagemask import files
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.names import Key, identifier, split_of, split_of_folder
from imagemask.types import Case

Suffixes = tuple[str, str]
"""Regular expressions: what an image's stem, and a mask's, end in beyond the stem that both share."""

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"})
_IMAGES = re.compile(r"images?|imgs?|img_dir|pictures?|jpegimages|imagest[rs]")
_MASKS = re.compile(
    r"masks?|labels?|gts?|ground[-_ ]?truths?|annotations?|ann_dir|seg|segmentations?|segmentationclass|labelst[rs]"
    r"|1st_manual"
)
_FIRST_OBSERVER = (
    "1st_manual"  # DRIVE: `mask` beside it holds the field of view, `2nd_manual` another observer's opinion
)
_SECOND_OBSERVER = re.compile("_2ndHO$", re.IGNORECASE)  # CHASE_DB1
_SUFFIXES: tuple[Suffixes, ...] = (
    ("", ""),
    ("_0000", ""),
    ("", r"[-_ ]masks?(?:[-_]\d+)?"),
    ("", r"[-_ ](?:seg|segmentation|labels?|gt|ground_?truth|annotation)"),
    (r"[-_ ](?:img|image)", r"[-_ ](?:masks?|seg|segmentation|labels?|gt)"),
    ("", "_1stHO"),
    (r"_(?:training|test)", "_manual1"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The images and the masks that have one key; in a healthy pair one of each."""

    key: Key
    images: tuple[Path, ...]
    masks: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a tree was taken for: its pairs, sorted by key; how it was read; nnU-Net's dataset.json, if it has one."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    declares: Path | None = None


class _Item(NamedTuple):
    path: Path
    folders: Key
    stem: str


@dataclass(frozen=True, slots=True)
class _Roles:
    """Images and masks, not yet paired; ``note`` says how they were told apart."""

    images: Sequence[_Item]
    masks: Sequence[_Item]
    note: str
    suffixes: Sequence[Suffixes] = _SUFFIXES
    declares: Path | None = None


def find(
    raw: Path,
    *,
    images: str | None = None,
    masks: str | None = None,
    suffix: str | None = None,
    keep_split: bool = False,
) -> Layout:
    """The layout of the files below ``raw``: by the two globs where they are given, else by guessing.

    A glob is matched below ``raw`` regardless of case; without a ``/`` it is a file name in any folder; ``**`` stands
    for any number of folders. ``suffix`` is what a mask's stem has beyond its image's; ``keep_split`` says that folders
    called train, valid and test are a split. Raises UsageError for a glob that matches nothing, for a tree that can be
    read in two ways and for a split that is not there, InputError where no layout or no pair is found.
    """
    if not raw.is_dir():
        raise InputError(f"{raw}: is not a folder", remedy="Name the folder that holds images and masks with --raw")
    listing = files.walk(raw)
    given = () if suffix is None else tuple((image, re.escape(suffix)) for image in ("", "_0000"))
    roles = _by_globs(raw, listing.files, images, masks) if images or masks else _guess(raw, listing.files, given)
    if roles is None:
        raise _unrecognised(raw, listing)
    pairs, how = _paired(raw, roles, given or roles.suffixes)
    notes = (f"{roles.note}; {how}.", *_passed_over(raw, listing, roles), *_split(raw, roles, keep=keep_split))
    said = tuple(note.encode(errors="backslashreplace").decode() for note in notes)
    return Layout(pairs, said, roles.declares)


def named(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """The pairs by case id, sorted. Raises InputError, naming both files, where two ids differ only by their case."""
    by_id: dict[str, Pair] = {}
    folded: dict[str, Pair] = {}
    for pair in pairs:
        name = identifier(pair.key)
        twin = folded.setdefault(name.casefold(), pair)
        if twin is not pair:
            one, other = ((found.images or found.masks)[0] for found in (twin, pair))
            raise InputError(
                f"{one} and {other} would be written under one name where upper and lower case are the same",
                remedy="Rename one of them, and its mask",
            )
        by_id[name] = pair
    return dict(sorted(by_id.items()))


def one_of_each(case: Case) -> tuple[Path, Path]:
    """The image and the mask of a case.

    Raises CaseError ``missing_image``, ``missing_mask`` or ``duplicate_stem`` where there are not just one and one, and
    ``undecodable_name`` for a case that stands for files whose names are not text (``extra`` holds their ``bytes``).
    """
    if "bytes" in case.extra:
        raise CaseError("undecodable_name", f"{case.extra['bytes']} is not UTF-8", remedy="Rename the file")
    for role, paths, others in (("image", case.images, case.masks), ("mask", case.masks, case.images)):
        if len(paths) > 1:
            reason = f"{len(paths)} {role}s have one stem: {', '.join(path.name for path in paths)}"
            raise CaseError("duplicate_stem", reason, file=paths[1], remedy="Keep one, or merge them into one file")
        if not paths:
            reason, remedy = f"there is no {role} for {others[0].name}", f"Restore the {role}, or remove the other"
            raise CaseError(f"missing_{role}", reason, file=others[0], remedy=remedy)
    return case.images[0], case.masks[0]


def _by_globs(raw: Path, paths: Sequence[Path], images: str | None, masks: str | None) -> _Roles:
    if not images or not masks:
        raise UsageError("only one of --images and --masks is given", remedy="Give both, or neither")
    mask_items = list(_matching(raw, paths, masks, _MASKS))
    taken = {item.path for item in mask_items}  # what both globs match is a mask: *_mask.png beside *.png
    image_items = list(_matching(raw, [path for path in paths if path not in taken], images, _IMAGES))
    for option, glob, items in (("--images", images, image_items), ("--masks", masks, mask_items)):
        if not items:
            remedy = f"Below {raw.name} there are {_contents(raw, paths)}"
            raise UsageError(f"{option} {glob!r} matches no file", remedy=remedy)
    return _Roles(image_items, mask_items, f"Images are {images}, masks are {masks}")


def _matching(raw: Path, paths: Iterable[Path], glob: str, role: re.Pattern[str]) -> Iterator[_Item]:
    """The files that a glob matches. Folders that it spells out are no part of a key; those that it leaves open are."""
    *folders, name = [part for part in glob.casefold().split("/") if part != "."]
    if "/" not in glob:
        folders = ["**"]
    if name == "**":
        folders, name = [*folders, "**"], "*"
    for path in paths:
        if fnmatchcase(path.name.casefold(), name):
            kept = _match(path.relative_to(raw).parts[:-1], tuple(folders))
            if kept is not None:
                yield _item(path, _without_role(kept, role)[0])


def _match(parts: Key, pattern: Key) -> Key | None:
    """The folders that stand for the wildcards of ``pattern``, or None where it does not match."""
    if not pattern:
        return None if parts else ()
    if pattern[0] == "**":
        tails = ((parts[:n], _match(parts[n:], pattern[1:])) for n in range(len(parts) + 1))
        return next((skipped + tail for skipped, tail in tails if tail is not None), None)
    if not parts or not fnmatchcase(parts[0].casefold(), pattern[0]):
        return None
    tail = _match(parts[1:], pattern[1:])
    is_open = any(char in pattern[0] for char in "*?[")
    return None if tail is None else (*parts[:is_open], *tail)


def _without_role(folders: Key, *roles: re.Pattern[str]) -> tuple[Key, str]:
    """The folders without the last that is named after one of ``roles``, and that one, or ""."""
    for place in reversed(range(len(folders))):
        word = folders[place].casefold()
        if any(role.fullmatch(word) for role in roles):
            return (*folders[:place], *folders[place + 1 :]), word
    return folders, ""


def _guess(raw: Path, paths: Iterable[Path], given: Sequence[Suffixes]) -> _Roles | None:
    pictures = [path for path in paths if path.suffix.casefold() in PICTURES]
    images: dict[str, list[_Item]] = {}
    masks: dict[str, list[_Item]] = {}
    for path in pictures:
        folders, word = _without_role(path.relative_to(raw).parts[:-1], _IMAGES, _MASKS)
        role = images if _IMAGES.fullmatch(word) else masks
        if word:
            role.setdefault(word, []).append(_item(path, folders))
    if masks and not images:  # images that lie right above their masks
        above = {item.folders for items in masks.values() for item in items}
        beside = [_item(path, folders) for path in pictures if (folders := path.relative_to(raw).parts[:-1]) in above]
        images = {"": beside} if beside else {}
    if not images or not masks:
        return _by_suffix(raw, pictures, given or _SUFFIXES)
    if "imagestr" in images and "labelstr" in masks:
        return _nnunet(raw, images, masks)
    return _by_folders(raw, images, masks)


def _by_folders(raw: Path, images: Mapping[str, list[_Item]], masks: Mapping[str, list[_Item]]) -> _Roles:
    """Roles by the folder nearest to a picture that is named after one."""
    if _FIRST_OBSERVER in masks:
        masks = {_FIRST_OBSERVER: masks[_FIRST_OBSERVER]}
    for option, role in (("--images", images), ("--masks", masks)):
        if len(role) > 1:
            found = " or ".join(f"{_homes(raw, items)} ({_count(items, 'picture file')})" for items in role.values())
            raise UsageError(f"{raw}: {option} could be {found}", remedy="Give both --images and --masks")
    (ours,), (theirs,) = images.values(), masks.values()
    return _Roles(ours, theirs, f"Guessed: images in {_homes(raw, ours)}, masks in {_homes(raw, theirs)}")


def _by_suffix(raw: Path, pictures: Sequence[Path], suffixes: Sequence[Suffixes]) -> _Roles | None:
    """Masks beside their images, told apart by what their stems end in; None where no ending pairs anything."""
    items = [_item(path, path.relative_to(raw).parts[:-1]) for path in pictures]
    best, most = None, 0
    for one in suffixes:
        ends = _ending(one[1])
        masks = [item for item in items if one[1] and ends.search(item.stem)]
        taken = set(masks)
        images = [item for item in items if item not in taken and not _SECOND_OBSERVER.search(item.stem)]
        count = len(_keyed(images, one[0]).keys() & _keyed(masks, one[1]).keys())
        if count > most:
            best, most = _Roles(images, masks, "Guessed: masks lie beside their images", [one]), count
    return best


def _nnunet(raw: Path, images: Mapping[str, list[_Item]], masks: Mapping[str, list[_Item]]) -> _Roles:
    """nnU-Net's raw format, 2D: ``imagesTr/CASE_0000.png`` with ``labelsTr/CASE.png``; dataset.json names the labels.

    imagesTs counts only where labelsTs is there. Raises InputError for several such datasets, and where a picture is
    spread over several files, one a channel.
    """
    homes = (next(up for up in item.path.parents if up.name.casefold() == "imagestr") for item in images["imagestr"])
    roots = {home.parent for home in homes}
    if len(roots) > 1:
        found = ", ".join(sorted(root.relative_to(raw).as_posix() for root in roots))
        raise InputError(f"{raw}: holds several nnU-Net datasets: {found}", remedy="Name one of them with --raw")
    splits = {"tr": ("train",), "ts": ("test",)} if "labelsts" in masks else {"tr": ()}
    ours, theirs = (
        [
            item._replace(folders=(*item.folders, *part))
            for end, part in splits.items()
            for item in role.get(word + end, ())
        ]
        for word, role in (("images", images), ("labels", masks))
    )
    second = next((item.path for item in ours if re.search(r"_000[1-9]$", item.stem)), None)
    if second is not None:
        raise InputError(
            f"{second}: a picture spread over several files, one a channel, is not supported",
            remedy="Choose a channel: --images 'imagesTr/*_0000.png' --masks 'labelsTr/*.png'",
        )
    declares = roots.pop() / "dataset.json"
    is_there = declares.is_file()
    note = f"Guessed: nnU-Net raw 2D, images in {_homes(raw, ours)}, masks in {_homes(raw, theirs)}"
    note += ", with dataset.json" if is_there else ", without its dataset.json"
    return _Roles(ours, theirs, note, (("_0000", ""), ("", "")), declares if is_there else None)


def _paired(raw: Path, roles: _Roles, suffixes: Sequence[Suffixes]) -> tuple[tuple[Pair, ...], str]:
    """The pairs by the suffixes that pair the most, and how, in words."""
    best, images, masks = "", dict[Key, list[Path]](), dict[Key, list[Path]]()
    for one in suffixes:
        ours, theirs = _keyed(roles.images, one[0]), _keyed(roles.masks, one[1])
        if len(ours.keys() & theirs.keys()) > len(images.keys() & masks.keys()):
            images, masks, best = ours, theirs, _say(roles, one)
        if len(images.keys() & masks.keys()) == min(len(roles.images), len(roles.masks)):
            break  # no other suffix can pair more
    if not best:
        first, other = (role[0].path.relative_to(raw) for role in (roles.images, roles.masks))
        raise InputError(
            f"{raw}: no image has a mask of its stem; the first image is {first}, the first mask {other}",
            remedy="Say what a mask's stem has beyond its image's (--suffix _mask), or spell the folders out in globs: "
            "--images 'left/*.png' --masks 'right/*.png'",
        )
    shared = common_folders([*images, *masks])
    keys = sorted(images.keys() | masks.keys())
    pairs = tuple(Pair(key[shared:], tuple(images.get(key, ())), tuple(masks.get(key, ()))) for key in keys)
    return pairs, f"{_count(images.keys() & masks.keys(), 'pair')} by {best}"


def _say(roles: _Roles, suffixes: Suffixes) -> str:
    """How the pairs are made, with the endings as they are in the first file that has one."""
    words = []
    for what, items, suffix in (("image", roles.images, suffixes[0]), ("mask", roles.masks, suffixes[1])):
        ends = _ending(suffix)
        found = (ends.search(item.stem) for item in items if suffix)
        words += [f"{what} stems end in {match.group()}" for match in found if match][:1]
    return "stem" + (f" ({', '.join(words)})" if words else "")


def _ending(suffix: str) -> re.Pattern[str]:
    return re.compile(f"(?<=.)(?:{suffix})$", re.IGNORECASE | re.DOTALL)


def _keyed(items: Iterable[_Item], suffix: str) -> dict[Key, list[Path]]:
    ends = _ending(suffix)
    keyed: dict[Key, list[Path]] = {}
    for path, folders, stem in items:
        key = (*folders, ends.sub("", stem, count=1) if suffix else stem)
        keyed.setdefault(tuple(unicodedata.normalize("NFC", part) for part in key), []).append(path)
    return keyed


def common_folders(keys: Iterable[Key]) -> int:
    """How many leading folders all keys share that say nothing (the copy's own nesting), down to a split."""
    shared = 0
    for parts in zip(*(key[:-1] for key in keys), strict=False):
        if len(set(parts)) > 1 or split_of_folder(parts[0]):
            break
        shared += 1
    return shared


def _item(path: Path, folders: Key) -> _Item:
    return _Item(path, folders, path.stem)


def _homes(raw: Path, items: Iterable[_Item], most: int = 3) -> str:
    homes = sorted({f"{item.path.parent.relative_to(raw)}/" for item in items})
    homes = ["the top folder" if home == "./" else home for home in homes]
    return ", ".join(homes[:most]) + (f" and {len(homes) - most} more" if len(homes) > most else "")


def _passed_over(raw: Path, listing: files.Listing, roles: _Roles) -> list[str]:
    """Notes on what was found and not used, counted, for nothing is dropped in silence."""
    used = {item.path for item in (*roles.images, *roles.masks)}
    rest = (path for path in listing.files if path.suffix.casefold() in PICTURES and path not in used)
    unused = [_item(path, ()) for path in rest]
    notes = [f"Not used: {_homes(raw, unused)} ({_count(unused, 'picture file')})."] if unused else []
    others = ((listing.links, "link"), (listing.unreadable, "unreadable folder"), (listing.special, "special file"))
    for found, what in others:
        notes += [f"Not followed: {_count(found, what)}, the first is {found[0].relative_to(raw)}."] if found else []
    return notes


def _split(raw: Path, roles: _Roles, *, keep: bool) -> list[str]:
    """A note on the split that folders name. Raises UsageError where it is to be kept, and none does."""
    found = Counter(split_of(item.path.relative_to(raw)) for item in roles.images)
    outside = found.pop("", 0)
    if keep and not found:
        raise UsageError(f"{raw}: no folder is called train, valid or test", remedy="Leave --split-from-path out")
    said = f"split ({', '.join(sorted(found))})"
    if not keep:
        return [f"The folders name a {said}: --split-from-path keeps it."] if len(found) > 1 else []
    left = f"; {outside} of {outside + found.total()} images lie in none of its folders: imagemask split places them"
    return [f"The folders' {said} is kept{left * (outside > 0)}."]


def _count(items: Collection[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _unrecognised(raw: Path, listing: files.Listing) -> InputError:
    return InputError(
        f"{raw}: no layout of images and masks is recognised; there are {_contents(raw, listing.files)}",
        remedy="Known are images/ with masks/, train/images with train/masks, nnU-Net's imagesTr/ with labelsTr/, "
        "*_mask.png beside *.png, *_1stHO.png; else give --images GLOB and --masks GLOB",
    )


def _contents(raw: Path, paths: Iterable[Path], most: int = 8) -> str:
    """Files counted by the two folders at the top and by extension."""
    kinds = Counter("/".join((*path.relative_to(raw).parts[:-1][:2], f"*{path.suffix}")) for path in paths)
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())[:most])
    return (shown or "no files") + (f" and {len(kinds) - most} kinds more" if len(kinds) > most else "")
