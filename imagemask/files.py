"""Files on disk: whole or not at all, hashed, locked, listed without surprises."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagemask.errors import InputError, UsageError

UNPACKED, UNPACKING = ".unpacked", ".unpacking"
"""What the folder of an unpacked archive is called after its name, and while it is being unpacked (hidden, then)."""
NOTES = ".imagemask"
"""The folder in it that says of which archive it is."""
_JUNK_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir", "__MACOSX"}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_ELSEWHERE = "Choose a folder that you can write to, or make this one writable"
_OUT_OF_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAMPLE = 65536  # bytes that tell two pictures apart
_PIECE = 3 << 18
"""Bytes that are hashed at a time: a CT slice in one, so that a thread that hashes hundreds of them seldom waits for
the interpreter. A megabyte and more take longer: the first part has left the cache when it is hashed.
"""


def write_atomic(path: Path, data: bytes, *, lasting: bool = False) -> None:
    """Write ``data`` beside ``path`` and rename it there: a reader sees the old file or the new one, never a part.

    ``lasting`` waits for the disk, so that this holds after a power cut, too. Raises InputError where the disk is full
    or the folder cannot be written.
    """
    temporary = temporary_name(path)
    try:
        _write(temporary, data)
        if lasting:
            to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise output_error(path, error) from error


def _write(path: Path, data: bytes) -> None:
    """As Path.write_bytes, without asking for size, kind and position: builds write many small files."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def to_disk(path: Path) -> None:
    """Wait until the bytes of a file are on the disk: before it is renamed, or a power cut may leave the name alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """The name under which ``path`` is written before it is renamed. Fixed, so that a rerun overwrites a stale one."""
    return path.with_name(f".{path.name}.tmp")


def output_error(path: Path, error: OSError, *, elsewhere: str = _ELSEWHERE) -> InputError:
    """The error of a failed write, with what to do about it: ``elsewhere``, where it is not room that is lacking."""
    full = "The disk (or your quota) is full: make room and run the same command again, what is done is kept"
    remedy = full if error.errno in _OUT_OF_ROOM else elsewhere
    return InputError(f"{path}: cannot be written: {error.strerror or error}", remedy=remedy)


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents. Raises InputError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def human(count: float) -> str:
    """Bytes for people: 1.2 GB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def equal(owned: Iterable[tuple[Path, str]]) -> list[list[tuple[Path, str]]]:
    """Files that hold the same bytes: groups of (file, owner), each of several owners, in the order of ``owned``.

    Only files of one size are opened, and only those that agree in a sample from their middle are hashed. Empty files
    are not each other's copies, and what cannot be read is nobody's.
    """
    groups = [list(owned)]
    for kind in (_size, _sample, sha256):
        groups = [alike for group in groups for alike in _alike(group, kind)]
    return groups


def _alike(group: Iterable[tuple[Path, str]], kind: Callable[[Path], object]) -> Iterator[list[tuple[Path, str]]]:
    """The parts of ``group`` that are of one ``kind`` and belong to more than one owner."""
    parts: dict[object, list[tuple[Path, str]]] = {}
    for path, owner in group:
        try:
            alike = kind(path)
        except OSError:  # whoever reads it will say so
            continue
        if alike is not None:
            parts.setdefault(alike, []).append((path, owner))
    return (part for part in parts.values() if len({owner for _, owner in part}) > 1)


def _size(path: Path) -> int | None:
    return path.stat().st_size or None


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _SAMPLE) // 2)
        return hashlib.sha256(file.read(_SAMPLE)).digest()


