"""Augmented copies told by their names: which picture a file was made from, where a folder has no manifest.

Known are the names that this program gives (``KEY~fliph+rot5``) and those of the published image/mask sets that augment
before they split: ``hflipped_NAME``, ``rotated_90_NAME``, ``flipped--1-NAME``, ``mirrored_NAME``, ``distorted_0.01_
rsigma0.5_sigma40_NAME``, ``CASE-cropped-0-SLICE``, ``CASE-mirrored-SLICE``. A turn by 0 degrees is no alteration.

A name is believed only where it has company: two files at least of one picture. And where the sets repeat each other's
names (``1.png`` in every one, for they were numbered apart) names say nothing across sets, and nothing is tied.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_BEFORE = re.compile(
    rf"(?:(?P<turn>rotated[-_](?P<angle>{_NUMBER}))"
    rf"|flipped-(?:-1|0|1)|(?:shrinked|sheared|sharpened|(?:barr|pinc)?distorted|cropped)[-_]{_NUMBER}"
    rf"(?:_rsigma{_NUMBER}_sigma{_NUMBER})?|deformed_alpha_{_NUMBER}_sigmoid_{_NUMBER}|brightened_{_NUMBER}_{_NUMBER}"
    r"|(?:hv|h|v)?flipp?ed|mirrored)[-_](?=.)",
    re.IGNORECASE,
)
_WITHIN = re.compile(rf"(?<=.)[-_](?:(?P<crop>cropped[-_]{_NUMBER})|(?P<mirror>mirrored))(?=[-_].)", re.IGNORECASE)
_AFTER = re.compile(r"(?<=.)~(?P<ours>[a-z0-9.+-]+)$")
_REPEATED = 0.1
"""The share of one set's names in another from which on they are taken to be numbered apart."""


class Origin(NamedTuple):
    """The stem of the picture that a file was made from, and how it was altered, joined by ``+``; "" if it was not."""

    stem: str
    variant: str


def origin_of(stem: str) -> Origin:
    """What a file's stem says by itself."""
    said: list[str] = []
    while (match := _BEFORE.match(stem)) is not None:
        if match["turn"] is None or float(match["angle"]) % 360:
            said.append(match[0].rstrip("-_"))
        stem = stem[match.end() :]
    if (match := _AFTER.search(stem)) is not None:
        said.append(match["ours"])
        stem = stem[: match.start()]
    if (match := _WITHIN.search(stem)) is not None:
        said.append(match["crop"] or match["mirror"])
        stem = stem[: match.start()] + stem[match.end() :]
    return Origin(stem, "+".join(said))


def origins(stems: Sequence[str]) -> list[Origin]:
    """The origin of each of ``stems``, which lie in one folder (of all sets): itself, where it has no company."""
    said = [origin_of(stem) for stem in stems]
    company = Counter(origin.stem for origin in said)
    pairs = zip(said, stems, strict=True)
    return [origin if company[origin.stem] > 1 else Origin(stem, "") for origin, stem in pairs]


def repeat(names: Sequence[str], splits: Sequence[str]) -> bool:
    """Whether the sets repeat each other's names: a tenth of the smaller one's are there in the other, too."""
    of_split: dict[str, set[str]] = {}
    for name, split in zip(names, splits, strict=True):
        of_split.setdefault(split, set()).add(name)
    pairs = combinations([found for split, found in of_split.items() if split], 2)
    return any(len(one & other) > _REPEATED * min(len(one), len(other)) for one, other in pairs)
