"""``--replace``: build beside the dataset, then put the new folder in its place. Killed anywhere, it recovers.

Both folders' locks are held from before the replacement is begun until the old one is gone: they move with their
folders. What the dataset holds that is not ours (notes, models) moves over; nothing of a user's is removed. A report of
the old dataset goes with it: it would show other pixels than those beside it.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from imagemask import card, files, manifest, split
from imagemask.build import folder, fragments
from imagemask.build.fragments import Plan
from imagemask.errors import ImagemaskError, InputError, UsageError
from imagemask.types import SPLITS

_OURS = {
    *("images", "masks", fragments.FOLDER, manifest.MANIFEST, manifest.DATASET, manifest.QUARANTINE, manifest.SPLIT),
    *(*SPLITS, ".layout", ".layout.new", "preview.png"),
}
_REPORTS = (
    (re.compile(r"report\.html"), b'<meta name="generator" content="imagemask '),
    (re.compile(r".+_(Statistics|Samples_(train|valid|test|unassigned))\.png"), b"tEXtSoftware\0imagemask"),
)
"""Names of what ``imagemask report`` writes, and the mark that stands in its first bytes."""
_HEAD = 4096


def beside(dataset: Path) -> Path:
    """Where the replacement is built: on the same file system, hidden."""
    return dataset.with_name(f".{dataset.name}.new")


def check(dataset: Path, plan: Plan) -> bool:
    """Whether there is anything to replace. Touches nothing.

    Raises UsageError where ``dataset`` is not ours, of another source, or cannot be renamed; InputError where it is no
    folder.
    """
    folder.refuse_foreign(dataset)
    if not dataset.is_dir() or not any(dataset.iterdir()):
        return False
    _check_replaceable(dataset, plan)
    return True


def begin(dataset: Path, plan: Plan, held: ExitStack) -> Path:
    """Lock ``dataset``, and start its replacement: the folder to build in.

    A replacement that was left half-built is resumed where its plan is this one, else started anew. Raises as ``check``
    does.
    """
    new = beside(dataset)
    if check(dataset, plan):
        held.enter_context(files.lock(_lock(dataset)))
    files.make_folder(new / fragments.FOLDER)
    with files.lock(_lock(new)):
        if not is_of(new, plan):
            _remove_ours(new)
            files.make_folder(new / fragments.FOLDER)
            fragments.write_plan(new, plan)
        _take_split(dataset, new)
    return new


def into_place(dataset: Path) -> None:
    """Swap the finished replacement in, and remove what it replaces. The caller holds both locks."""
    new, old = beside(dataset), _old(dataset)
    if dataset.exists():
        dataset.rename(old)
    new.rename(dataset)
    _finish(dataset)


def present(dataset: Path) -> Path:
    """Where the dataset lies now: where a swap was killed between its two renames, still beside its place.

    Raises InputError where ``.NAME.old`` is no dataset of ours.
    """
    old = _old(dataset)
    if old.exists() and not (old / fragments.FOLDER).is_dir():
        raise InputError(f"{old}: is in the way, and no dataset", remedy="Move it elsewhere")
    return beside(dataset) if old.exists() and not dataset.exists() else dataset


def recover(dataset: Path) -> None:
    """End a swap that was killed half-way: the finished replacement takes its place, the old folder goes.

    Raises UsageError while another run holds one of the folders, InputError as ``present`` does.
    """
    present(dataset)
    old = _old(dataset)
    if not old.exists():
        return
    with ExitStack() as held:
        held.enter_context(files.lock(_lock(old)))
        if not dataset.exists():
            held.enter_context(files.lock(_lock(beside(dataset))))
            beside(dataset).rename(dataset)
        _finish(dataset)


def _finish(dataset: Path) -> None:
    old = _old(dataset)
    if not old.exists():
        return
    for path in sorted(old.iterdir()):
        kept = dataset / path.name
        if _is_ours(path):
            continue
        if card.is_ours(kept):  # a README.md of the user's takes the place of the one that was written just now
            kept.unlink()
        if not kept.exists():
            path.rename(kept)
    _remove_ours(old)
    if not any(old.iterdir()):
        old.rmdir()


def _check_replaceable(dataset: Path, plan: Plan) -> None:
    """Refuse a dataset of another source, and a folder that cannot be renamed, before any work."""
    other = fragments.generator_of(dataset)
    if other != plan.recipe.generator:
        raise UsageError(
            f"{dataset}: holds a dataset of {other}, not {plan.recipe.generator}", remedy="Give another --out"
        )
    if dataset.is_mount() or Path.cwd().is_relative_to(dataset):
        why = "is a mount point" if dataset.is_mount() else "is the current folder, or holds it"
        raise UsageError(f"{dataset}: {why}, and cannot be swapped", remedy="Build to another --out")
    split.check_folders(dataset)


def _take_split(dataset: Path, new: Path) -> None:
    """The split goes along: a test patient must not wander into train because a window changed. Its folders do not, and
    the stamp, which keeps what the split was drawn with, says so.
    """
    listed, stamp = dataset / manifest.SPLIT, split.read_stamp(dataset)
    if listed.is_file():
        files.write_atomic(new / manifest.SPLIT, listed.read_bytes())
    if stamp is not None:
        split.write_stamp(new, replace(stamp, manifest=split.NOT_LAID_OUT))


def is_of(replacement: Path, plan: Plan) -> bool:
    """Whether a replacement, as far as there is one, is of this plan: then it is resumed."""
    try:
        return not fragments.differences(fragments.read_plan(replacement), plan)
    except ImagemaskError:
        return False


def _is_ours(path: Path) -> bool:
    temporary = path.name.startswith(".") and path.name.endswith(".tmp")
    return path.name in _OURS or temporary or card.is_ours(path) or _is_report(path)


def _is_report(path: Path) -> bool:
    """Whether ``path`` is a page or picture that ``imagemask report`` wrote, under the name that it gives."""
    mark = next((mark for name, mark in _REPORTS if name.fullmatch(path.name)), None)
    try:
        with path.open("rb") as file:
            return mark is not None and mark in file.read(_HEAD)
    except OSError:  # a folder, or gone
        return False


def _remove_ours(dataset: Path) -> None:
    """Remove what a build has put into ``dataset``; its fragments last, by which it is known as ours."""
    ours = [path for path in dataset.iterdir() if _is_ours(path)]
    for path in sorted(ours, key=lambda path: path.name == fragments.FOLDER):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _lock(dataset: Path) -> Path:
    return dataset / fragments.FOLDER / fragments.LOCK


def _old(dataset: Path) -> Path:
    return dataset.with_name(f".{dataset.name}.old")
