"""``train/ valid/ test/``: hard links or copies, derived from the manifest, and the stamp that says from which.

``.layout`` holds the SHA-256 of the manifest that the folders were made from, ``unfinished`` from before anything
changes until they are made, or ``not laid out`` where a dataset was replaced, whose split goes along without folders;
then, as JSON, how they are laid out and what the split was drawn with. So a run that is killed anywhere leaves a stamp
that no manifest matches.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imagemask import card, files, manifest
from imagemask.errors import ImagemaskError, InputError
from imagemask.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

STAMP = ".layout"
KINDS = ("images", "masks")
UNFINISHED = "unfinished"
NOT_LAID_OUT = "not laid out"
_WORK = ".layout.new"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What ``.layout`` says. ``ratios`` and ``seed`` are those of the ``split.csv`` whose SHA-256 is ``split``."""

    manifest: str
    layout: str = "link"
    variants: str = "train"
    ratios: tuple[float, float, float] | None = None
    seed: int | None = None
    split: str = ""


@dataclass(frozen=True, slots=True)
class LaidOut:
    """``pairs`` were laid out; ``blank`` rows were not, because they are in no set."""

    pairs: int
    blank: int


class Problem(NamedTuple):
    """What is wrong with ``file``, a path below the dataset."""

    file: str
    message: str


def read_stamp(dataset: Path) -> Stamp | None:
    """The stamp of a dataset folder. None where there is none, or none that can be read: then nothing is laid out."""
    try:
        first, _, rest = (dataset / STAMP).read_text(encoding="utf-8").partition("\n")
        said = json.loads(rest)
        return Stamp(first, **{**said, "ratios": tuple(said["ratios"]) if said["ratios"] else None})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Stamp(UNFINISHED)


def write_stamp(dataset: Path, stamp: Stamp) -> None:
    """Replace the stamp of a dataset folder."""
    said = asdict(stamp)
    first = said.pop("manifest")
    files.write_atomic(dataset / STAMP, f"{first}\n{json.dumps(said, sort_keys=True)}\n".encode())


def layout_is_current(dataset: Path) -> bool:
    """Whether the three folders were made, to the end, from the manifest as it is now."""
    stamp = read_stamp(dataset)
    return stamp is not None and stamp.manifest == files.sha256(dataset / manifest.MANIFEST)


def lay_out(dataset: Path, frame: pd.DataFrame, layout: str, variants: str) -> LaidOut:
    """Make train/, valid/ and test/ from ``frame``, which ``manifest.csv`` holds already, and stamp them.

    ``layout`` is link, copy or none, which removes them; ``variants`` train or everywhere. The caller holds the
    dataset's lock. Raises InputError where a folder holds what is not ours, a file of the manifest is missing, the file
    system refuses hard links, or the disk is full.
    """
    check(dataset, frame)
    stamp = replace(read_stamp(dataset) or Stamp(UNFINISHED), manifest=UNFINISHED, layout=layout, variants=variants)
    if stamp != read_stamp(dataset):
        write_stamp(dataset, stamp)
    return make(dataset, frame, stamp)


def make(dataset: Path, frame: pd.DataFrame, stamp: Stamp) -> LaidOut:
    """Make the three folders where ``stamp``, unfinished, is written already, and finish it."""
    wanted = _wanted(frame, stamp.layout, stamp.variants)
    clean(dataset)
    try:
        if stamp.layout != "none":
            _fill(dataset, wanted, stamp.layout)
        _swap(dataset)
    finally:
        clean(dataset)
    write_stamp(dataset, replace(stamp, manifest=files.sha256(dataset / manifest.MANIFEST)))
    return laid_out(frame, stamp)


def laid_out(frame: pd.DataFrame, stamp: Stamp) -> LaidOut:
    """What laying out a manifest as the stamp says comes to."""
    wanted = _wanted(frame, stamp.layout, stamp.variants)
    return LaidOut(sum(map(len, wanted.values())), int((frame["split"] == "").sum()))