@contextmanager
def lock(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a lock on the file ``path`` (made if need be); the system frees it when the process dies, however it dies.

    Raises UsageError at once where another process holds it, unless told to ``wait``; InputError where the file system
    cannot lock.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        if not _is_still_there(handle, path):  # its folder was replaced while we reached for it
            raise _busy(path)
        yield
    except BlockingIOError as error:
        raise _busy(path) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        remedy = "Mount it with locks (NFS: without nolock), or build on another disk and copy"
        raise InputError(f"{path.parent}: this file system has no locks: {error.strerror}", remedy=remedy) from error
    finally:
        os.close(handle)


def _busy(path: Path) -> UsageError:
    return UsageError(f"{path.parent}: another run is working in this folder", remedy="Wait for it to end")


def _is_still_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a folder: ``files`` to look at, and what was passed over, all sorted."""

    files: tuple[Path, ...]
    junk: tuple[Path, ...]
    """Left behind by operating systems: ``._*``, ``.DS_Store``, ``__MACOSX``, ..."""
    links: tuple[Path, ...]
    """Links to folders, and links that leave the folder or lead nowhere: never followed."""
    unreadable: tuple[Path, ...]
    """Folders that could not be listed."""
    special: tuple[Path, ...] = ()
    """Pipes, sockets and devices: never opened, for whoever opens a pipe waits until somebody writes into it."""


def walk(root: Path) -> Listing:
    """List the files below ``root``. Follows no link to a folder, and no link to a file outside ``root``."""
    # os.path's questions, not Path's: those raise in a folder that may be listed but not entered.
    files: list[Path] = []
    junk: list[Path] = []
    links: list[Path] = []
    unreadable: list[Path] = []
    special: list[Path] = []
    home = root.resolve()
    for folder, folders, names in os.walk(root, onerror=lambda error: unreadable.append(Path(error.filename))):
        here = Path(folder)
        links += [here / name for name in folders if os.path.islink(here / name)]
        junk += [here / name for name in folders if is_junk(name)]
        folders[:] = sorted(name for name in folders if not (is_junk(name) or is_ours(name)))
        for name in names:
            path = here / name
            kind = _kind(path)
            if is_junk(name):
                junk.append(path)
            elif stat.S_ISLNK(kind) and not _leads_inside(path, home):
                links.append(path)
            elif stat.S_ISLNK(kind) or stat.S_ISREG(kind):
                files.append(path)
            else:
                special.append(path)
    return Listing(*(tuple(sorted(group)) for group in (files, junk, links, unreadable, special)))


def is_special(path: Path) -> bool:
    """Whether ``path`` is, or leads to, a pipe, a socket or a device, which must not be opened."""
    try:
        mode = path.stat().st_mode
    except (OSError, RuntimeError):  # a loop, or nothing there
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _kind(path: Path) -> int:
    """The mode of what lies at ``path``, of a link its own; a file's where that cannot be told: its reader says why."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return stat.S_IFREG


def is_junk(name: str) -> bool:
    """Whether an operating system left this file or folder behind (AppleDouble twins, thumbnails, ...)."""
    return name.startswith("._") or name in _JUNK_NAMES


def is_ours(name: str) -> bool:
    """Whether this is the folder of an archive that is being unpacked, or the notes in one that was: never read."""
    return name == NOTES or (name.startswith(".") and name.endswith(UNPACKING))


def _leads_inside(link: Path, home: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop, or nothing there
        return False
    return target.is_relative_to(home) and target.is_file()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a read-only folder: nothing was written to it
        return


def source_root(raw: Path, marks: Sequence[str], *, accepted: str) -> Path:
    """The folder that holds a file or folder called as one of ``marks``: ``raw``, or one up to two levels below it.

    Raises InputError where ``raw`` is not a folder, where nothing matches (with what is there and the ``accepted``
    layouts), and where several folders match (naming them).
    """
    require_folder(raw, accepted=accepted)
    found = [folder for folder in _two_levels(raw) if any(os.path.exists(folder / mark) for mark in marks)]
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise InputError(
            f"{raw}: holds {len(found)} copies of the source: {names}", remedy="Name one of them with --raw"
        )
    if not found:
        raise unknown_layout(raw, accepted=accepted)
    return found[0]


def require_folder(raw: Path, *, accepted: str) -> None:
    """Raises InputError where ``raw`` is not a folder, with the ``accepted`` layouts."""
    if not raw.is_dir():
        what = "is not a folder" if raw.exists() else "is not there"
        raise InputError(f"{raw}: {what}", remedy=f"Give the folder with --raw. Accepted: {accepted}")


def unknown_layout(raw: Path, *, accepted: str, limit: int = 20) -> InputError:
    """The error of a folder that is not this source: what lies in its top two levels, and what was looked for."""
    names: list[str] = []
    for folder in _two_levels(raw, levels=1):
        entries = [entry for entry in _entries(folder) if not is_ours(entry.name)]
        here = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
        names += [str((folder / name).relative_to(raw)) + ("/" if name.endswith("/") else "") for name in here]
    shown = ", ".join(names[:limit]) + (f", and {len(names) - limit} more" if len(names) > limit else "")
    return InputError(f"{raw}: not recognised. It holds: {shown or 'nothing'}", remedy=f"Accepted: {accepted}")


def _two_levels(root: Path, *, levels: int = 2) -> list[Path]:
    """``root`` and the folders below it, down to ``levels``, without junk; follows no link.

    The folder of an unpacked archive is no level: what lies in it lies where the archive does.
    """
    found = [root]
    if levels:
        for entry in sorted(_entries(root)):
            if entry.is_dir() and not entry.is_symlink() and not is_junk(entry.name) and not is_ours(entry.name):
                found += _two_levels(entry, levels=levels - (not entry.name.endswith(UNPACKED)))
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # may not be listed: it counts as empty here, and `walk` reports it
        return []
