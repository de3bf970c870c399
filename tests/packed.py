"""Archives for tests: of any kind, of any members, hostile ones too."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

KINDS = (".tar", ".tar.gz", ".tgz", ".zip", ".7z")
WITHOUT_7Z = tuple(kind for kind in KINDS if kind != ".7z")


def pack(path: Path, members, *, kind=None):
    """Write ``members``, {name: bytes}, to an archive at ``path``; None is a folder. ``path``."""
    kind = kind or next(end for end in KINDS if path.name.lower().endswith(end))
    {".tar": _tar, ".tar.gz": _tar, ".tgz": _tar, ".zip": _zip, ".7z": _seven_zip}[kind](path, dict(members), kind)
    return path


def pack_folder(path: Path, folder: Path, below=""):
    """Write all files of ``folder`` to an archive, named relative to it, below the folder ``below``."""
    members = {
        (Path(below) / file.relative_to(folder)).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return pack(path, members)


def tar_of(path: Path, *infos):
    """A tar of (TarInfo, bytes or None)."""
    with tarfile.open(path, "w") as archive:
        for info, data in infos:
            archive.addfile(info, None if data is None else io.BytesIO(data))
    return path


def info(name, data=b"", **fields):
    """A TarInfo with its bytes, of any type."""
    found = tarfile.TarInfo(name)
    found.size = len(data or b"")
    for field, value in fields.items():
        setattr(found, field, value)
    return found, data


def zip_link(path: Path, name, target, **members):
    """A zip with a symbolic link, and other members."""
    with zipfile.ZipFile(path, "w") as archive:
        found = zipfile.ZipInfo(name)
        found.create_system, found.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(found, target)
        for other, data in members.items():
            archive.writestr(other, data)
    return path


def _tar(path, members, kind):
    with tarfile.open(path, "w" if kind == ".tar" else "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            folder = {"type": tarfile.DIRTYPE} if data is None else {}
            found, _ = info(name, data, mode=0o4600, **folder)
            archive.addfile(found, None if data is None else io.BytesIO(data))


def _zip(path, members, _kind):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}/" if data is None else name, data or b"")


def _seven_zip(path, members, _kind):
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive._writestr(data, name)  # as writestr, which refuses hostile names
