"""What file names say: the id of a case, its patient, its split; and the name of a dataset."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

Key = tuple[str, ...]
"""Folders, then a stem."""

_SPLITS = re.compile(
    r"(?P<train>train(?:ing)?|(?:images|labels)tr)|(?P<valid>val|valid|validation)|(?P<test>test(?:ing)?|(?:images|labels)ts)"
)
FORBIDDEN = frozenset('/\\~%:*?"<>|')
"""What an id cannot hold: separators of paths and of keys, and what some file systems refuse."""
_WORDS = re.compile(r"[-_. ]+")
_UNPACKED = re.compile(r"(?<=.)\.(?:tar|tar\.gz|tgz|zip|7z)\.unpacked$", re.IGNORECASE)
_LONGEST = 180  # bytes of an id: a slice, a variant and an extension must still fit into a file name
_NAMED = 5  # names in a message


def identifier(key: Key) -> str:
    """A key as a case id that every file system takes: its parts joined by ``+``, as in ``train+PANCREAS_0001-1106``.

    Reversible but for how accents are composed (NFC): a character that an id cannot hold, a ``+``, a ``=`` and a dot
    at the beginning are written as the bytes of their UTF-8, ``=XX`` each. Only an id of more than 180 bytes is cut; it
    ends in a hash of the whole.
    """
    parts = (unicodedata.normalize("NFC", part) for part in key)
    name = "+".join("".join(_escape(char) if _is_special(char) else char for char in part) for part in parts)
    if name.startswith("."):
        name = _escape(".") + name[1:]
    if not unicodedata.is_normalized("NFC", name):  # an accent that melts into the end of an escape
        name = "".join(_escape(char) if unicodedata.combining(char) else char for char in name)
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return name.encode()[: _LONGEST - 17].decode(errors="ignore") + f"={digest}"


def is_identifier(text: str) -> bool:
    """Whether a case may be called so: printable, NFC, without what ``FORBIDDEN`` names, and not hidden."""
    usable = text.isprintable() and not text.startswith(".") and not FORBIDDEN.intersection(text)
    return bool(text) and usable and unicodedata.is_normalized("NFC", text)


def _is_special(char: str) -> bool:
    return char in FORBIDDEN or char in "+=" or not char.isprintable()


def _escape(char: str) -> str:
    return "".join(f"={byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def is_text(path: Path) -> bool:
    """Whether a path is text that can be written down: some systems take any bytes for a name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def bytes_of(path: Path) -> str:
    """A path that is not text, as the bytes that it is, in words that can be printed."""
    return repr(os.fsencode(path))


def split_of(path: Path) -> str:
    """The split (train, valid, test) that the folders of a relative path name, the innermost if several do, or ""."""
    return next(filter(None, map(split_of_folder, reversed(path.parts[:-1]))), "")


def split_of_folder(name: str) -> str:
    """The split that a folder is called after: train, valid, test and their like, imagesTr, labelsTs; else ""."""
    found = _SPLITS.fullmatch(name.casefold())
    return (found.lastgroup or "") if found else ""


def split_of_words(folders: Key) -> str:
    """The split that a word of the folders' names is (``EEC_test``), the innermost if several are, or ""."""
    words = (word for folder in reversed(folders) for word in _WORDS.split(folder))
    return next(filter(None, map(split_of_folder, words)), "")


def without_split(folders: Key) -> Key:
    """The folders without those that are called after a split; else the innermost with such a word, without it."""
    others = tuple(folder for folder in folders if not split_of_folder(folder))
    for place in reversed(range(len(folders))) if others == folders else ():
        words = _WORDS.split(folders[place])
        rest = "_".join(word for word in words if not split_of_folder(word))
        if len(rest) < len("_".join(words)):
            return (*folders[:place], *filter(None, [rest]), *folders[place + 1 :])
    return others


def patient_of(path: Path, pattern: str | None) -> str:
    """What the group ``patient``, else the first, of a regular expression finds in the file name of a relative path.

    A pattern that holds a ``/`` is searched in the whole path. "" without a pattern, and where it finds nothing.
    """
    if pattern is None:
        return ""
    found = re.search(pattern, path.as_posix() if "/" in pattern else path.name)
    if found is None:
        return ""
    patient = found["patient"] if "patient" in found.re.groupindex else found[1]
    return unicodedata.normalize("NFC", patient or "").strip()


def some(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(str(name) for name in names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def counted(number: object, what: str) -> str:
    """So many of something, in words: ``1 image``, ``5 images``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def dataset_name(folder: Path) -> str:
    """The name of a folder as a source is called: small letters, digits and hyphens, a letter first.

    That of an unpacked archive (``scans.tar.gz.unpacked``) is called as what was packed: ``scans``.
    """
    plain = (
        unicodedata.normalize("NFKD", _UNPACKED.sub("", folder.resolve().name))
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    name = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    return name if name[:1].isalpha() else f"folder-{name}".rstrip("-")
