"""The lists that a source ships beside its pictures: the set of each (``train.txt``), its class (``train_cls.txt``).

A list names a picture a line, with its extension or without; a class list adds blanks, a comma or a semicolon, and a
number from 0. How lists are damaged in practice is forgiven: CRLF, blanks at the ends, blank lines, a byte order mark,
UTF-16.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imagemask.errors import InputError
from imagemask.names import split_of_folder

NAME = re.compile(r"(train|val|valid|test)(_cls)?\.txt", re.IGNORECASE)
"""What such a list is called."""
_EXTENSION = re.compile(r"\.(?:jpe?g|png|bmp|tiff?)$", re.IGNORECASE)
_NAMED = re.compile(r"(.+?\.(?:jpe?g|png|bmp|tiff?))(?:[\s,;]+(.*))?", re.IGNORECASE | re.DOTALL)
_BARE = re.compile(r"(.*[^\s,;])[\s,;]+([^\s,;]+)[\s,;]*", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,9}")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Lists:
    """What all lists of a source say of a picture, by its key.

    ``names`` are the stems as they are written. ``splits`` are the sets that a picture is in: more than one where the
    lists leak. ``listed`` are the pictures that lists of sets name: what only a class list names is no picture, for its
    line may be misread. ``classes`` are the classes that it has, with None for a line that tells none. ``repeated`` are
    the pictures that one list names twice. ``found`` are the sets that have a list, ``classified`` those with a class
    list.
    """

    names: Mapping[str, str]
    splits: Mapping[str, Set[str]]
    listed: Set[str]
    classes: Mapping[str, Set[int | None]]
    repeated: Set[str]
    found: Set[str]
    classified: Set[str]

    def notes(self, places: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """What is to be said of lines of class lists that name none of ``places`` (key, set), nor what is listed."""
        astray = sorted({*self.classes} - self.listed - {key for key, _ in places})
        if not astray:
            return ()
        first = self.names[astray[0]]
        return (f"Class lists name {len(astray)} pictures that are not there; the first is {first!a}.",)

    def about(self, key: str, folder: str = "") -> Told:
        """What is told of one picture, which lies in the ``folder`` of a set, or in none."""
        sets, numbers = self.splits.get(key, set[str]()), self.classes.get(key, set[int | None]())
        split = next((name for name in ("test", "valid", "train") if name in sets), folder)
        known = [number for number in numbers if number is not None]
        complete = {"train", "valid"} <= self.found
        flags = {
            "in_both_lists": len(sets) > 1,
            "listed_twice": key in self.repeated,
            "not_listed": not split and complete,
            "lists_missing": not split and not complete,
            "class_unknown": None in numbers or bool(self.classified and not known),
            "class_conflict": len(known) > 1,
        }
        number = known[0] if len(known) == 1 else -1
        return Told(self.names.get(key, ""), split, number, tuple(flag for flag, holds in flags.items() if holds))


class Told(NamedTuple):
    """A picture as the lists spell it, its set ("": none), its class (-1: none, or several), and flags.

    One that several lists name is tested, not trained on (``in_both_lists``).
    """

    name: str
    split: str
    number: int
    flags: tuple[str, ...]


def gather(paths: Iterable[Path], *, key: Callable[[str], str], classes: int) -> Lists:
    """The lists among ``paths``, joined; ``key`` makes of a stem what a picture goes by.

    Classes are 0 to ``classes`` - 1. Raises InputError for a list that cannot be read, or is no text.
    """
    spelled: dict[str, str] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    told: dict[str, set[int | None]] = defaultdict(set)
    repeated, listed = set[str](), set[str]()
    named: dict[bool, set[str]] = {False: set(), True: set()}
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        split, with_class = split_of_folder(match[1]), bool(match[2])
        named[with_class].add(split)
        rows = [class_of(line, classes=classes) if with_class else (stem(line), None) for line in lines(path)]
        repeated.update(name for name, count in Counter(key(name) for name, _ in rows).items() if count > 1)
        for name, number in rows:
            spelled.setdefault(key(name), name.encode(errors="backslashreplace").decode())
            splits[key(name)].add(split)
            if with_class:
                told[key(name)].add(number)
            else:
                listed.add(key(name))
    return Lists(spelled, splits, listed, told, repeated, found=named[False], classified=named[True])


def lines(path: Path) -> list[str]:
    """The lines of a text file, without blanks at their ends; blank ones are left out.

    Bytes that are no UTF-8 stay what they are, as in the names of files. Raises InputError where the file cannot be
    read, or holds a zero byte.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-16") if data.startswith(_UTF16) else data.decode("utf-8-sig", "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read: {reason}", remedy="Copy the list again") from error
    if "\0" in text:
        raise InputError(f"{path}: is no text: it holds zero bytes", remedy="Copy the list again")
    return [stripped for line in text.splitlines() if (stripped := line.strip().strip("\ufeff").strip())]


def stem(line: str) -> str:
    """What a line without a class names: without folders and the extension of a picture. Never empty."""
    name = line.replace("\\", "/").rpartition("/")[2]
    return _EXTENSION.sub("", name).strip() or line


def class_of(line: str, *, classes: int) -> tuple[str, int | None]:
    """The stem in ``1.JPG  3`` or ``1.JPG,3``, and the class.

    None where there is no class, more than that, or one that is not 0 to ``classes`` - 1.
    """
    match = _NAMED.fullmatch(line) or _BARE.fullmatch(line)
    if match is None:  # a name alone
        return stem(line), None
    name, number = match[1], (match[2] or "").rstrip(" \t,;")
    told = int(number) if _NUMBER.fullmatch(number) else classes
    return stem(name), told if told < classes else None
