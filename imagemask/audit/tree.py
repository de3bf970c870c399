"""What is audited, as one table: a dataset of ours by its manifest, or any folder of images and masks by its names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemask import files, layouts, manifest, names
from imagemask.audit import siblings
from imagemask.audit.findings import Code, Finding, found
from imagemask.errors import ImagemaskError, InputError, UsageError
from imagemask.layouts import Pair
from imagemask.pictures import roles
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("key", "image", "mask", "split", "patient", "group", "case", "slice", "variant", "category", "line")
_ACCEPTED = (
    "Known are train/images with train/masks (and valid, test), images/train with masks/train, images/ with masks/, "
    "imagesTr/ with labelsTr/, *_mask.png beside *.png; volumes and DICOM must be built first: imagemask build"
)

CODES = {
    "AU001": Code(
        "error",
        "a picture cannot be read",
        "Training stops at it, or reads what is not there; nothing else could be judged of this pair",
        "Fetch or write the file again, or remove the pair; in a dataset of ours imagemask verify says what is wrong",
    ),
    "AU002": Code(
        "warning",
        "an image has no mask",
        "It is left out in silence, or learned as a picture without a lesion",
        "Restore the mask; write an empty one where there is nothing to outline; or remove the image",
    ),
    "AU003": Code(
        "warning",
        "a mask has no image",
        "A pair was lost, and nobody counts it",
        "Restore the image, or remove the mask",
    ),
    "AU004": Code(
        "warning",
        "several files have one stem",
        "Which of them is read depends on the program that reads; the first by name was looked at here",
        "Keep one, or merge several masks of one image into one file",
    ),
    "AU005": Code(
        "warning",
        "nobody knows whose image it is",
        "Images without a patient are in no check of patients: a leak through them is not seen",
        "Widen the expression: with a / in it, the whole path is searched. Or rename the files",
    ),
    "AU006": Code(
        "advice",
        "something in the folder was not looked at",
        "It is in no number of this report",
        "Move it elsewhere, or audit the folder that holds it",
    ),
}


@dataclass(frozen=True, slots=True)
class Tree:
    """What is audited. ``frame`` has a row a pair, sorted by key, a RangeIndex and the columns, of text unless said:

    ``key``; ``image`` and ``mask``, POSIX paths relative to ``folder``, "" where there is none; ``split`` (train,
    valid, test or ""); ``patient`` and ``group`` (a parent image), "" where nobody is known; ``case``, what the pair
    was cut or made from; ``slice`` (int, -1 unknown); ``variant``, how it was altered; ``category``, the class of the
    whole picture; ``line`` (int), its line in manifest.csv, 0 where there is none.

    ``values`` are the foreground values of masks that dataset.json declares, None where nobody does; ``manifest`` says
    whether this is a dataset of ours.
    """

    folder: Path
    frame: pd.DataFrame
    values: tuple[int, ...] | None
    manifest: bool


def open_tree(folder: Path, patient: str | None = None) -> tuple[Tree, list[Finding]]:
    """The pairs of ``folder``, without opening a picture, and what is wrong with how they lie.

    ``patient`` is for a folder without manifest: a regular expression whose first group, or group ``patient``, is the
    patient, searched in the file name, or in the path below ``folder`` if it holds a ``/``.

    Raises UsageError where ``patient`` is no such expression, finds nothing, or the manifest knows the patients
    already; InputError where there is no folder, no pair, or a damaged manifest.
    """
    if patient is not None:
        check_expression(patient)
    if not (folder / manifest.MANIFEST).is_file():
        return _foreign(folder, patient)
    if patient is not None:
        raise UsageError(
            f"{folder}: its manifest.csv says who is who; --patient is for a folder without one",
            remedy="Leave it away; where the manifest knows nobody, build again with --patient",
        )
    return _ours(folder), []


def check_expression(patient: str) -> None:
    """Raise UsageError where ``patient`` is not a regular expression with a group."""
    try:
        if re.compile(patient).groups:
            return
    except re.error as error:
        raise UsageError(f"--patient {patient!r} is not a regular expression: {error}") from error
    raise UsageError(f"--patient {patient!r}: no group holds the patient", remedy=r"Put it in brackets: '(P\d+)_'")


def _ours(folder: Path) -> Tree:
    rows = manifest.read(folder)
    if rows.empty:
        raise InputError(f"{folder / manifest.MANIFEST}: holds no pair", remedy="Build the dataset first")
    unknown = sorted({*rows["split"]} - {*SPLITS, ""})
    if unknown:
        raise InputError(
            f"{folder / manifest.MANIFEST}: column split holds {names.some(unknown)}",
            remedy="imagemask verify lists what is wrong with the manifest",
        )
    paths = {kind: f"{kind}s/" + rows["key"] + ".png" for kind in ("image", "mask")}
    frame = rows.assign(**paths, line=_lines(rows)).sort_values("key", kind="stable", ignore_index=True)
    return Tree(folder, frame[list(COLUMNS)], _values(folder), manifest=True)


def _lines(rows: pd.DataFrame) -> Any:
    """The line of manifest.csv at which each row begins: the header is line 1, and a quoted cell may hold a break."""
    text = rows.select_dtypes(exclude="number")
    breaks = text.apply(lambda cells: cells.str.count("\n")).sum(axis=1).to_numpy("int64")
    return breaks.cumsum() - breaks + rows.index.to_numpy() + 2


def _values(folder: Path) -> tuple[int, ...] | None:
    """The foreground values that dataset.json declares; None where it does not, of which ``verify`` says more."""
    try:
        return tuple(int(label["mask_value"]) for label in manifest.read_dataset(folder)["labels"])
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _foreign(folder: Path, patient: str | None) -> tuple[Tree, list[Finding]]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "is not there"
        raise InputError(f"{folder}: {what}", remedy="Name a dataset, or a folder of images and masks")
    listing = files.walk(folder)
    pairs = _pairs(folder, listing)
    readable = [pair for pair in pairs if all(map(names.is_text, (*pair.images, *pair.masks)))]
    frame = _frame(folder, readable, patient)
    findings = [*_unnamed(folder, pairs), *_incomplete(folder, readable), *_passed_over(folder, listing, pairs)]
    if patient is not None:
        findings += _unknown(frame, patient)
    return Tree(folder, frame, None, manifest=False), findings


def _pairs(folder: Path, listing: files.Listing) -> Sequence[Pair]:
    """The pairs of a folder: as ``build folder`` finds them, else told apart by words in the names of folders."""
    try:
        pairs: Sequence[Pair] = layouts.find(folder).pairs
    except (
        ImagemaskError
    ):  # what it proposes are options of build, and two roles of one kind need not be ambiguous here
        pairs = roles.pairs(folder, listing.files)
    if not any(pair.images and pair.masks for pair in pairs):
        pictures = sum(path.suffix.casefold() in layouts.PICTURES for path in listing.files)
        links = f"; {len(listing.links)} links that lead out of it are not followed" if listing.links else ""
        raise InputError(f"{folder}: not one image with a mask among {pictures} pictures{links}", remedy=_ACCEPTED)
    return pairs


def _frame(folder: Path, pairs: Sequence[Pair], patient: str | None) -> pd.DataFrame:
    """The rows of a folder without manifest."""
    import pandas as pd

    places = [(*pair.images, *pair.masks)[0].relative_to(folder) for pair in pairs]
    spellings: dict[str, str] = {}
    who = (names.patient_of(place, patient) for place in places)
    columns: dict[str, Sequence[Any]] = {
        "key": ["/".join(pair.key) for pair in pairs],
        "image": [_first(folder, pair.images) for pair in pairs],
        "mask": [_first(folder, pair.masks) for pair in pairs],
        "split": [names.split_of(place) or names.split_of_words(place.parts[:-1]) for place in places],
        "patient": [spellings.setdefault(name.casefold(), name) for name in who],  # JHX and jhx are one patient
        "category": [_category(pair.key[:-1], place) for pair, place in zip(pairs, places, strict=True)],
    }
    origins = _origins(columns["category"], [pair.key[-1] for pair in pairs], columns["split"])
    columns |= {"case": [case for case, _ in origins], "variant": [variant for _, variant in origins]}
    columns |= {"group": [""] * len(pairs), "slice": [-1] * len(pairs), "line": [0] * len(pairs)}
    return pd.DataFrame(columns).sort_values("key", kind="stable", ignore_index=True)[list(COLUMNS)]


def _category(folders: names.Key, place: Path) -> str:
    """The folders of a file, without its split, which may be a word of a name where no folder is called after it."""
    by_words = not names.split_of(place)
    left = names.without_split(folders) if by_words else [one for one in folders if not names.split_of_folder(one)]
    return "/".join(left)


def _origins(categories: Sequence[str], stems: Sequence[str], splits: Sequence[str]) -> list[tuple[str, str]]:
    """The case and the variant of each file: what it was made from, by its name, within its category."""
    apart = siblings.repeat(list(map("/".join, zip(categories, stems, strict=True))), splits)
    homes = [f"{split}/{category}" if apart else category for category, split in zip(categories, splits, strict=True)]
    found: list[tuple[str, str]] = [("", "")] * len(stems)
    of_home: dict[str, list[int]] = {}
    for place, home in enumerate(homes):
        of_home.setdefault(home, []).append(place)
    for home, places in of_home.items():
        for place, origin in zip(places, siblings.origins([stems[place] for place in places]), strict=True):
            found[place] = (f"{home}/{origin.stem}".removeprefix("/"), origin.variant)
    return found


def _first(folder: Path, paths: Sequence[Path]) -> str:
    return paths[0].relative_to(folder).as_posix() if paths else ""


def _unnamed(folder: Path, pairs: Iterable[Pair]) -> Iterator[Finding]:
    for path in (path for pair in pairs for path in (*pair.images, *pair.masks) if not names.is_text(path)):
        yield found(CODES, "AU001", f"{names.bytes_of(path.relative_to(folder))} is not UTF-8: rename it")


def _incomplete(folder: Path, pairs: Iterable[Pair]) -> Iterator[Finding]:
    for pair in pairs:
        images, masks = ([path.relative_to(folder).as_posix() for path in paths] for paths in (pair.images, pair.masks))
        if not masks:
            yield found(CODES, "AU002", f"there is no mask for {images[0]}", files=images)
        if not images:
            yield found(CODES, "AU003", f"there is no image for {masks[0]}", files=masks)
        for role, paths in (("image", images), ("mask", masks)):
            if len(paths) > 1:
                yield found(CODES, "AU004", f"{len(paths)} {role}s have one stem: {names.some(paths)}", files=paths)


def _passed_over(folder: Path, listing: files.Listing, pairs: Iterable[Pair]) -> Iterator[Finding]:
    used = {path for pair in pairs for path in (*pair.images, *pair.masks)}
    rest = [path for path in listing.files if path.suffix.casefold() in layouts.PICTURES and path not in used]
    others = (("link", listing.links), ("unreadable folder", listing.unreadable), ("special file", listing.special))
    for what, paths in (("picture", rest), *others):
        shown = [path.relative_to(folder).as_posix() for path in paths if names.is_text(path)]
        if paths:
            message = f"{len(paths)} {what}{'s' * (len(paths) > 1)} not looked at: {names.some(shown)}"
            yield found(CODES, "AU006", message, files=shown)


def _unknown(frame: pd.DataFrame, patient: str) -> Iterator[Finding]:
    """Files in which ``patient`` finds nobody. Raises UsageError where that is all of them."""
    paths = frame["image"].where(frame["image"] != "", frame["mask"])[frame["patient"] == ""].tolist()
    if len(paths) == len(frame):
        raise UsageError(
            f"--patient {patient} finds nothing in any of {len(frame)} names; the first is {paths[0]}",
            remedy="With a / in it, the expression is searched in the whole path",
        )
    if paths:
        message = f"--patient {patient} finds nobody in {len(paths)} of {len(frame)} names: {names.some(paths)}"
        yield found(CODES, "AU005", message, files=paths)