def used(dataset: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a manifest that a training or a test reads: of valid and test no augmented copies, unless the stamp
    of the dataset folder says that they are laid out everywhere.
    """
    stamp = read_stamp(dataset)
    return _without_copies_held_out(frame, stamp.variants if stamp else "train")


def check(dataset: Path, frame: pd.DataFrame) -> None:
    """Raise InputError where laying ``frame`` out would destroy what is not ours, or a key is no name of one file."""
    unfit = _unfit(frame["key"].tolist())
    if unfit is not None:
        raise InputError(
            f"{manifest.MANIFEST}: the key {unfit!r} is not the name of one pair", remedy="Restore it: imagemask merge"
        )
    check_folders(dataset)


def check_folders(dataset: Path) -> None:
    """Raise InputError where train/, valid/ or test/ holds what is not ours."""
    stamped = read_stamp(dataset) is not None
    for split in SPLITS:
        if stamped:
            foreign = next(_foreign(dataset / split), None)
        else:
            foreign = dataset / split if os.path.lexists(dataset / split) else None
        if foreign is not None:
            raise InputError(f"{foreign}: was not made by split, and is in its way", remedy="Move it elsewhere")


def _unfit(keys: list[str]) -> str | None:
    """A key that leads out of its folder, or is there twice."""
    seen = set(keys)
    if len(seen) < len(keys):
        return Counter(keys).most_common(1)[0][0]
    return next((key for key in keys if "/" in key or not key), None)


def clean(dataset: Path) -> None:
    """Remove what a run that was killed left half made."""
    work = dataset / _WORK
    try:
        for name in (manifest.SPLIT, manifest.MANIFEST, *card.NAMES, STAMP):
            files.temporary_name(dataset / name).unlink(missing_ok=True)
        if work.exists():
            shutil.rmtree(work)
    except OSError as error:
        raise files.output_error(work, error) from error


def layout_problems(dataset: Path, frame: pd.DataFrame | None = None, *, names_only: bool = False) -> Iterator[Problem]:
    """How the three folders differ from the manifest, which is read where it is not given.

    Nothing, for a dataset that was never split. Where the stamp says that the folders do not belong to this manifest,
    that is the one finding. ``names_only`` compares no contents.
    """
    stamp = read_stamp(dataset)
    if stamp is None and (dataset / manifest.SPLIT).exists():
        yield Problem(STAMP, "is missing: the split was not laid out")
    elif stamp is None:
        yield from (Problem(split, "was not made by a split") for split in SPLITS if os.path.lexists(dataset / split))
    elif stamp.manifest == UNFINISHED:
        yield Problem(STAMP, "is unfinished: laying out was interrupted")
    elif stamp.manifest == NOT_LAID_OUT:
        yield Problem(STAMP, "says that the split was not laid out since the dataset was replaced")
    elif stamp.manifest != files.sha256(dataset / manifest.MANIFEST):
        yield Problem(STAMP, "is stale: manifest.csv has changed since the folders were made")
    else:
        rows = manifest.read(dataset) if frame is None else frame
        for split, keys in _wanted(rows, stamp.layout, stamp.variants).items():
            yield from _differences(dataset, split, keys if stamp.layout != "none" else None, names_only=names_only)


def _differences(dataset: Path, split: str, keys: list[str] | None, *, names_only: bool) -> Iterator[Problem]:
    if keys is None:
        if os.path.lexists(dataset / split):
            yield Problem(split, "is there, although the layout is none")
        return
    for foreign in _foreign(dataset / split):
        yield Problem(foreign.relative_to(dataset).as_posix(), "was not laid out")
    for kind in KINDS:
        there = {name for name in _names(dataset / split / kind) if name.endswith(".png") and not files.is_junk(name)}
        wanted = [f"{key}.png" for key in keys]
        for name in wanted:
            if name not in there:
                yield Problem(f"{split}/{kind}/{name}", "is missing")
            elif not names_only and not _equal(dataset / split / kind / name, dataset / kind / name):
                yield Problem(f"{split}/{kind}/{name}", f"is not {kind}/{name}")
        for name in sorted(there.difference(wanted)):
            yield Problem(f"{split}/{kind}/{name}", "does not belong there")


def _equal(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except OSError:  # the pair itself is missing or unreadable
        return False


def _wanted(frame: pd.DataFrame, layout: str, variants: str) -> dict[str, list[str]]:
    """The keys in each folder."""
    unsafe = frame["key"][frame["key"].str.contains("/", regex=False) | (frame["key"] == "")]
    if len(unsafe):
        raise InputError(
            f"{manifest.MANIFEST}: the key {unsafe.iloc[0]!r} names no file", remedy="Restore the manifest"
        )
    if layout == "none":
        return {split: [] for split in SPLITS}
    kept = _without_copies_held_out(frame, variants)
    return {split: kept["key"][kept["split"] == split].tolist() for split in SPLITS}


def _without_copies_held_out(frame: pd.DataFrame, variants: str) -> pd.DataFrame:
    """The rows of a manifest but for augmented copies in valid and test, unless ``variants`` is everywhere."""
    plain = (frame["variant"] == "") | (variants == "everywhere")
    return frame[plain | ~frame["split"].isin(SPLITS[1:])]


def _fill(dataset: Path, wanted: dict[str, list[str]], layout: str) -> None:
    """Make the three folders beside the present ones."""
    place = os.link if layout == "link" else shutil.copyfile
    for split, keys in wanted.items():
        for kind in KINDS:
            source, target = dataset / kind, dataset / _WORK / split / kind
            files.make_folder(target)
            for key in keys:
                try:
                    place(f"{source}/{key}.png", f"{target}/{key}.png")
                except OSError as error:
                    raise _refusal(source / f"{key}.png", target / f"{key}.png", error) from error


def _refusal(source: Path, target: Path, error: OSError) -> ImagemaskError:
    if error.errno == errno.ENOENT:
        return InputError(f"{source}: is in the manifest, but not there", remedy="Build the dataset again")
    if error.errno in _NO_LINKS:
        return InputError(
            f"{source}: this file system makes no hard link to it: {error.strerror}", remedy="Use --layout copy"
        )
    return files.output_error(target, error)


def _swap(dataset: Path) -> None:
    """Move the present folders away and the new ones in, one by one."""
    work = dataset / _WORK
    try:
        for split in SPLITS:
            if os.path.lexists(dataset / split):
                files.make_folder(work)
                (dataset / split).rename(work / f"old-{split}")
            if (work / split).exists():
                (work / split).rename(dataset / split)
    except OSError as error:
        raise files.output_error(dataset, error) from error


def _foreign(folder: Path) -> Iterator[Path]:
    """What lies in one of the three folders and was not laid out: anything but images/*.png and masks/*.png."""
    if os.path.lexists(folder) and not folder.is_dir():
        yield folder
    for name in _names(folder):
        if name not in KINDS and not files.is_junk(name):
            yield folder / name
    for kind in KINDS:
        for name in _names(folder / kind):
            if not name.endswith(".png") and not files.is_junk(name):
                yield folder / kind / name


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:  # missing, or a file in its place
        return []
