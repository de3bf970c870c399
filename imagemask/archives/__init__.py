"""Archives as they are distributed (.tar, .tar.gz, .zip, .7z): safely unpacked beside themselves, and built from there.

``--raw ARCHIVE`` unpacks ``raw/NAME/Task06_Lung.tar`` into ``raw/NAME/Task06_Lung.tar.unpacked`` and reads that folder.
``--raw FOLDER`` does so with every archive that the source manifest names and the folder, or one below it, holds; the
folder as a whole is read. One rule keeps what a person has unpacked herself from being there twice: where nothing of
ours has been unpacked yet and the generator finds a case with image and mask in the folder as it is, all archives stay
packed, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagemask import files
from imagemask.archives.extract import (
    How,
    begun_folder,
    blamed,
    is_unpacked,
    plan_of,
    reader_of,
    unpack,
    unpacked_folder,
)
from imagemask.archives.members import SUFFIXES, Plan, ReaderError
from imagemask.errors import ImagemaskError, UsageError
from imagemask.types import Archive, Generator, Options

__all__ = ["SUFFIXES", "How", "Place", "contents", "is_archive", "locate", "unpack_all", "usable"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source is read: ``folder``, once the archives of ``packed`` are unpacked.

    Each stands with what its publisher says of it, or None.
    """

    folder: Path
    packed: tuple[tuple[Path, Archive | None], ...] = ()
    notes: tuple[str, ...] = ()


def is_archive(raw: Path) -> bool:
    """Whether ``raw`` is a file that is called as an archive, or was one that lies unpacked beside its place."""
    named = raw.name.casefold().endswith(SUFFIXES)
    return named and (raw.is_file() or (not raw.exists() and unpacked_folder(raw).is_dir()))


def locate(raw: Path, known: Sequence[Archive], usable: Callable[[Path], bool], *, refresh: bool = False) -> Place:
    """Where the source of ``raw`` (a folder or an archive) is read, and what must be unpacked first.

    ``usable`` says whether a folder can be read as it is. Writes nothing, but with ``refresh`` the time of an archive
    that was copied since, so that it is not hashed each time. Raises InputError where ``ARCHIVE.unpacked`` is not ours,
    or of another version of the archive.
    """
    if is_archive(raw):
        one = next((one for one in known if one.name.casefold() == raw.name.casefold()), None)
        note = f"{raw.name} is none of the archives that are known of this source: nothing says whether it is whole"
        this = () if is_unpacked(raw, refresh=refresh) else ((raw, one),)
        return Place(unpacked_folder(raw), this, (note,) if known and one is None else ())
    lying = lying_in(raw, known)
    packed = tuple((path, one) for one, path in lying.items() if not is_unpacked(path, refresh=refresh))
    begun = any(place(path).exists() for path in lying.values() for place in (unpacked_folder, begun_folder))
    if not packed or begun or not usable(raw):
        return Place(raw, packed)
    names = ", ".join(path.name for path, _ in packed)
    return Place(raw, notes=(f"the folder is read as it is: {names} stays packed",))


def lying_in(raw: Path, known: Sequence[Archive]) -> dict[Archive, Path]:
    """Known archives in ``raw`` or a folder in it, called so in whatever letters; none of what is unpacked."""
    if not known:
        return {}
    by_name = {one.name.casefold(): one for one in known}
    found: dict[Archive, Path] = {}
    for path in files.walk(raw).files:
        above = path.relative_to(raw).parts[:-1]
        one = by_name.get(path.name.casefold())
        if one and len(above) <= 1 and not any(part.endswith(files.UNPACKED) for part in above):
            found.setdefault(one, path)
    return found


def usable(generator: Generator, options: Options) -> Callable[[Path], bool]:
    """Whether ``generator`` finds a case with image and mask in a folder as it is."""

    def found(raw: Path) -> bool:
        try:
            return any(case.images and case.masks for case in generator.discover(raw, options))
        except ImagemaskError:
            return False

    return found


def unpack_all(place: Place, how: How) -> tuple[str, ...]:
    """Unpack what is packed; what a person should know of it.

    Raises as ``extract.unpack`` does, and UsageError where one is only to look.
    """
    if how.look_only and place.packed:
        archive, known = place.packed[0]
        found = contents(archive, verified=known is not None and known.checksum is not None)
        raise UsageError(
            f"{archive}: is still packed, {len(found.files)} files of {files.human(found.bytes)} in all, "
            "and a dry run unpacks nothing",
            remedy="Leave --dry-run out: a build begins by unpacking it beside itself",
        )
    told = (*place.notes, *(note for archive, known in place.packed for note in unpack(archive, known, how)))
    how.ready(place.folder)
    return told


def contents(archive: Path, *, verified: bool) -> Plan:
    """What ``archive`` holds, looked at without unpacking it; ``verified`` by a checksum.

    Raises InputError where it is damaged or refused, UsageError where py7zr is missing.
    """
    try:
        return plan_of(reader_of(archive), archive, verified=verified)
    except ReaderError as error:
        raise blamed(archive, error) from error
